#include "gguf_names.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <numbers>

#include "rqat/base/strings.h"
#include "rqat/model/causal_lm.h"

namespace rqat::exporting {

namespace {

using base::cat;

constexpr const char* kBlockPrefix = "model.layers.";

/// Family -> llama.cpp's architecture. A Mistral without a window is a Llama there.
const std::map<std::string, std::string>& architectures() {
  static const std::map<std::string, std::string> names{
      {"llama", "llama"}, {"mistral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}};
  return names;
}

const std::map<std::string, std::string>& block_names() {
  static const std::map<std::string, std::string> names{
      {"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"},     {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"}};
  return names;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool any_window(const model::ModelConfig& config) {
  for (const model::LayerOptions& layer : model::families().make(config.model_type)->options(config).layers) {
    if (layer.window > 0) return true;
  }
  return false;
}

}  // namespace

std::string gguf_architecture(const model::ModelConfig& config) {
  const auto found = architectures().find(config.model_type);
  return found == architectures().end() ? "" : found->second;
}

std::vector<std::string> gguf_architecture_faults(const model::ModelConfig& config) {
  if (gguf_architecture(config).empty()) {
    std::vector<std::string> names;
    for (const auto& [family, ignored] : architectures()) names.push_back(family);
    return {cat("model_type ", config.model_type, " cannot be written to GGUF (one of ", base::join(names, ", "),
                " can); export as compressed_tensors or hf_dequantized")};
  }
  std::vector<std::string> faults;
  if (any_window(config)) faults.emplace_back("sliding-window attention cannot be written to GGUF for this family");
  if (config.mlp_bias) faults.emplace_back("mlp_bias cannot be written to GGUF");
  const bool llama = gguf_architecture(config) == "llama";
  if (config.attention_bias && config.model_type == "qwen3")
    faults.emplace_back("attention_bias of qwen3 cannot be written to GGUF");
  const nn::RopeScaling scaling = config.rope.scaling;
  const bool written = scaling == nn::RopeScaling::kNone || scaling == nn::RopeScaling::kLinear ||
                       (scaling == nn::RopeScaling::kLlama3 && llama);
  if (!written)
    faults.emplace_back("rope scaling of this kind cannot be written to GGUF (none, linear, and llama3 can)");
  if (config.rope.rotated_part != 1)
    faults.emplace_back("partial_rotary_factor other than 1 cannot be written to GGUF");
  return faults;
}

std::string gguf_tensor_name(const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  if (!base::starts_with(name, kBlockPrefix)) return "";
  const std::string rest = name.substr(std::string(kBlockPrefix).size());
  const size_t first = rest.find('.'), last = rest.rfind('.');
  if (first == std::string::npos || first == last) return "";
  const auto found = block_names().find(rest.substr(first + 1, last - first - 1));
  return found == block_names().end() ? "" : cat("blk.", rest.substr(0, first), ".", found->second, rest.substr(last));
}

int64_t permuted_heads(const model::ModelConfig& config, const std::string& name) {
  if (gguf_architecture(config) != "llama") return 0;
  for (const char* tensor : {".weight", ".bias"}) {
    if (ends_with(name, cat(".self_attn.q_proj", tensor))) return config.num_attention_heads;
    if (ends_with(name, cat(".self_attn.k_proj", tensor))) return config.num_key_value_heads;
  }
  return 0;
}

at::Tensor permute_rows(const at::Tensor& tensor, int64_t heads) {
  if (heads == 0) return tensor;
  const int64_t pairs = tensor.size(0) / heads / 2;
  return tensor.reshape({heads, 2, pairs, -1}).transpose(1, 2).reshape(tensor.sizes());
}

at::Tensor unpermute_rows(const at::Tensor& tensor, int64_t heads) {
  if (heads == 0) return tensor;
  const int64_t pairs = tensor.size(0) / heads / 2;
  return tensor.reshape({heads, pairs, 2, -1}).transpose(1, 2).reshape(tensor.sizes());
}

io::GgufMetadata gguf_model_metadata(const model::ModelConfig& config, const std::string& name, int64_t file_type) {
  const std::string architecture = gguf_architecture(config);
  io::GgufMetadata metadata{{"general.architecture", architecture},
                            {"general.type", std::string("model")},
                            {"general.name", name},
                            {"general.file_type", file_type},
                            {"general.quantization_version", int64_t{2}}};
  const auto add = [&](const std::string& key, io::GgufValue value) {
    metadata.emplace_back(cat(architecture, ".", key), std::move(value));
  };
  add("vocab_size", config.vocab_size);
  add("context_length", config.max_position_embeddings);
  add("embedding_length", config.hidden_size);
  add("block_count", config.num_hidden_layers);
  add("feed_forward_length", config.intermediate_size);
  add("attention.head_count", config.num_attention_heads);
  add("attention.head_count_kv", config.num_key_value_heads);
  add("attention.key_length", config.head_dim);
  add("attention.value_length", config.head_dim);
  add("attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  add("rope.dimension_count", config.head_dim);
  add("rope.freq_base", config.rope.theta);
  if (config.rope.scaling == nn::RopeScaling::kLinear) {
    add("rope.scaling.type", std::string("linear"));
    add("rope.scaling.factor", config.rope.factor);
  }
  return metadata;
}

at::Tensor gguf_rope_factors(const model::ModelConfig& config) {
  const nn::RopeParameters& rope = config.rope;
  if (rope.scaling != nn::RopeScaling::kLlama3) return {};
  const double length = static_cast<double>(rope.original_length);
  const double longest = length / rope.low_frequency_factor, shortest = length / rope.high_frequency_factor;
  at::Tensor factors = at::empty({config.head_dim / 2}, at::kFloat);
  for (int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(config.head_dim);
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
    double factor = wavelength > longest ? rope.factor : 1;
    if (wavelength >= shortest && wavelength <= longest) {
      const double smooth =
          (length / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors[pair] = factor;
  }
  return factors;
}

}  // namespace rqat::exporting
