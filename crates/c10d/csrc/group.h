// A process group and the operations in flight on it.
#pragma once

#include <functional>
#include <memory>

#include <c10/core/Device.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "monitor.h"
#include "store.h"

namespace shim {

// One collective. Settled once, by the backend or by polling the device. It
// refers to no group: Gloo's own threads hold it, and must never be the ones
// that destroy the group that joins them.
struct Operation {
  explicit Operation(std::shared_ptr<Monitor> generation) : monitor(std::move(generation)) {}
  // Given up on while it runs on a device: later work on this thread's stream, such
  // as reusing its memory, is put behind it.
  ~Operation();

  void settle(std::optional<Failure> result);

  const std::shared_ptr<Monitor> monitor;
  // Set for devices, where completion is asked for rather than told.
  c10::intrusive_ptr<c10d::Work> polled;
  // Guarded by the monitor's mutex.
  bool settled = false;
  Clock::time_point settled_at;
  std::optional<Failure> failure;
};

class Group : public std::enable_shared_from_this<Group> {
 public:
  using Launch = std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend&)>;

  struct Identity {
    int rank = 0;
    int world = 1;
    c10::Device device = c10::Device(c10::kCPU);
    std::chrono::milliseconds timeout{0};
    std::chrono::milliseconds abort_timeout{0};
  };

  // Without a backend this is a world of one, where every operation is its own
  // result.
  static std::shared_ptr<Group> create(
      std::shared_ptr<Monitor> monitor,
      c10::intrusive_ptr<c10d::Backend> backend,
      Identity identity);
  ~Group();

  // Throws when the generation was aborted or an earlier operation failed:
  // after either, ranks no longer agree on what comes next.
  void check();
  std::shared_ptr<Operation> launch(const Launch& start);
  // Returns when the operation succeeded; throws otherwise.
  void wait(const std::shared_ptr<Operation>& operation, Clock::time_point deadline);
  // Records the failure that ends this group, and throws it.
  [[noreturn]] void break_with(Failure failure);

  const std::shared_ptr<Monitor> monitor;
  const Identity identity;

 private:
  enum class BackendAbort { None, Running, Done };

  Group(
      std::shared_ptr<Monitor> generation,
      c10::intrusive_ptr<c10d::Backend> backend,
      Identity who);
  static void begin_backend_abort(std::shared_ptr<Group> group);
  void await_backend_abort(std::unique_lock<std::mutex>& lock);
  void poll(Operation& operation, Clock::time_point deadline);

  c10::intrusive_ptr<c10d::Backend> backend_;
  // Ranks pair collectives by the order in which they are issued.
  std::mutex launching_;
  // Guarded by the monitor's mutex.
  std::optional<Failure> broken_;
  BackendAbort backend_abort_ = BackendAbort::None;
};

// Checks rank, world and time-outs as they come from C.
Group::Identity identity_of(const c10d_group_options& options, c10::Device device);

} // namespace shim

struct c10d_group {
  std::shared_ptr<shim::Group> group;
};
