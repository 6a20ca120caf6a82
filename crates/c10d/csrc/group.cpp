#include "group.h"

#include <ATen/core/ivalue.h>

namespace shim {
namespace {

// Between two looks at a device. Short against a step, long against a core.
constexpr auto kPollInterval = std::chrono::microseconds(50);

} // namespace

Operation::~Operation() {
  if (!polled || settled) {
    return;
  }
  try {
    polled->synchronize();
  } catch (...) {
    // The device is lost, and with it whatever could be overwritten.
  }
}

void Operation::settle(std::optional<Failure> result) {
  std::lock_guard<std::mutex> lock(monitor->mutex);
  if (settled) {
    return;
  }
  settled = true;
  settled_at = Clock::now();
  failure = std::move(result);
  monitor->changed.notify_all();
}

Group::Identity identity_of(const c10d_group_options& options, c10::Device device) {
  if (options.world < 1) {
    throw Error(Code::Invalid, "a group needs a world of at least 1");
  }
  if (options.rank < 0 || options.rank >= options.world) {
    throw Error(
        Code::Invalid,
        "rank " + std::to_string(options.rank) + " is outside a world of " +
            std::to_string(options.world));
  }
  Group::Identity identity;
  identity.rank = options.rank;
  identity.world = options.world;
  identity.device = device;
  identity.timeout = bounded(options.timeout_ms);
  identity.abort_timeout = bounded(options.abort_timeout_ms);
  return identity;
}

Group::Group(
    std::shared_ptr<Monitor> generation, c10::intrusive_ptr<c10d::Backend> backend, Identity who)
    : monitor(std::move(generation)), identity(who), backend_(std::move(backend)) {}

std::shared_ptr<Group> Group::create(
    std::shared_ptr<Monitor> monitor,
    c10::intrusive_ptr<c10d::Backend> backend,
    Identity identity) {
  std::shared_ptr<Group> group(new Group(std::move(monitor), std::move(backend), identity));
  if (group->backend_ && identity.device.is_cuda()) {
    // Kernels of a communicator spin on the device until it is aborted.
    group->monitor->on_abort([weak = std::weak_ptr<Group>(group)] {
      if (auto alive = weak.lock()) {
        begin_backend_abort(std::move(alive));
      }
    });
  }
  return group;
}

Group::~Group() {
  if (!backend_ || !identity.device.is_cuda()) {
    return;
  }
  try {
    if (backend_abort_ == BackendAbort::None) {
      backend_->shutdown();
    }
  } catch (...) {
    // Its destructor aborts what could not be shut down.
  }
}

void Group::check() {
  std::lock_guard<std::mutex> lock(monitor->mutex);
  if (monitor->abort_reason) {
    throw Error(Code::Aborted, *monitor->abort_reason);
  }
  if (broken_) {
    throw Error(
        broken_->code, "an earlier operation of this group failed: " + broken_->message);
  }
}

std::shared_ptr<Operation> Group::launch(const Launch& start) {
  check();
  auto operation = std::make_shared<Operation>(monitor);
  if (!backend_) {
    operation->settle(std::nullopt);
    return operation;
  }
  try {
    std::lock_guard<std::mutex> turn(launching_);
    auto work = start(*backend_);
    if (identity.device.is_cuda()) {
      operation->polled = std::move(work);
    } else {
      work->getFuture()->addCallback([operation](c10::ivalue::Future& result) {
        operation->settle(
            result.hasError() ? std::optional<Failure>(describe(result.exception_ptr()))
                              : std::nullopt);
      });
    }
  } catch (...) {
    break_with(describe(std::current_exception()));
  }
  return operation;
}

void Group::wait(const std::shared_ptr<Operation>& operation, Clock::time_point deadline) {
  Waiting waiting(*monitor);
  if (operation->polled) {
    poll(*operation, deadline);
  }
  std::optional<Failure> failure;
  {
    std::unique_lock<std::mutex> lock(monitor->mutex);
    monitor->changed.wait_until(lock, deadline, [&] {
      return operation->settled || monitor->abort_reason.has_value();
    });
    if (operation->settled && !operation->failure) {
      return;
    }
    if (monitor->abort_reason) {
      await_backend_abort(lock);
      throw Error(Code::Aborted, *monitor->abort_reason);
    }
    failure = operation->settled
        ? operation->failure
        : Failure{Code::Timeout, "a collective was not complete at its deadline"};
  }
  break_with(std::move(*failure));
}

void Group::poll(Operation& operation, Clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(monitor->mutex);
  while (!operation.settled && !monitor->abort_reason && Clock::now() < deadline) {
    lock.unlock();
    try {
      if (operation.polled->isCompleted()) {
        auto exception = operation.polled->exception();
        operation.settle(
            exception ? std::optional<Failure>(describe(exception)) : std::nullopt);
        if (!exception) {
          operation.polled->synchronize();
        }
      }
    } catch (...) {
      operation.settle(describe(std::current_exception()));
    }
    lock.lock();
    if (!operation.settled) {
      monitor->changed.wait_for(lock, kPollInterval);
    }
  }
}

void Group::break_with(Failure failure) {
  if (backend_ && identity.device.is_cuda()) {
    begin_backend_abort(shared_from_this());
  }
  std::unique_lock<std::mutex> lock(monitor->mutex);
  await_backend_abort(lock);
  // Peers that leave after an abort make this rank's operations fail; the word
  // that matters is the abort's.
  if (monitor->abort_reason) {
    throw Error(Code::Aborted, *monitor->abort_reason);
  }
  if (!broken_) {
    broken_ = failure;
  }
  throw Error(failure);
}

// Takes the reference along to the background: it may be the last one, and
// destroying a group blocks.
void Group::begin_backend_abort(std::shared_ptr<Group> group) {
  in_background([self = std::move(group)] {
    auto& monitor = *self->monitor;
    {
      std::lock_guard<std::mutex> lock(monitor.mutex);
      if (self->backend_abort_ != BackendAbort::None) {
        return;
      }
      self->backend_abort_ = BackendAbort::Running;
    }
    // What throws here is seen as hung by whoever waits for it.
    self->backend_->abort();
    std::lock_guard<std::mutex> lock(monitor.mutex);
    self->backend_abort_ = BackendAbort::Done;
    monitor.changed.notify_all();
  });
}

void Group::await_backend_abort(std::unique_lock<std::mutex>& lock) {
  if (!backend_ || !identity.device.is_cuda()) {
    return;
  }
  bool done = monitor->changed.wait_for(
      lock, identity.abort_timeout, [&] { return backend_abort_ == BackendAbort::Done; });
  if (!done) {
    throw Error(
        Code::AbortHung,
        "the communicator could not be aborted within " +
            std::to_string(identity.abort_timeout.count()) +
            " ms: the device is unusable to this process, which must exit and be restarted");
  }
}

} // namespace shim

c10d_group* c10d_group_alone(c10d_abort* abort, c10d_device device, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_group* {
    shim::Group::Identity identity;
    identity.device = device.type == C10D_CUDA
        ? c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device.index))
        : c10::Device(c10::kCPU);
    identity.timeout = shim::bounded(1000);
    identity.abort_timeout = identity.timeout;
    return new c10d_group{shim::Group::create(abort->monitor, {}, identity)};
  });
}

void c10d_group_free(c10d_group* group) {
  // Gloo's destructor waits for what is left of a time-out when a peer hangs.
  shim::in_background([group] { delete group; });
}
