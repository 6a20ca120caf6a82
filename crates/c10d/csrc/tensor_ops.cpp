// Operations of libtorch that tch does not bind.

#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include "error.h"

using shim::Code;
using shim::Error;

namespace {

std::vector<at::Tensor> list_of(const c10d_tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    list.push_back(*reinterpret_cast<const at::Tensor*>(tensors[i]));
    if (!list.back().defined()) {
      throw Error(Code::Invalid, "tensor " + std::to_string(i) + " of the list is undefined");
    }
  }
  return list;
}

c10::DeviceType device_type_of(int32_t device_type) {
  return device_type == C10D_CUDA ? c10::kCUDA : c10::kCPU;
}

} // namespace

void c10d_fused_adamw(
    const c10d_tensor* const* parameters,
    const c10d_tensor* const* grads,
    const c10d_tensor* const* exp_avgs,
    const c10d_tensor* const* exp_avg_sqs,
    const c10d_tensor* const* steps,
    size_t count,
    const c10d_adamw* hyper,
    c10d_error* error) {
  shim::guarded(error, [&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    auto counters = list_of(steps, count);
    at::_foreach_add_(counters, 1);
    at::_fused_adamw_(
        list_of(parameters, count),
        list_of(grads, count),
        list_of(exp_avgs, count),
        list_of(exp_avg_sqs, count),
        /*max_exp_avg_sqs=*/{},
        counters,
        hyper->lr,
        hyper->beta1,
        hyper->beta2,
        hyper->weight_decay,
        hyper->eps,
        /*amsgrad=*/false,
        /*maximize=*/false);
  });
}

c10d_tensor* c10d_grad_norm(const c10d_tensor* const* grads, size_t count, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_tensor* {
    if (count == 0) {
      throw Error(Code::Invalid, "the norm of no gradients is not defined");
    }
    at::NoGradGuard no_grad;
    auto norms = at::stack(at::_foreach_norm(list_of(grads, count), 2));
    return reinterpret_cast<c10d_tensor*>(
        new at::Tensor(at::linalg_vector_norm(norms, 2).to(at::kFloat)));
  });
}

void c10d_scale(
    const c10d_tensor* const* tensors, size_t count, const c10d_tensor* factor, c10d_error* error) {
  shim::guarded(error, [&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    const auto& scalar = *reinterpret_cast<const at::Tensor*>(factor);
    if (!scalar.defined() || scalar.dim() != 0) {
      throw Error(Code::Invalid, "the factor must be a tensor without dimensions");
    }
    at::_foreach_mul_(list_of(tensors, count), scalar);
  });
}

void c10d_autocast_enter(
    int32_t device_type, int32_t dtype, c10d_autocast_before* before, c10d_error* error) {
  shim::guarded(error, [&] {
    auto device = device_type_of(device_type);
    before->enabled = at::autocast::is_autocast_enabled(device);
    before->scalar_type = static_cast<int32_t>(at::autocast::get_autocast_dtype(device));
    at::autocast::set_autocast_dtype(device, dtype == C10D_HALF ? at::kHalf : at::kBFloat16);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::increment_nesting();
  });
}

void c10d_autocast_leave(int32_t device_type, const c10d_autocast_before* before) {
  c10d_error ignored = {C10D_OK, nullptr};
  shim::guarded(&ignored, [&] {
    auto device = device_type_of(device_type);
    // Weights change between steps: their casts must not outlive the outermost
    // region.
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(device, before->enabled);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(before->scalar_type));
  });
  c10d_string_free(ignored.message);
}
