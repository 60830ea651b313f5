// What the text models of Gemma 2 and 3 share.
#pragma once

#include <cmath>

#include "families/family_entry.h"

namespace rqat::model {

inline void set_gemma_defaults(ModelConfig& config) {
  config.tie_word_embeddings = true;
  config.hidden_act = "gelu_pytorch_tanh";  // hidden_activation is what counts in the files
  config.head_dim = 256;
  config.query_pre_attn_scalar = 256;
  config.sliding_window = 4096;
}

/// Norms before and behind, weights stored less one, scaled embeddings and scores, capped logits.
inline DecoderOptions gemma_options(const ModelConfig& config) {
  DecoderOptions options = plain_options(config);
  options.qkv_bias = options.output_bias = config.attention_bias;
  options.norm_placement = NormPlacement::kBoth;
  options.norm_style = {1, true};
  options.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  options.attention_scale = 1 / std::sqrt(config.query_pre_attn_scalar);
  options.logit_softcap = config.final_logit_softcapping;
  return options;
}

}  // namespace rqat::model
