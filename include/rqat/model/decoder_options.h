// All in which the decoder families differ, as data: the block computes what it finds here and knows no family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rqat/nn/functional.h"
#include "rqat/nn/rope.h"
#include "rqat/ops/transformer.h"

namespace rqat::model {

/// Where the norms of attention and MLP, f, lie in the residual stream.
enum class NormPlacement {
  kBefore,  ///< x + f(norm(x)): Llama, Qwen
  kAfter,   ///< x + norm(f(x)): OLMo 2
  kBoth,    ///< x + norm(f(norm(x))): Gemma 2
};

/// RMSNorm of queries and keys before rope.
enum class QkNorm {
  kNone,
  kPerHead,  ///< over head_dim, one weight for all heads: Qwen3
  kWhole,    ///< over all heads together: OLMo 2
};

/// What one layer does unlike its neighbors.
struct LayerOptions {
  int64_t window = 0;    ///< tokens a query sees, itself the last of them; 0 = all before it
  int64_t rope = 0;      ///< index into DecoderOptions::ropes; -1 = queries and keys are not rotated
  bool experts = false;  ///< a mixture of experts in place of one MLP
};

/// A router picks `per_token` of `count` gated MLPs for each token by its softmax over all; their outputs are added,
/// weighted by those probabilities.
struct ExpertOptions {
  int64_t count = 0, per_token = 0, intermediate_size = 0;
  bool normalize = false;  ///< the picked probabilities are divided by their sum
};

/// One tensor of the checkpoint that holds the rows of several linears of a block, one after the other.
struct FusedLinear {
  std::string name;                ///< within the block: "self_attn.qkv_proj"
  std::vector<std::string> parts;  ///< {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}
};

struct DecoderOptions {
  bool qkv_bias = false;
  bool output_bias = false;  ///< o_proj
  bool mlp_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  NormPlacement norm_placement = NormPlacement::kBefore;
  ops::NormStyle norm_style;
  nn::GatedActivation activation = nn::GatedActivation::kSilu;
  double embedding_scale = 1;    ///< rounded to the compute dtype
  double attention_scale = 0;    ///< of scores; 0 = 1/sqrt(head_dim)
  double attention_softcap = 0;  ///< of scores; 0 = none
  double logit_softcap = 0;      ///< logits = cap tanh(logits / cap); 0 = none
  std::vector<nn::RopeParameters> ropes;
  std::vector<LayerOptions> layers;  ///< one per layer
  ExpertOptions experts;
  std::vector<FusedLinear> fused;
};

}  // namespace rqat::model
