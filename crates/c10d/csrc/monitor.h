// The monitor of a generation, and the background threads that outlive it.
//
// One mutex and one condition variable serve everything that a generation's
// threads can wait for. There are a few dozen operations per step, so the lock
// is never contended, and abort is one assignment and one notification: whoever
// waits, for whatever, sees it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "error.h"

namespace shim {

using Clock = std::chrono::steady_clock;

// A duration from C as a deadline; far-away ones are cut to a day so that no
// clock arithmetic overflows.
Clock::time_point deadline_after(int64_t milliseconds);
std::chrono::milliseconds bounded(int64_t milliseconds);

// Runs the task on a thread of its own that the process does not wait for,
// except in background_join. When no thread can be had, the task is leaked
// rather than run: it may block for minutes.
void in_background(std::function<void()> task) noexcept;
bool background_join(Clock::time_point deadline);

class Monitor {
 public:
  // The first reason stays. Callbacks run on the calling thread, without the
  // lock; they must not block.
  void abort(std::string reason);
  // Registers what abort must also do; runs it at once if that has happened.
  void on_abort(std::function<void()> callback);
  // Throws Code::Aborted after an abort.
  void check();
  std::optional<std::string> reason();

  // How long a thread has waited for the other ranks; nothing when none does.
  std::optional<std::chrono::milliseconds> waited() const;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by `mutex`.
  std::optional<std::string> abort_reason;

 private:
  friend class Waiting;
  std::vector<std::function<void()>> callbacks_;
  // Ticks of Clock when the wait began; 0 outside of one. Read by a thread that
  // must not be kept by the lock.
  std::atomic<Clock::rep> waiting_since_{0};
};

// While it lives, its thread waits for the other ranks.
class Waiting {
 public:
  explicit Waiting(Monitor& monitor);
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  Monitor& monitor_;
};

// Waits for a call that knows neither abort nor, always, a deadline. The call
// runs on a background thread; when it is given up on, that thread also destroys
// what it returns, so a late result blocks nobody.
template <class T>
T interruptible(
    const std::shared_ptr<Monitor>& monitor,
    Clock::time_point deadline,
    const std::string& what,
    std::function<T()> call) {
  struct Slot {
    bool done = false;
    std::optional<T> value;
    std::optional<Failure> failure;
  };
  monitor->check();
  auto slot = std::make_shared<Slot>();
  in_background([monitor, slot, call = std::move(call)]() {
    std::optional<T> value;
    std::optional<Failure> failure;
    try {
      value.emplace(call());
    } catch (...) {
      failure = describe(std::current_exception());
    }
    std::lock_guard<std::mutex> lock(monitor->mutex);
    slot->value = std::move(value);
    slot->failure = std::move(failure);
    slot->done = true;
    monitor->changed.notify_all();
  });

  std::unique_lock<std::mutex> lock(monitor->mutex);
  monitor->changed.wait_until(
      lock, deadline, [&] { return slot->done || monitor->abort_reason.has_value(); });
  if (!slot->done) {
    // Under the lock: the thread cannot have stored its result yet, so it is
    // the one that will hold the last reference to it.
    slot.reset();
    if (monitor->abort_reason) {
      throw Error(Code::Aborted, *monitor->abort_reason);
    }
    throw Error(Code::Timeout, what + " took longer than its deadline");
  }
  if (slot->failure) {
    // A failure that follows an abort is the abort's doing.
    if (monitor->abort_reason) {
      throw Error(Code::Aborted, *monitor->abort_reason);
    }
    throw Error(slot->failure->code, what + ": " + slot->failure->message);
  }
  return std::move(*slot->value);
}

} // namespace shim

struct c10d_abort {
  std::shared_ptr<shim::Monitor> monitor;
};
