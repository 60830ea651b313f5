#include "gguf_names.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rqat/base/strings.h"
#include "rqat/io/gguf_import.h"
#include "rqat/model/causal_lm.h"

namespace rqat::exporting {

namespace {

using base::cat;
using model::DecoderOptions;
using model::ModelConfig;

constexpr int64_t kNoRopeInterval = 4;  // of SmolLM3, in llama.cpp's code

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

DecoderOptions options_of(const ModelConfig& config) {
  return model::families().make(config.model_type)->options(config);
}

/// Families whose window llama.cpp computes with.
bool has_known_windows(const ModelConfig& config) {
  return config.model_type == "gemma2" || config.model_type == "gemma3_text" || config.model_type == "olmo3";
}

/// Layers from one full layer to the next, where the code of llama.cpp says so.
int64_t window_pattern(const ModelConfig& config) {
  return config.model_type == "gemma2" ? 2 : config.model_type == "gemma3_text" ? 6 : 0;
}

std::string scaling_fault(const ModelConfig& config) {
  const nn::RopeScaling scaling = config.rope.scaling;
  const bool llama3 = scaling == nn::RopeScaling::kLlama3 && gguf_architecture(config).name == std::string("llama");
  if (scaling == nn::RopeScaling::kNone || scaling == nn::RopeScaling::kLinear || llama3) return "";
  return "rope scaling of this kind cannot be written to GGUF (none, linear, and llama3 for llama can)";
}

void check_windows(const ModelConfig& config, const DecoderOptions& options, std::vector<std::string>& faults) {
  const int64_t pattern = window_pattern(config);
  for (size_t layer = 0; pattern > 0 && layer < options.layers.size(); ++layer) {
    const bool local = (static_cast<int64_t>(layer) + 1) % pattern != 0;
    if ((options.layers[layer].window > 0) == local) continue;
    faults.push_back(cat("layer_types other than a full layer every ", pattern, " layers cannot be written to GGUF"));
    return;
  }
}

/// What the code of llama.cpp takes for granted.
void check_gemma(const ModelConfig& config, std::vector<std::string>& faults) {
  const int64_t largest = config.model_type == "gemma2" ? 46 : 62;
  const auto expected = static_cast<double>(
      config.num_hidden_layers == largest ? config.hidden_size / config.num_attention_heads : config.head_dim);
  if (config.query_pre_attn_scalar != expected) {
    faults.push_back(cat("query_pre_attn_scalar ", config.query_pre_attn_scalar,
                         " cannot be written to GGUF: llama.cpp "
                         "takes ",
                         expected));
  }
  if (config.hidden_act != "gelu_pytorch_tanh")
    faults.emplace_back("hidden_activation other than gelu_pytorch_tanh cannot be written to GGUF");
  const bool capped = config.attn_logit_softcapping > 0 && config.final_logit_softcapping > 0;
  if (config.model_type == "gemma2" && !capped)
    faults.emplace_back("a gemma2 without soft caps cannot be written to GGUF");
  if (config.model_type == "gemma2" && !config.tie_word_embeddings)
    faults.emplace_back("a gemma2 with a head of its own cannot be written to GGUF");
  if (!config.local_rope) return;
  const bool plain = config.local_rope->scaling == nn::RopeScaling::kNone && config.local_rope->theta == 10000;
  if (!plain) faults.emplace_back("rope of local layers other than theta 10000, not scaled, cannot be written to GGUF");
}

void check_experts(const ModelConfig& config, const DecoderOptions& options, std::vector<std::string>& faults) {
  const bool all =
      std::all_of(options.layers.begin(), options.layers.end(), [](const auto& layer) { return layer.experts; });
  if (!all) faults.emplace_back("layers without experts cannot be written to GGUF for qwen3_moe");
  if (!config.norm_topk_prob)
    faults.emplace_back("norm_topk_prob: false cannot be written to GGUF: llama.cpp normalizes");
}

void check_no_rope(const DecoderOptions& options, std::vector<std::string>& faults) {
  for (size_t layer = 0; layer < options.layers.size(); ++layer) {
    const bool rope = (static_cast<int64_t>(layer) + 1) % kNoRopeInterval != 0;
    if ((options.layers[layer].rope >= 0) == rope) continue;
    faults.push_back(cat("no_rope_layers other than every ", kNoRopeInterval, "th cannot be written to GGUF"));
    return;
  }
}

}  // namespace

const io::GgufArchitecture& gguf_architecture(const ModelConfig& config) {
  return *io::gguf_architecture_of_type(config.model_type);
}

std::vector<std::string> gguf_architecture_faults(const ModelConfig& config) {
  if (io::gguf_architecture_of_type(config.model_type) == nullptr) {
    std::vector<std::string> names;
    for (const io::GgufArchitecture& known : io::gguf_architectures()) names.emplace_back(known.model_type);
    return {cat("model_type ", config.model_type, " cannot be written to GGUF (one of ", base::join(names, ", "),
                " can); export as compressed_tensors or hf_dequantized")};
  }
  const DecoderOptions options = options_of(config);
  std::vector<std::string> faults;
  if (config.mlp_bias) faults.emplace_back("mlp_bias cannot be written to GGUF");
  if (config.attention_bias && config.model_type != "llama")
    faults.push_back(cat("attention_bias of ", config.model_type, " cannot be written to GGUF"));
  if (const std::string fault = scaling_fault(config); !fault.empty()) faults.push_back(fault);
  if (config.rope.rotated_part != 1)
    faults.emplace_back("partial_rotary_factor other than 1 cannot be written to GGUF");
  const bool square = config.num_attention_heads * config.head_dim == config.hidden_size;
  if (!square && (config.model_type == "phi3" || gguf_architecture(config).norms == io::GgufNorms::kAfter))
    faults.push_back(cat("heads that do not make up hidden_size cannot be written to GGUF for ", config.model_type));
  if (config.tie_word_embeddings && gguf_architecture(config).norms == io::GgufNorms::kAfter)
    faults.push_back(cat("tied embeddings cannot be written to GGUF for ", config.model_type));
  check_windows(config, options, faults);
  if (gguf_architecture(config).norms == io::GgufNorms::kBoth) check_gemma(config, faults);
  if (gguf_architecture(config).experts) check_experts(config, options, faults);
  if (config.model_type == "smollm3") check_no_rope(options, faults);
  return faults;
}

int64_t gguf_context_length(const ModelConfig& config) {
  int64_t length = config.max_position_embeddings;
  if (has_known_windows(config)) return length;
  for (const model::LayerOptions& layer : options_of(config).layers) {
    if (layer.window > 0) length = std::min(length, layer.window);
  }
  return length;
}

int64_t permuted_heads(const ModelConfig& config, const std::string& name) {
  if (!gguf_architecture(config).permutes_heads) return 0;
  for (const char* tensor : {".weight", ".bias"}) {
    if (ends_with(name, cat(".self_attn.q_proj", tensor))) return config.num_attention_heads;
    if (ends_with(name, cat(".self_attn.k_proj", tensor))) return config.num_key_value_heads;
  }
  return 0;
}

bool stored_plus_one(const ModelConfig& config, const std::string& name) {
  return gguf_architecture(config).adds_one && ends_with(name, "norm.weight");
}

io::GgufMetadata gguf_model_metadata(const ModelConfig& config, const std::string& name, int64_t file_type) {
  const io::GgufArchitecture& architecture = gguf_architecture(config);
  io::GgufMetadata metadata{{"general.architecture", std::string(architecture.name)},
                            {"general.type", std::string("model")},
                            {"general.name", name},
                            {"general.file_type", file_type},
                            {"general.quantization_version", int64_t{2}}};
  const auto add = [&](const std::string& key, io::GgufValue value) {
    metadata.emplace_back(cat(architecture.name, ".", key), std::move(value));
  };
  add("vocab_size", config.vocab_size);
  add("context_length", gguf_context_length(config));
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
  if (has_known_windows(config)) add("attention.sliding_window", config.sliding_window);
  if (config.model_type == "olmo3") {
    std::vector<bool> local;
    for (const model::LayerOptions& layer : options_of(config).layers) local.push_back(layer.window > 0);
    add("attention.sliding_window_pattern", local);
  }
  if (config.model_type == "phi3") {
    add("rope.scaling.original_context_length", gguf_context_length(config));
    add("attention.sliding_window", int64_t{0});
  }
  if (config.attn_logit_softcapping > 0) add("attn_logit_softcapping", config.attn_logit_softcapping);
  if (config.final_logit_softcapping > 0) add("final_logit_softcapping", config.final_logit_softcapping);
  if (architecture.experts) {
    add("expert_count", config.num_experts);
    add("expert_used_count", config.num_experts_per_tok);
    add("expert_feed_forward_length", config.moe_intermediate_size);
  }
  return metadata;
}

at::Tensor gguf_rope_factors(const ModelConfig& config) {
  const nn::RopeParameters& rope = config.rope;
  if (rope.scaling != nn::RopeScaling::kLlama3) return {};
  return io::llama3_rope_divisors(rope.theta, config.head_dim, rope.factor, rope.low_frequency_factor,
                                  rope.high_frequency_factor, static_cast<double>(rope.original_length))
      .to(at::kFloat);
}

}  // namespace rqat::exporting
