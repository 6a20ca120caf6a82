// Groups of CPU processes over Gloo.

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "group.h"

using shim::Code;
using shim::Error;
using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

namespace {

std::shared_ptr<gloo::transport::Device> open_device(int32_t kind, const std::string& network) {
  try {
    return kind == C10D_NETWORK_INTERFACE
        ? c10d::ProcessGroupGloo::createDeviceForInterface(network)
        : c10d::ProcessGroupGloo::createDeviceForHostname(network);
  } catch (...) {
    const char* what = kind == C10D_NETWORK_INTERFACE ? "no usable network interface is called "
                                                      : "no address of this machine is ";
    throw Error(
        Code::Invalid,
        what + network + ": " + shim::describe(std::current_exception()).message);
  }
}

} // namespace

c10d_group* c10d_group_gloo(
    c10d_store* store,
    const c10d_group_options* options,
    int32_t network_kind,
    c10d_text network,
    c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_group* {
    auto identity = shim::identity_of(*options, c10::Device(c10::kCPU));
    store->monitor->check();
    BackendPtr backend;
    if (identity.world > 1) {
      auto name = shim::to_string(network);
      auto settings = c10d::ProcessGroupGloo::Options::create(identity.timeout);
      settings->devices.push_back(open_device(network_kind, name));
      auto meeting = c10::make_intrusive<c10d::PrefixStore>(
          "gloo/" + shim::to_string(options->name), store->store);
      // The constructor connects every rank with every other.
      backend = shim::interruptible<BackendPtr>(
          store->monitor,
          std::chrono::steady_clock::now() + identity.timeout,
          "meeting the other ranks",
          [meeting, settings, identity]() -> BackendPtr {
            return c10::make_intrusive<c10d::ProcessGroupGloo>(
                meeting, identity.rank, identity.world, settings);
          });
    }
    return new c10d_group{
        shim::Group::create(store->monitor, std::move(backend), identity)};
  });
}
