// What rqat reads of a Hugging Face config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rqat/nn/rope.h"

namespace rqat::model {

/// Fields by their names in config.json. Those from `hidden_act` on belong to some families only; they say nothing
/// where they have the values below.
struct ModelConfig {
  std::string model_type;  ///< "llama", "qwen2" ...: the family
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  std::vector<int64_t> eos_token_ids;  ///< generation_config.json first, else config.json
  int64_t bos_token_id = -1;

  nn::RopeParameters rope;                       ///< rope_theta, rope_scaling, rope_parameters
  std::optional<nn::RopeParameters> local_rope;  ///< of layers with a sliding window, where the family tells them apart

  std::string hidden_act = "silu";  ///< hidden_activation in Gemma
  bool attention_bias = false;      ///< q, k, v (and o where the family has it)
  bool mlp_bias = false;
  bool use_sliding_window = false;
  int64_t sliding_window = 0;  ///< 0 = none
  int64_t max_window_layers = 0, sliding_window_pattern = 0;
  std::vector<std::string> layer_types;  ///< "full_attention" or "sliding_attention" per layer; empty = by the pattern
  std::vector<int64_t> no_rope_layers;   ///< 1 = the layer has rope; empty = by the interval
  int64_t no_rope_layer_interval = 0;
  double query_pre_attn_scalar = 0;
  double attn_logit_softcapping = 0, final_logit_softcapping = 0;
  int64_t num_experts = 0, num_experts_per_tok = 0, moe_intermediate_size = 0, decoder_sparse_step = 1;
  bool norm_topk_prob = false;
  std::vector<int64_t> mlp_only_layers;
};

/// Reads config.json (and generation_config.json) of a folder. Both spellings are read: rope_theta and rope_scaling of
/// transformers 4, rope_parameters of 5; torch_dtype and dtype. Throws IoError that names the field when a value is
/// wrong or not supported, and when a field is neither known for the family nor known to leave the maths alone.
ModelConfig read_model_config(const std::filesystem::path& folder);

}  // namespace rqat::model
