#include "rqat/nn/parameter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

namespace rqat::nn {

const char* role_name(Role role) {
  switch (role) {
    case Role::kWeight:
      return "weight";
    case Role::kBias:
      return "bias";
    case Role::kNorm:
      return "norm";
    case Role::kEmbedding:
      return "embedding";
    case Role::kHead:
      return "head";
    case Role::kRouter:
      return "router";
    case Role::kScale:
      return "scale";
    case Role::kZeroPoint:
      return "zero_point";
  }
  throw std::logic_error("role_name: not a Role");
}

void Parameter::make_master() {
  if (master.defined() || elsewhere) return;
  if (!compute.defined()) throw std::logic_error("make_master of '" + name + "': it has no value yet");
  master = compute.to(at::kFloat);
}

void Parameter::refresh() {
  if (!master.defined() || !compute.defined() || compute.is_same(master)) return;
  const at::NoGradGuard no_grad;
  compute.copy_(master);
}

void Parameter::release_master() {
  master = at::Tensor();
  elsewhere = true;
}

at::Tensor Parameter::shared_value() {
  refresh();
  return compute;
}

at::Tensor& Parameter::grad_buffer() {
  if (!grad.defined()) {
    const at::Tensor& like = master.defined() ? master : compute;
    if (!like.defined()) throw std::logic_error("grad_buffer of '" + name + "': it has no value yet");
    grad = at::zeros(like.sizes(), like.options().dtype(at::kFloat));
  }
  return grad;
}

void Parameter::zero_grad() {
  // Kept and cleared: fresh memory would cost page faults in every step.
  if (grad.defined()) grad.zero_();
}

}  // namespace rqat::nn
