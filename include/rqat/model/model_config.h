// What rqat reads of a Hugging Face config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace rqat::model {

struct ModelConfig {
  std::string model_type;  ///< "llama", "qwen2", "qwen3": the family
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6, rope_theta = 10000;
  bool tie_word_embeddings = false;
  bool attention_bias = false;         ///< q, k, v (and o where the family has it)
  std::vector<int64_t> eos_token_ids;  ///< generation_config.json first, else config.json
  int64_t bos_token_id = -1;
};

/// Reads config.json (and generation_config.json) of a folder. A field that changes the maths and is not supported
/// (rope scaling, sliding window in use, another activation ...) is an IoError that names it. Both spellings are read:
/// rope_theta / rope_parameters.rope_theta, torch_dtype / dtype.
ModelConfig read_model_config(const std::filesystem::path& folder);

}  // namespace rqat::model
