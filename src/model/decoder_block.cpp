// Shapes: T tokens, D hidden size, H query heads, J key/value heads, E head dim.
#include "decoder_block.h"

#include <ATen/ATen.h>

#include "rqat/base/strings.h"
#include "rqat/nn/attention.h"
#include "rqat/nn/functional.h"

namespace rqat::model {
namespace {

at::Tensor transformed(const std::shared_ptr<nn::ActivationTransform>& transform, at::Tensor x) {
  return transform ? transform->apply(x) : x;
}

/// residual + x, in x's memory where no graph needs it.
at::Tensor add_residual(const at::Tensor& residual, at::Tensor x) {
  if (residual.requires_grad() || x.requires_grad()) return residual + x;
  return x.add_(residual);
}

nn::Parameter norm_parameter(const std::string& name) {
  nn::Parameter parameter;
  parameter.name = name + ".weight";
  parameter.role = nn::Role::kNorm;
  return parameter;
}

}  // namespace

DecoderBlock::DecoderBlock(const ModelConfig& config, const DecoderOptions& options, int64_t index,
                           nn::LayerFactory& factory)
    : index_(index),
      heads_(config.num_attention_heads),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      hidden_size_(config.hidden_size),
      eps_(config.rms_norm_eps),
      qk_norm_(options.qk_norm) {
  const std::string name = base::cat("model.layers.", index, ".");
  input_norm_ = norm_parameter(name + "input_layernorm");
  post_attention_norm_ = norm_parameter(name + "post_attention_layernorm");
  query_norm_ = norm_parameter(name + "self_attn.q_norm");
  key_norm_ = norm_parameter(name + "self_attn.k_norm");

  const int64_t D = config.hidden_size, query_size = heads_ * head_dim_, kv_size = kv_heads_ * head_dim_;
  q_ = factory.linear({name + "self_attn.q_proj", D, query_size, options.qkv_bias});
  k_ = factory.linear({name + "self_attn.k_proj", D, kv_size, options.qkv_bias});
  v_ = factory.linear({name + "self_attn.v_proj", D, kv_size, options.qkv_bias});
  o_ = factory.linear({name + "self_attn.o_proj", query_size, D, options.output_bias});
  gate_ = factory.linear({name + "mlp.gate_proj", D, config.intermediate_size, false});
  up_ = factory.linear({name + "mlp.up_proj", D, config.intermediate_size, false});
  down_ = factory.linear({name + "mlp.down_proj", config.intermediate_size, D, false});

  points_ = {factory.activation(name + "attention_input"),
             factory.activation(name + "query"),
             factory.activation(name + "key"),
             factory.activation(name + "output_input"),
             factory.activation(name + "mlp_input"),
             factory.activation(name + "down_input")};
}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden_TD, const ForwardContext& context) {
  const at::Tensor after_attention_TD =
      add_residual(hidden_TD, attention(nn::rms_norm(hidden_TD, input_norm_, eps_), context));
  return add_residual(after_attention_TD, mlp(nn::rms_norm(after_attention_TD, post_attention_norm_, eps_)));
}

at::Tensor DecoderBlock::attention(const at::Tensor& x_TD, const ForwardContext& context) {
  const at::Tensor input_TD = transformed(points_.attention_input, x_TD);
  at::Tensor q_THE = q_->forward(input_TD).view({-1, heads_, head_dim_});
  at::Tensor k_TJE = k_->forward(input_TD).view({-1, kv_heads_, head_dim_});
  const at::Tensor v_TJE = v_->forward(input_TD).view({-1, kv_heads_, head_dim_});
  if (qk_norm_) {
    q_THE = nn::rms_norm(q_THE, query_norm_, eps_);
    k_TJE = nn::rms_norm(k_TJE, key_norm_, eps_);
  }
  q_THE = transformed(points_.query, nn::rope(q_THE, context.cos, context.sin));
  k_TJE = transformed(points_.key, nn::rope(k_TJE, context.cos, context.sin));
  const auto& segments = context.batch->segments;
  const at::Tensor mixed_THE =
      context.cache ? nn::cached_attention(q_THE, k_TJE, v_TJE, segments, *context.cache, index_, context.slots)
                    : nn::segment_attention(q_THE, k_TJE, v_TJE, segments);
  return o_->forward(transformed(points_.output_input, mixed_THE.reshape({-1, heads_ * head_dim_})));
}

at::Tensor DecoderBlock::mlp(const at::Tensor& x_TD) {
  const at::Tensor input_TD = transformed(points_.mlp_input, x_TD);
  const at::Tensor product_TF = nn::silu_mul(gate_->forward(input_TD), up_->forward(input_TD));
  return down_->forward(transformed(points_.down_input, product_TF));
}

std::vector<nn::LinearBase*> DecoderBlock::linears() {
  return {q_.get(), k_.get(), v_.get(), o_.get(), gate_.get(), up_.get(), down_.get()};
}

nn::ParameterList DecoderBlock::norms() {
  nn::ParameterList list{&input_norm_, &post_attention_norm_};
  if (qk_norm_) list.insert(list.end(), {&query_norm_, &key_norm_});
  return list;
}

std::vector<int64_t> DecoderBlock::norm_shape(const nn::Parameter& norm) const {
  return {&norm == &query_norm_ || &norm == &key_norm_ ? head_dim_ : hidden_size_};
}

}  // namespace rqat::model
