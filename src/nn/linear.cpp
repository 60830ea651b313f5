#include "rqat/nn/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"
#include "rqat/nn/functional.h"
#include "rqat/ops/linear.h"

namespace rqat::nn {

at::Tensor LinearBase::forward(const at::Tensor& x) {
  base::pulse();
  if (observer_) observer_(x);
  const bool records = at::GradMode::is_enabled() && x.requires_grad();
  if (execution() == Execution::kPacked) {
    if (records) {
      throw std::logic_error(base::cat("linear '", name(),
                                       "': packed execution has no gradient; call set_execution(kTrain) "
                                       "before training, or forward without grad mode"));
    }
    return packed_forward(x);
  }
  if (!records) return ops::linear(x, dense_weight(), bias());
  return linear(
      x, dense_weight(), bias(), [this] { return weight_grad_buffer(); }, [this] { return bias_grad_buffer(); });
}

std::vector<at::Tensor> LinearBase::accumulated_gradients() {
  std::vector<at::Tensor> buffers;
  for (const at::Tensor& buffer : {weight_grad_buffer(), bias_grad_buffer()}) {
    if (buffer.defined()) buffers.push_back(buffer);
  }
  return buffers;
}

void FloatLinear::load(const at::Tensor& weight, const at::Tensor& bias) {
  const at::IntArrayRef expected_bias = bias.defined() ? bias.sizes() : at::IntArrayRef{};
  const bool shapes_fit = weight.sizes() == at::IntArrayRef{spec().out_features, spec().in_features} &&
                          bias.defined() == spec().bias &&
                          (!spec().bias || expected_bias == at::IntArrayRef{spec().out_features});
  if (!shapes_fit) {
    throw base::DataError(base::cat("linear '", name(), "': expected a weight [", spec().out_features, ", ",
                                    spec().in_features, "] ", spec().bias ? "and a bias" : "without bias", ", got ",
                                    weight.sizes(), " ", bias.defined() ? "and a bias" : "without bias"));
  }
  weight_ = {};
  weight_.name = name() + ".weight";
  weight_.compute = weight;
  bias_ = {};
  bias_.name = name() + ".bias";
  bias_.role = Role::kBias;
  bias_.compute = bias;
}

ParameterList FloatLinear::parameters() {
  ParameterList list{&weight_};
  if (spec().bias) list.push_back(&bias_);
  return list;
}

void FloatLinear::refresh() {
  weight_.refresh();
  bias_.refresh();
}

void FloatLinear::prepare_training() {
  for (Parameter* parameter : parameters()) {
    if (!parameter->trainable) continue;
    parameter->make_master();
    // Before the first forward: allocated among its activations, it would keep the holes they leave from being used.
    if (parameter->master.defined()) parameter->grad_buffer();
  }
}

int64_t FloatLinear::weight_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* tensor : {&weight_.compute, &bias_.compute}) {
    if (tensor->defined()) bytes += static_cast<int64_t>(tensor->nbytes());
  }
  return bytes;
}

at::Tensor FloatLinear::packed_forward(const at::Tensor& x) { return ops::linear(x, weight_.compute, bias_.compute); }

at::Tensor FloatLinear::weight_grad_buffer() { return weight_.trainable ? weight_.grad_buffer() : at::Tensor(); }

at::Tensor FloatLinear::bias_grad_buffer() {
  return spec().bias && bias_.trainable ? bias_.grad_buffer() : at::Tensor();
}

}  // namespace rqat::nn
