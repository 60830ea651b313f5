// Autograd wrappers around the raw forward/backward pairs of module ops.
#include "rqat/nn/functional.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"
#include "rqat/ops/linear.h"

namespace rqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What a function keeps beside tensors.
struct Extra : torch::CustomClassHolder {
  GradientBuffer weight_gradient, bias_gradient;
  std::function<at::Tensor()> input;  ///< of a linear
  at::Tensor output;                  ///< of a norm, made again in the backward
  std::vector<ops::Segment> segments;
  ops::AttentionOptions attention;
};

void keep(AutogradContext* context, c10::intrusive_ptr<Extra> extra) {
  context->saved_data["extra"] = c10::IValue::make_capsule(std::move(extra));
}

c10::intrusive_ptr<Extra> kept(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Extra>(context->saved_data.at("extra").toCapsule());
}

at::Tensor buffer_of(const GradientBuffer& gradient) { return gradient ? gradient() : at::Tensor(); }

bool records(const at::Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

// Arguments that autograd must not look at travel in structs: it takes every plain tensor argument for an activation.

struct LinearArguments {
  at::Tensor weight, bias;
  c10::intrusive_ptr<Extra> extra;
};

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const LinearArguments& arguments) {
    context->save_for_backward({arguments.extra->input ? at::Tensor() : x, arguments.weight});
    keep(context, arguments.extra);
    return ops::linear(x, arguments.weight, arguments.bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    base::pulse();
    const auto saved = context->get_saved_variables();
    const at::Tensor& weight = saved[1];
    const auto extra = kept(context);
    const at::Tensor dy = gradients[0].contiguous().view({-1, weight.size(0)});
    if (at::Tensor accumulator = buffer_of(extra->weight_gradient); accumulator.defined()) {
      const at::Tensor x = extra->input ? extra->input() : saved[0];
      ops::accumulate_tn(accumulator, dy, x.reshape({-1, weight.size(1)}));
    }
    if (at::Tensor accumulator = buffer_of(extra->bias_gradient); accumulator.defined()) {
      accumulator.add_(dy.sum({0}, false, at::kFloat));
    }
    std::vector<int64_t> sizes = gradients[0].sizes().vec();
    sizes.back() = weight.size(1);
    return {at::matmul(dy, weight).view(sizes), at::Tensor()};
  }
};

struct RmsNormArguments {
  at::Tensor weight;
  double eps;
  ops::NormStyle style;
  c10::intrusive_ptr<Extra> extra;
};

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const RmsNormArguments& arguments) {
    const auto [y, rstd] = ops::rms_norm(x, arguments.weight, arguments.eps, arguments.style);
    context->save_for_backward({x, arguments.weight, rstd});
    context->saved_data["eps"] = arguments.eps;
    context->saved_data["weight_offset"] = arguments.style.weight_offset;
    context->saved_data["round_last"] = arguments.style.round_last;
    keep(context, arguments.extra);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto extra = kept(context);
    extra->output = at::Tensor();
    at::Tensor accumulator = buffer_of(extra->weight_gradient);
    return {
        ops::rms_norm_backward(gradients[0].contiguous(), saved[0], saved[1], saved[2], accumulator, style(context)),
        at::Tensor()};
  }

  /// Made once for all the linears that read it.
  static at::Tensor output_again(AutogradContext* context) {
    at::Tensor& output = kept(context)->output;
    if (!output.defined()) {
      const auto saved = context->get_saved_variables();
      output = ops::rms_norm(saved[0], saved[1], context->saved_data.at("eps").toDouble(), style(context)).first;
    }
    return output;
  }

 private:
  static ops::NormStyle style(AutogradContext* context) {
    return {context->saved_data.at("weight_offset").toDouble(), context->saved_data.at("round_last").toBool()};
  }
};

struct RopeArguments {
  at::Tensor cos, sin;
};

class RopeFunction : public torch::autograd::Function<RopeFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const RopeArguments& arguments) {
    context->save_for_backward({arguments.cos, arguments.sin});
    return ops::rope(x, arguments.cos, arguments.sin);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {ops::rope(gradients[0].contiguous(), saved[0], saved[1], /*inverse=*/true), at::Tensor()};
  }
};

class SiluMulFunction : public torch::autograd::Function<SiluMulFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return ops::silu_mul(gate, up);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto [dgate, dup] = ops::silu_mul_backward(gradients[0].contiguous(), saved[0], saved[1]);
    return {dgate, dup};
  }

  static at::Tensor output_again(AutogradContext* context) {
    const auto saved = context->get_saved_variables();
    return ops::silu_mul(saved[0], saved[1]);
  }
};

class SegmentAttentionFunction : public torch::autograd::Function<SegmentAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const c10::intrusive_ptr<Extra>& extra) {
    const auto [out, logsumexp] = ops::segment_attention(q, k, v, extra->segments, extra->attention);
    context->save_for_backward({q, k, v, out, logsumexp});
    keep(context, extra);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto extra = kept(context);
    const auto d = ops::segment_attention_backward(gradients[0].contiguous(), saved[0], saved[1], saved[2], saved[3],
                                                   saved[4], extra->segments, extra->attention);
    return {d.q, d.k, d.v, at::Tensor()};
  }
};

