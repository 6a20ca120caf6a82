// Groups of GPU processes over NCCL.

#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "group.h"

using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

void c10d_nccl_configure(void) {
  static std::once_flag once;
  std::call_once(once, [] {
    // ProcessGroupNCCL is configured by the environment alone. Left to its
    // defaults it watches its operations from threads of its own and ends the
    // process when one fails or hangs; a worker must survive that. In
    // blocking-wait mode it starts no such thread, and nothing here calls the
    // wait that gives the mode its name (and its cost): completion is polled.
    // The others keep it harmless should that change.
    const char* const settings[][2] = {
        {"TORCH_NCCL_BLOCKING_WAIT", "1"},
        {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "0"},
        {"TORCH_NCCL_ENABLE_MONITORING", "0"},
        {"TORCH_NCCL_RETHROW_CUDA_ERRORS", "0"},
        {"TORCH_NCCL_DUMP_ON_TIMEOUT", "0"},
    };
    for (const auto& setting : settings) {
      const char* now = std::getenv(setting[0]);
      if (now == nullptr || std::strcmp(now, setting[1]) != 0) {
        ::setenv(setting[0], setting[1], 1);
      }
    }
  });
}

c10d_group* c10d_group_nccl(
    c10d_store* store, const c10d_group_options* options, int32_t device, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_group* {
    auto identity = shim::identity_of(
        *options, c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
    store->monitor->check();
    c10d_nccl_configure();
    auto settings = c10d::ProcessGroupNCCL::Options::create();
    settings->timeout = identity.timeout;
    auto meeting = c10::make_intrusive<c10d::PrefixStore>(
        "nccl/" + shim::to_string(options->name), store->store);
    // A world of one gets a communicator too: it costs little, and one GPU then
    // runs the code that many run.
    auto backend = shim::interruptible<BackendPtr>(
        store->monitor,
        std::chrono::steady_clock::now() + identity.timeout,
        "meeting the other ranks",
        [meeting, settings, identity]() -> BackendPtr {
          auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(
              meeting, identity.rank, identity.world, settings);
          // The communicator would otherwise be made by the first collective, out
          // of reach of abort and deadline.
          c10::cuda::CUDAGuard guard(identity.device);
          group->eagerConnectSingleDevice(identity.device);
          return group;
        });
    return new c10d_group{
        shim::Group::create(store->monitor, std::move(backend), identity)};
  });
}
