// Small random models for the tests of this folder.
#pragma once

#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/strings.h"
#include "rqat/io/safetensors.h"
#include "rqat/model/causal_lm.h"

namespace rqat::model {

/// A folder of its own that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() / base::cat("rqat_model_test_", getpid(), "_", count++);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline ModelConfig tiny_config(const std::string& model_type = "llama", bool tied = true) {
  ModelConfig config;
  config.model_type = model_type;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = model_type == "qwen3" ? 16 : 8;
  config.max_position_embeddings = 512;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = tied;
  if (model_type == "qwen3_moe") {
    config.num_experts = 5;
    config.num_experts_per_tok = 2;
    config.moe_intermediate_size = 32;
  }
  return config;
}

/// Random fp32 weights under their names in a checkpoint, of the size that initialisation would give.
inline io::TensorMap random_weights(const ModelConfig& config, uint64_t seed = 1) {
  at::manual_seed(seed);
  io::TensorMap map;
  const auto normal = [](at::IntArrayRef shape) { return at::randn(shape) * 0.2; };
  const auto norm = [](int64_t size) { return at::rand({size}) + 0.5; };
  if (config.model_type == "qwen3_moe" || config.model_type == "phi3") {
    nn::FloatLayerFactory factory;
    for (const auto& [name, shape] : CausalLM(config, factory, at::kFloat, at::kMeta).weight_shapes())
      map[name] = shape.size() == 1 ? norm(shape[0]) : normal(shape);
    return map;
  }
  const int64_t hidden = config.hidden_size, query = config.num_attention_heads * config.head_dim;
  const int64_t kv = config.num_key_value_heads * config.head_dim;
  map["model.embed_tokens.weight"] = normal({config.vocab_size, hidden});
  map["model.norm.weight"] = norm(hidden);
  if (!config.tie_word_embeddings) map["lm_head.weight"] = normal({config.vocab_size, hidden});
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string name = base::cat("model.layers.", layer, ".");
    map[name + "input_layernorm.weight"] = norm(hidden);
    map[name + "post_attention_layernorm.weight"] = norm(hidden);
    map[name + "self_attn.q_proj.weight"] = normal({query, hidden});
    map[name + "self_attn.k_proj.weight"] = normal({kv, hidden});
    map[name + "self_attn.v_proj.weight"] = normal({kv, hidden});
    map[name + "self_attn.o_proj.weight"] = normal({hidden, query});
    map[name + "mlp.gate_proj.weight"] = normal({config.intermediate_size, hidden});
    map[name + "mlp.up_proj.weight"] = normal({config.intermediate_size, hidden});
    map[name + "mlp.down_proj.weight"] = normal({hidden, config.intermediate_size});
    if (config.model_type == "qwen2") {
      map[name + "self_attn.q_proj.bias"] = normal({query});
      map[name + "self_attn.k_proj.bias"] = normal({kv});
      map[name + "self_attn.v_proj.bias"] = normal({kv});
    }
    if (config.model_type == "qwen3") {
      map[name + "self_attn.q_norm.weight"] = norm(config.head_dim);
      map[name + "self_attn.k_norm.weight"] = norm(config.head_dim);
    }
  }
  return map;
}

inline void load(CausalLM& model, const io::TensorMap& weights) {
  const TemporaryFolder folder;
  io::write_safetensors(folder.path() / "model.safetensors", weights);
  model.load_weights(io::TensorSource(folder.path()));
}

inline std::unique_ptr<CausalLM> tiny_model(const ModelConfig& config, const io::TensorMap& weights,
                                            at::ScalarType dtype = at::kFloat) {
  nn::FloatLayerFactory factory;
  auto model = std::make_unique<CausalLM>(config, factory, dtype, at::kCPU);
  load(*model, weights);
  return model;
}

inline double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace rqat::model