struct EmbeddingArguments {
  at::Tensor ids, table;
  c10::intrusive_ptr<Extra> extra;
};

/// `anchor` is an empty leaf whose only use is that the output requires grad.
class EmbeddingFunction : public torch::autograd::Function<EmbeddingFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& anchor, const EmbeddingArguments& arguments) {
    (void)anchor;
    context->save_for_backward({arguments.ids});
    keep(context, arguments.extra);
    return arguments.table.index_select(0, arguments.ids);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (at::Tensor accumulator = buffer_of(kept(context)->weight_gradient); accumulator.defined()) {
      accumulator.index_add_(0, context->get_saved_variables()[0], gradients[0].to(at::kFloat));
    }
    return {at::Tensor(), at::Tensor()};
  }
};

template <typename Function>
std::function<at::Tensor()> output_again_of(const std::shared_ptr<torch::autograd::Node>& node) {
  auto* function = dynamic_cast<torch::autograd::CppNode<Function>*>(node.get());
  if (function == nullptr) return {};
  return [node, function] {
    const at::NoGradGuard no_grad;
    return Function::output_again(&function->ctx_);
  };
}

/// How the backward makes x again, bit for bit, instead of keeping it: where a norm or a gated product made it, which
/// keep what they were made of anyway. A third of what a decoder block would keep, for a hundredth of its time.
std::function<at::Tensor()> made_again(const at::Tensor& x) {
  const std::shared_ptr<torch::autograd::Node>& node = x.grad_fn();
  if (auto product = output_again_of<SiluMulFunction>(node)) return product;
  return output_again_of<RmsNormFunction>(node);
}

void check_ids(const at::Tensor& ids, const Parameter& table) {
  if (!ids.device().is_cpu() || ids.numel() == 0) return;
  const auto [low, high] = ids.aminmax();
  const int64_t vocabulary = table.compute.size(0);
  const int64_t wrong = low.item<int64_t>() < 0 ? low.item<int64_t>() : high.item<int64_t>();
  if (wrong < 0 || wrong >= vocabulary) {
    throw base::DataError(base::cat("'", table.name, "': token id ", wrong, " is outside 0..", vocabulary - 1,
                                    "; does the tokenizer belong to this model?"));
  }
}

}  // namespace

GradientBuffer gradient_of(Parameter& parameter) {
  return [&parameter] { return parameter.trainable ? parameter.grad_buffer() : at::Tensor(); };
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, GradientBuffer weight_gradient,
                  GradientBuffer bias_gradient) {
  if (!records(x)) return ops::linear(x, weight, bias);
  auto extra = c10::make_intrusive<Extra>();
  extra->weight_gradient = std::move(weight_gradient);
  extra->bias_gradient = std::move(bias_gradient);
  extra->input = made_again(x);
  return LinearFunction::apply(x, LinearArguments{weight, bias, std::move(extra)});
}

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps, const ops::NormStyle& style) {
  if (!records(x)) return ops::rms_norm(x, weight.compute, eps, style).first;
  auto extra = c10::make_intrusive<Extra>();
  extra->weight_gradient = gradient_of(weight);
  return RmsNormFunction::apply(x, RmsNormArguments{weight.compute, eps, style, std::move(extra)});
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  if (const int64_t rotated = 2 * cos.size(-1); rotated < x.size(-1)) {
    return at::cat({rope(x.slice(-1, 0, rotated).contiguous(), cos, sin), x.slice(-1, rotated)}, -1);
  }
  if (!records(x)) return ops::rope(x, cos, sin);
  return RopeFunction::apply(x, RopeArguments{cos, sin});
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  if (!records(gate) && !records(up)) return ops::silu_mul(gate, up);
  return SiluMulFunction::apply(gate, up);
}

at::Tensor gated(GatedActivation activation, const at::Tensor& gate, const at::Tensor& up) {
  return activation == GatedActivation::kSilu ? silu_mul(gate, up) : at::gelu(gate, "tanh") * up;
}

at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<ops::Segment>& segments, const ops::AttentionOptions& options) {
  if (!records(q) && !records(k) && !records(v)) return ops::segment_attention(q, k, v, segments, options).first;
  auto extra = c10::make_intrusive<Extra>();
  extra->segments = segments;
  extra->attention = options;
  return SegmentAttentionFunction::apply(q, k, v, extra);
}

at::Tensor embedding(const at::Tensor& ids, Parameter& table) {
  check_ids(ids, table);
  if (!at::GradMode::is_enabled()) return table.compute.index_select(0, ids);
  auto extra = c10::make_intrusive<Extra>();
  extra->weight_gradient = gradient_of(table);
  const at::Tensor anchor = at::empty({0}, table.compute.options()).set_requires_grad(true);
  return EmbeddingFunction::apply(anchor, EmbeddingArguments{ids, table.compute, std::move(extra)});
}

}  // namespace rqat::nn
