// One decoder block: attention and MLP, each added to the residual stream, with what DecoderOptions says.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mlp.h"
#include "rqat/model/causal_lm.h"

namespace rqat::model {

class DecoderBlock {
 public:
  DecoderBlock(const ModelConfig& config, const DecoderOptions& options, int64_t index, nn::LayerFactory& factory);

  at::Tensor forward(const at::Tensor& hidden_TD, const ForwardContext& context);
  std::vector<nn::LinearBase*> linears();
  /// Parameters that are no linear's: norms of attention and MLP, of q and k, the router; each where there is one.
  nn::ParameterList parameters();
  std::vector<int64_t> shape_of(const nn::Parameter& parameter) const;

 private:
  struct Points {
    std::shared_ptr<nn::ActivationTransform> attention_input, query, key, output_input;
  };
  at::Tensor attention(const at::Tensor& x_TD, const ForwardContext& context);
  at::Tensor normed(const at::Tensor& x, nn::Parameter& norm);
  /// The norm of q or k, and its rope.
  at::Tensor positioned(at::Tensor x_THE, nn::Parameter& norm, const ForwardContext& context);

  int64_t index_, heads_, kv_heads_, head_dim_, hidden_size_;
  double eps_;
  ops::NormStyle norm_style_;
  QkNorm qk_norm_;
  LayerOptions layer_;
  ops::AttentionOptions attention_;
  nn::Parameter before_attention_, after_attention_, before_mlp_, after_mlp_;  ///< without a name = not there
  nn::Parameter query_norm_, key_norm_;
  std::unique_ptr<nn::LinearBase> q_, k_, v_, o_;
  std::unique_ptr<Mlp> mlp_;
  Points points_;
};

}  // namespace rqat::model
