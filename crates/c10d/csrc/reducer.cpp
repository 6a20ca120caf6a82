// Gradient reduction: c10d's Reducer (what DistributedDataParallel uses) with a
// communication hook of our own.
//
// The hook starts a SUM all-reduce per bucket and returns a future that is
// already complete. The reducer then has nothing to wait for inside autograd;
// the waiting is done here, after the backward pass, where abort and deadline
// end it at once and say what they are. That is sound because gradients are views
// of the buckets and the reduction is in place: the reducer does nothing with
// a bucket between its future and the next step.

#include <unordered_set>

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "group.h"

namespace shim {
namespace {

// The buckets' order is fixed at construction and is the order of summation, so
// a resumed run sums as the undisturbed one did. c10d would rebuild the buckets
// after the first step, in the order in which gradients became ready, once
// asked; until then it remembers every gradient of every step for it. Claiming
// that it has happened ends both.
class StaticReducer final : public c10d::Reducer {
 public:
  StaticReducer(
      const std::vector<at::Tensor>& parameters,
      std::vector<std::vector<size_t>> buckets,
      c10::intrusive_ptr<c10d::ProcessGroup> group,
      int64_t first_bucket_bytes,
      int64_t bucket_bytes)
      : Reducer(
            parameters,
            std::move(buckets),
            std::move(group),
            /*expect_sparse_gradients=*/std::vector<bool>(parameters.size(), false),
            bucket_bytes,
            /*find_unused_parameters=*/false,
            /*gradient_as_bucket_view=*/true,
            /*param_names=*/{},
            first_bucket_bytes,
            /*skip_all_reduce_unused_params=*/false,
            /*use_python_reducer=*/false,
            /*bucket_bytes_cap_list=*/{}) {
    has_rebuilt_bucket_ = true;
  }

  size_t bucket_count() const {
    return buckets_.size();
  }

  void zero_buckets() {
    for (auto& bucket : buckets_) {
      bucket.gradients.zero_();
    }
  }

  bool holds(const at::Tensor& gradient) const {
    for (const auto& bucket : buckets_) {
      if (gradient.is_alias_of(bucket.gradients)) {
        return true;
      }
    }
    return false;
  }
};

// The reductions of one backward pass.
struct Pass {
  std::mutex mutex;
  std::vector<std::shared_ptr<Operation>> operations;
  Clock::time_point last_handed_over;
  uint64_t bytes = 0;
};

class SumHook final : public c10d::CommHookInterface {
 public:
  SumHook(std::shared_ptr<Group> group, std::shared_ptr<Pass> pass)
      : group_(std::move(group)), pass_(std::move(pass)) {}

  // Throws when the group is aborted or broken, which ends the backward pass
  // without computing the rest of it.
  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    auto buffer = bucket.getBuffer();
    auto operation = group_->launch([&](c10d::Backend& backend) {
      std::vector<at::Tensor> tensors{buffer};
      return backend.allreduce(tensors);
    });
    {
      std::lock_guard<std::mutex> lock(pass_->mutex);
      pass_->operations.push_back(std::move(operation));
      pass_->last_handed_over = Clock::now();
      pass_->bytes += buffer.nbytes();
    }
    std::vector<c10::Device> devices;
    if (buffer.is_cuda()) {
      devices.push_back(buffer.device());
    }
    auto future = c10::make_intrusive<c10::ivalue::Future>(
        c10::ListType::create(c10::TensorType::get()), std::move(devices));
    future->markCompleted(c10::IValue(std::vector<at::Tensor>{buffer}));
    return future;
  }

  at::Tensor parseHookResult(const c10::IValue& result) override {
    return c10d::detail::parseCppCommHookResult(result);
  }

 private:
  std::shared_ptr<Group> group_;
  std::shared_ptr<Pass> pass_;
};

void check_parameters(const Group& group, const std::vector<at::Tensor>& parameters) {
  if (parameters.empty()) {
    throw Error(Code::Invalid, "a reducer needs at least one parameter");
  }
  std::unordered_set<const c10::TensorImpl*> seen;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& parameter = parameters[i];
    auto refuse = [i](const std::string& why) {
      throw Error(Code::Invalid, "parameter " + std::to_string(i) + " " + why);
    };
    if (!parameter.defined() || !parameter.requires_grad() || !parameter.is_leaf()) {
      refuse("is not a leaf that requires a gradient");
    }
    if (parameter.device() != group.identity.device) {
      refuse("is on " + parameter.device().str() + ", the group on " + group.identity.device.str());
    }
    if (parameter.scalar_type() != at::kFloat && parameter.scalar_type() != at::kDouble) {
      refuse("is neither float nor double");
    }
    if (!seen.insert(parameter.unsafeGetTensorImpl()).second) {
      refuse("appears twice: pass a shared parameter once");
    }
  }
}

// Buckets in the order in which gradients usually become ready, which is the
// reverse of the parameters' order; the first is small so that communication
// starts early.
std::vector<std::vector<size_t>> assign_buckets(
    const std::vector<at::Tensor>& parameters, int64_t first_bucket_bytes, int64_t bucket_bytes) {
  if (first_bucket_bytes < 1 || bucket_bytes < 1) {
    throw Error(Code::Invalid, "bucket sizes must be at least one byte");
  }
  std::vector<at::Tensor> reversed(parameters.rbegin(), parameters.rend());
  std::vector<int64_t> indices;
  for (size_t i = parameters.size(); i-- > 0;) {
    indices.push_back(static_cast<int64_t>(i));
  }
  return std::get<0>(c10d::compute_bucket_assignment_by_size(
      reversed,
      {static_cast<size_t>(first_bucket_bytes), static_cast<size_t>(bucket_bytes)},
      /*expect_sparse_gradient=*/{},
      indices));
}

double seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

} // namespace
} // namespace shim

using shim::Clock;
using shim::Code;
using shim::Error;

struct c10d_reducer {
  std::shared_ptr<shim::Group> group;
  std::vector<at::Tensor> parameters;
  std::shared_ptr<shim::Pass> pass;
  std::unique_ptr<shim::StaticReducer> reducer;
};

namespace {

void reduce_backward(c10d_reducer& reducer, const at::Tensor& loss, c10d_backward_times& times) {
  auto& group = *reducer.group;
  auto& pass = *reducer.pass;
  pass.operations.clear();
  pass.bytes = 0;
  const auto started = Clock::now();
  reducer.reducer->prepare_for_backward({loss});
  try {
    loss.backward();
  } catch (const Error&) {
    // The hook's: the group is aborted or broken already.
    throw;
  } catch (...) {
    // This rank will not reduce what its peers wait for.
    group.break_with(shim::describe(std::current_exception()));
  }
  if (pass.operations.size() != reducer.reducer->bucket_count()) {
    group.break_with(
        {Code::Invalid,
         "the loss does not depend on every parameter: " +
             std::to_string(pass.operations.size()) + " of " +
             std::to_string(reducer.reducer->bucket_count()) + " buckets were filled"});
  }
  const auto deadline = Clock::now() + group.identity.timeout;
  auto finished = pass.last_handed_over;
  for (const auto& operation : pass.operations) {
    group.wait(operation, deadline);
    finished = std::max(finished, operation->settled_at);
  }
  pass.operations.clear();
  times.total_seconds = shim::seconds(Clock::now() - started);
  times.exposed_seconds = shim::seconds(finished - pass.last_handed_over);
  times.bytes_reduced = group.identity.world > 1 ? pass.bytes : 0;
}

} // namespace

c10d_reducer* c10d_reducer_new(
    c10d_group* group,
    const c10d_tensor* const* parameters,
    size_t count,
    int64_t first_bucket_bytes,
    int64_t bucket_bytes,
    c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_reducer* {
    auto handle = std::make_unique<c10d_reducer>();
    handle->group = group->group;
    handle->group->check();
    for (size_t i = 0; i < count; ++i) {
      handle->parameters.push_back(*reinterpret_cast<const at::Tensor*>(parameters[i]));
    }
    shim::check_parameters(*handle->group, handle->parameters);
    auto buckets = shim::assign_buckets(handle->parameters, first_bucket_bytes, bucket_bytes);

    // Gradients of an earlier reducer live in buckets that its group may still
    // write to: let go of them. A defined gradient makes the reducer copy it
    // into the new bucket and put the view in its place; this one is a zero that
    // occupies no memory.
    for (auto& parameter : handle->parameters) {
      at::NoGradGuard no_grad;
      parameter.mutable_grad() = at::zeros({}, parameter.options().requires_grad(false))
                                     .expand(parameter.sizes());
    }
    const auto& identity = handle->group->identity;
    handle->pass = std::make_shared<shim::Pass>();
    handle->reducer = std::make_unique<shim::StaticReducer>(
        handle->parameters,
        std::move(buckets),
        // Asked for its size only: the hook talks to the backend itself.
        c10::make_intrusive<c10d::ProcessGroup>(identity.rank, identity.world),
        first_bucket_bytes,
        bucket_bytes);
    handle->reducer->register_comm_hook(
        std::make_unique<shim::SumHook>(handle->group, handle->pass));
    return handle.release();
  });
}

void c10d_reducer_backward(
    c10d_reducer* reducer,
    const c10d_tensor* loss,
    bool sync,
    c10d_backward_times* times,
    c10d_error* error) {
  shim::guarded(error, [&] {
    reducer->group->check();
    const auto& root = *reinterpret_cast<const at::Tensor*>(loss);
    if (!root.defined() || root.numel() != 1 || !root.requires_grad()) {
      throw Error(Code::Invalid, "the loss must be one number that requires a gradient");
    }
    *times = {};
    if (sync) {
      reduce_backward(*reducer, root, *times);
      return;
    }
    const auto started = Clock::now();
    root.backward();
    // An abort during the pass is told now rather than a micro-batch later.
    reducer->group->check();
    times->total_seconds = shim::seconds(Clock::now() - started);
  });
}

void c10d_reducer_zero_grads(c10d_reducer* reducer, c10d_error* error) {
  shim::guarded(error, [&] {
    at::NoGradGuard no_grad;
    reducer->reducer->zero_buckets();
  });
}

size_t c10d_reducer_bucket_count(const c10d_reducer* reducer) {
  return reducer->reducer->bucket_count();
}

void c10d_reducer_free(c10d_reducer* reducer) {
  // On the caller's thread, before anything slow: the parameters live on, and
  // neither hooks of this reducer nor views of its buckets may stay on them.
  c10d_error ignored = {C10D_OK, nullptr};
  shim::guarded(&ignored, [&] {
    reducer->reducer->remove_autograd_hooks();
    for (auto& parameter : reducer->parameters) {
      if (parameter.grad().defined() && reducer->reducer->holds(parameter.grad())) {
        parameter.mutable_grad() = at::Tensor();
      }
    }
  });
  c10d_string_free(ignored.message);
  shim::in_background([reducer] { delete reducer; });
}
