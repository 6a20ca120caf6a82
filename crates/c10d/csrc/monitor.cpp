#include "monitor.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <unistd.h>

namespace shim {
namespace {

struct Background {
  std::mutex mutex;
  std::condition_variable changed;
  size_t running = 0;
};

// Never destroyed: its threads may still run while the process exits.
Background& background() {
  static auto* instance = new Background();
  return *instance;
}

} // namespace

std::chrono::milliseconds bounded(int64_t milliseconds) {
  constexpr int64_t kDay = 24LL * 60 * 60 * 1000;
  return std::chrono::milliseconds(std::clamp<int64_t>(milliseconds, 1, kDay));
}

Clock::time_point deadline_after(int64_t milliseconds) {
  return Clock::now() + bounded(milliseconds);
}

void in_background(std::function<void()> task) noexcept {
  auto& state = background();
  // Owned by pointer so that a thread that cannot start leaks it.
  auto* owned = new (std::nothrow) std::function<void()>(std::move(task));
  if (owned == nullptr) {
    std::abort();
  }
  {
    std::lock_guard<std::mutex> lock(state.mutex);
    ++state.running;
  }
  auto finish = [&state] {
    std::lock_guard<std::mutex> lock(state.mutex);
    --state.running;
    state.changed.notify_all();
  };
  try {
    std::thread([owned, finish] {
      try {
        (*owned)();
        delete owned;
      } catch (...) {
        // Teardown has nobody left to tell.
      }
      finish();
    }).detach();
  } catch (...) {
    finish();
  }
}

bool background_join(Clock::time_point deadline) {
  auto& state = background();
  std::unique_lock<std::mutex> lock(state.mutex);
  return state.changed.wait_until(lock, deadline, [&] { return state.running == 0; });
}

void Monitor::abort(std::string reason) {
  std::vector<std::function<void()>> callbacks;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (abort_reason) {
      return;
    }
    abort_reason = std::move(reason);
    callbacks.swap(callbacks_);
    changed.notify_all();
  }
  for (auto& callback : callbacks) {
    callback();
  }
}

void Monitor::on_abort(std::function<void()> callback) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!abort_reason) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

void Monitor::check() {
  std::lock_guard<std::mutex> lock(mutex);
  if (abort_reason) {
    throw Error(Code::Aborted, *abort_reason);
  }
}

std::optional<std::string> Monitor::reason() {
  std::lock_guard<std::mutex> lock(mutex);
  return abort_reason;
}

std::optional<std::chrono::milliseconds> Monitor::waited() const {
  const auto since = waiting_since_.load(std::memory_order_relaxed);
  if (since == 0) {
    return std::nullopt;
  }
  const auto waited = Clock::now() - Clock::time_point(Clock::duration(since));
  return std::chrono::duration_cast<std::chrono::milliseconds>(waited);
}

Waiting::Waiting(Monitor& monitor) : monitor_(monitor) {
  monitor_.waiting_since_.store(
      Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
}

Waiting::~Waiting() {
  monitor_.waiting_since_.store(0, std::memory_order_relaxed);
}

} // namespace shim

bool c10d_background_join(int64_t deadline_ms) {
  return shim::background_join(shim::deadline_after(deadline_ms));
}

void c10d_exit(int32_t code) {
  ::_exit(code);
}

c10d_abort* c10d_abort_new(void) {
  return new c10d_abort{std::make_shared<shim::Monitor>()};
}

void c10d_abort_trigger(c10d_abort* abort, c10d_text reason) {
  abort->monitor->abort(shim::to_string(reason));
}

char* c10d_abort_reason(const c10d_abort* abort) {
  auto reason = abort->monitor->reason();
  return reason ? shim::copy_text(*reason) : nullptr;
}

int64_t c10d_abort_waited_ms(const c10d_abort* abort) {
  auto waited = abort->monitor->waited();
  return waited ? waited->count() : -1;
}

void c10d_abort_free(c10d_abort* abort) {
  delete abort;
}
