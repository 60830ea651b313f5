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
      norm_style_(options.norm_style),
      qk_norm_(options.qk_norm),
      layer_(options.layers.at(static_cast<size_t>(index))),
      attention_{options.attention_scale, options.attention_softcap, layer_.window} {
  const std::string name = base::cat("model.layers.", index, ".");
  // post_attention_layernorm lies before the MLP in models with two norms in front, behind the attention in others.
  const NormPlacement placement = options.norm_placement;
  if (placement != NormPlacement::kAfter) before_attention_ = norm_parameter(name + "input_layernorm");
  nn::Parameter& post_attention = placement == NormPlacement::kBefore ? before_mlp_ : after_attention_;
  post_attention = norm_parameter(name + "post_attention_layernorm");
  if (placement == NormPlacement::kBoth) before_mlp_ = norm_parameter(name + "pre_feedforward_layernorm");
  if (placement != NormPlacement::kBefore) after_mlp_ = norm_parameter(name + "post_feedforward_layernorm");
  if (qk_norm_ != QkNorm::kNone) {
    query_norm_ = norm_parameter(name + "self_attn.q_norm");
    key_norm_ = norm_parameter(name + "self_attn.k_norm");
  }

  const int64_t D = config.hidden_size, query_size = heads_ * head_dim_, kv_size = kv_heads_ * head_dim_;
  q_ = factory.linear({name + "self_attn.q_proj", D, query_size, options.qkv_bias});
  k_ = factory.linear({name + "self_attn.k_proj", D, kv_size, options.qkv_bias});
  v_ = factory.linear({name + "self_attn.v_proj", D, kv_size, options.qkv_bias});
  o_ = factory.linear({name + "self_attn.o_proj", query_size, D, options.output_bias});
  points_ = {factory.activation(name + "attention_input"), factory.activation(name + "query"),
             factory.activation(name + "key"), factory.activation(name + "output_input")};
  mlp_ = make_mlp(config, options, layer_.experts, name, factory);
}

at::Tensor DecoderBlock::normed(const at::Tensor& x, nn::Parameter& norm) {
  return norm.name.empty() ? x : nn::rms_norm(x, norm, eps_, norm_style_);
}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden_TD, const ForwardContext& context) {
  const at::Tensor mixed_TD = normed(attention(normed(hidden_TD, before_attention_), context), after_attention_);
  const at::Tensor after_attention_TD = add_residual(hidden_TD, mixed_TD);
  return add_residual(after_attention_TD, normed(mlp_->forward(normed(after_attention_TD, before_mlp_)), after_mlp_));
}

at::Tensor DecoderBlock::positioned(at::Tensor x_THE, nn::Parameter& norm, const ForwardContext& context) {
  if (qk_norm_ == QkNorm::kPerHead) x_THE = normed(x_THE, norm);
  if (qk_norm_ == QkNorm::kWhole) x_THE = normed(x_THE.flatten(1), norm).view(x_THE.sizes());
  if (layer_.rope < 0) return x_THE;
  const auto& [cos, sin] = context.ropes.at(static_cast<size_t>(layer_.rope));
  return nn::rope(x_THE, cos, sin);
}

at::Tensor DecoderBlock::attention(const at::Tensor& x_TD, const ForwardContext& context) {
  const at::Tensor input_TD = transformed(points_.attention_input, x_TD);
  at::Tensor q_THE = q_->forward(input_TD).view({-1, heads_, head_dim_});
  at::Tensor k_TJE = k_->forward(input_TD).view({-1, kv_heads_, head_dim_});
  const at::Tensor v_TJE = v_->forward(input_TD).view({-1, kv_heads_, head_dim_});
  q_THE = transformed(points_.query, positioned(q_THE, query_norm_, context));
  k_TJE = transformed(points_.key, positioned(k_TJE, key_norm_, context));
  const auto& segments = context.batch->segments;
  const at::Tensor mixed_THE = context.cache ? nn::cached_attention(q_THE, k_TJE, v_TJE, segments, *context.cache,
                                                                    index_, context.slots, attention_)
                                             : nn::segment_attention(q_THE, k_TJE, v_TJE, segments, attention_);
  return o_->forward(transformed(points_.output_input, mixed_THE.reshape({-1, heads_ * head_dim_})));
}

std::vector<nn::LinearBase*> DecoderBlock::linears() {
  std::vector<nn::LinearBase*> all{q_.get(), k_.get(), v_.get(), o_.get()};
  for (nn::LinearBase* linear : mlp_->linears()) all.push_back(linear);
  return all;
}

nn::ParameterList DecoderBlock::parameters() {
  nn::ParameterList list;
  for (nn::Parameter* norm :
       {&before_attention_, &after_attention_, &before_mlp_, &after_mlp_, &query_norm_, &key_norm_}) {
    if (!norm->name.empty()) list.push_back(norm);
  }
  if (nn::Parameter* router = mlp_->router()) list.push_back(router);
  return list;
}

std::vector<int64_t> DecoderBlock::shape_of(const nn::Parameter& parameter) const {
  if (&parameter == mlp_->router()) {
    return {static_cast<int64_t>(mlp_->linears().size()) / 3, hidden_size_};
  }
  if (&parameter != &query_norm_ && &parameter != &key_norm_) return {hidden_size_};
  if (qk_norm_ == QkNorm::kPerHead) return {head_dim_};
  return {(&parameter == &query_norm_ ? heads_ : kv_heads_) * head_dim_};
}

}  // namespace rqat::model
