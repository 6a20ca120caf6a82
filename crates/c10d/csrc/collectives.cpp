// Collectives on tensors of the caller.
//
// Every collective works on a buffer of its own, and the result is copied out by
// the thread that waited for it, after success. So an operation that is given up
// on (abort, deadline) can write as late as it likes: it touches nothing that
// the caller can see.

#include <ATen/ATen.h>

#include "group.h"

using shim::Code;
using shim::Error;
using shim::Group;

struct c10d_work {
  std::shared_ptr<shim::Operation> operation;
  at::Tensor staging;
  at::Tensor target;
};

namespace {

const at::Tensor& tensor_of(const c10d_tensor* tensor) {
  return *reinterpret_cast<const at::Tensor*>(tensor);
}

// A contiguous copy that autograd does not know, on the group's device.
at::Tensor staged(const Group& group, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    throw Error(Code::Invalid, "the tensor is undefined");
  }
  auto type = tensor.scalar_type();
  if (type != at::kFloat && type != at::kDouble && type != at::kLong) {
    throw Error(
        Code::Invalid,
        std::string("collectives take float, double and int64 tensors, not ") +
            c10::toString(type));
  }
  if (tensor.device() != group.identity.device) {
    throw Error(
        Code::Invalid,
        "the tensor is on " + tensor.device().str() + ", the group on " +
            group.identity.device.str());
  }
  return tensor.detach().clone(at::MemoryFormat::Contiguous);
}

using Tensors = std::vector<at::Tensor>;
using Collective = std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend&, Tensors&)>;

c10d_work* start(Group& group, const c10d_tensor* tensor, const Collective& collective) {
  at::NoGradGuard no_grad;
  auto target = tensor_of(tensor);
  auto staging = staged(group, target);
  auto operation = group.launch([&](c10d::Backend& backend) {
    Tensors tensors{staging};
    return collective(backend, tensors);
  });
  return new c10d_work{std::move(operation), std::move(staging), std::move(target)};
}

} // namespace

c10d_work* c10d_group_all_reduce(c10d_group* group, const c10d_tensor* tensor, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_work* {
    return start(*group->group, tensor, [](c10d::Backend& backend, Tensors& tensors) {
      return backend.allreduce(tensors);
    });
  });
}

c10d_work* c10d_group_broadcast(
    c10d_group* group, const c10d_tensor* tensor, int32_t root, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_work* {
    if (root < 0 || root >= group->group->identity.world) {
      throw Error(
          Code::Invalid,
          "root " + std::to_string(root) + " is outside a world of " +
              std::to_string(group->group->identity.world));
    }
    return start(*group->group, tensor, [root](c10d::Backend& backend, Tensors& tensors) {
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return backend.broadcast(tensors, options);
    });
  });
}

void c10d_group_all_gather(
    c10d_group* group,
    const c10d_tensor* tensor,
    c10d_tensor** out,
    int64_t timeout_ms,
    c10d_error* error) {
  shim::guarded(error, [&] {
    at::NoGradGuard no_grad;
    auto deadline = shim::deadline_after(timeout_ms);
    auto input = staged(*group->group, tensor_of(tensor));
    const auto world = static_cast<size_t>(group->group->identity.world);
    std::vector<Tensors> outputs(1);
    for (size_t rank = 0; rank < world; ++rank) {
      outputs[0].push_back(world == 1 ? input : at::empty_like(input));
    }
    auto operation = group->group->launch([&](c10d::Backend& backend) {
      Tensors inputs{input};
      return backend.allgather(outputs, inputs);
    });
    group->group->wait(operation, deadline);
    for (size_t rank = 0; rank < world; ++rank) {
      out[rank] = reinterpret_cast<c10d_tensor*>(new at::Tensor(outputs[0][rank]));
    }
  });
}

void c10d_group_barrier(c10d_group* group, int64_t timeout_ms, c10d_error* error) {
  shim::guarded(error, [&] {
    // What NCCL's own barrier does, and the one form that both backends
    // complete in the same way.
    auto deadline = shim::deadline_after(timeout_ms);
    auto token = at::zeros(
        {1}, at::TensorOptions().dtype(at::kLong).device(group->group->identity.device));
    auto operation = group->group->launch([&](c10d::Backend& backend) {
      Tensors tensors{token};
      return backend.allreduce(tensors);
    });
    group->group->wait(operation, deadline);
  });
}

void c10d_work_wait(c10d_group* group, c10d_work* work, int64_t timeout_ms, c10d_error* error) {
  shim::guarded(error, [&] {
    group->group->wait(work->operation, shim::deadline_after(timeout_ms));
    at::NoGradGuard no_grad;
    work->target.copy_(work->staging);
  });
}

void c10d_work_free(c10d_work* work) {
  delete work;
}
