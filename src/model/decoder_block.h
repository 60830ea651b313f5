// One pre-norm decoder block: attention and gated MLP, each added to the residual stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rqat/model/causal_lm.h"

namespace rqat::model {

class DecoderBlock {
 public:
  DecoderBlock(const ModelConfig& config, const DecoderOptions& options, int64_t index, nn::LayerFactory& factory);

  at::Tensor forward(const at::Tensor& hidden_TD, const ForwardContext& context);
  std::vector<nn::LinearBase*> linears();
  /// Norm weights: before attention, before the MLP, of q and k where the family has them.
  nn::ParameterList norms();
  /// Shape of a norm's weight.
  std::vector<int64_t> norm_shape(const nn::Parameter& norm) const;

 private:
  struct Points {
    std::shared_ptr<nn::ActivationTransform> attention_input, query, key, output_input, mlp_input, down_input;
  };
  at::Tensor attention(const at::Tensor& x_TD, const ForwardContext& context);
  at::Tensor mlp(const at::Tensor& x_TD);

  int64_t index_, heads_, kv_heads_, head_dim_, hidden_size_;
  double eps_;
  bool qk_norm_;
  nn::Parameter input_norm_, post_attention_norm_, query_norm_, key_norm_;
  std::unique_ptr<nn::LinearBase> q_, k_, v_, o_, gate_, up_, down_;
  Points points_;
};

}  // namespace rqat::model
