#include "rqat/io/gguf_architecture.h"

#include <ATen/ATen.h>

#include <map>

#include "rqat/base/strings.h"

namespace rqat::io {
namespace {

using base::cat;
using Names = std::map<std::string, std::string>;

constexpr const char* kBlockPrefix = "model.layers.";
constexpr const char* kExpertPrefix = "mlp.experts.";

const Names& common_names() {
  static const Names names{{"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
                           {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
                           {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
                           {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
                           {"mlp.down_proj", "ffn_down"},       {"mlp.gate", "ffn_gate_inp"}};
  return names;
}

/// Phi-3: the second of two halves of ffn_up is "up", the first "gate".
const Names& fused_names() {
  static const Names names{{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.q_proj", "attn_qkv"},
                           {"self_attn.k_proj", "attn_qkv"},   {"self_attn.v_proj", "attn_qkv"},
                           {"mlp.gate_up_proj", "ffn_up"},     {"mlp.gate_proj", "ffn_up"},
                           {"mlp.up_proj", "ffn_up"}};
  return names;
}

const Names& norm_names(GgufNorms norms) {
  static const Names before{{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"}};
  static const Names after{{"post_attention_layernorm", "post_attention_norm"},
                           {"post_feedforward_layernorm", "post_ffw_norm"}};
  static const Names both{{"input_layernorm", "attn_norm"},
                          {"post_attention_layernorm", "post_attention_norm"},
                          {"pre_feedforward_layernorm", "ffn_norm"},
                          {"post_feedforward_layernorm", "post_ffw_norm"}};
  return norms == GgufNorms::kBefore ? before : norms == GgufNorms::kAfter ? after : both;
}

/// Of a part of a block, as "self_attn.q_proj"; "" = none.
std::string part_name(const GgufArchitecture& architecture, const std::string& part) {
  const auto find = [&](const Names& names) {
    const auto found = names.find(part);
    return found == names.end() ? std::string() : found->second;
  };
  if (base::starts_with(part, kExpertPrefix)) {
    const size_t dot = part.rfind('.');
    const std::string one = part_name(architecture, cat("mlp", part.substr(dot)));
    return one.empty() || !architecture.experts ? "" : one + "_exps";
  }
  std::string name = architecture.fused ? find(fused_names()) : "";
  if (name.empty()) name = find(norm_names(architecture.norms));
  return name.empty() ? find(common_names()) : name;
}

}  // namespace

const std::vector<GgufArchitecture>& gguf_architectures() {
  constexpr GgufNorms kBefore = GgufNorms::kBefore, kAfter = GgufNorms::kAfter, kBoth = GgufNorms::kBoth;
  static const std::vector<GgufArchitecture> architectures{
      {"llama", "llama", "LlamaForCausalLM", kBefore, false, true},
      {"llama", "mistral", "MistralForCausalLM", kBefore, false, true},
      {"qwen2", "qwen2", "Qwen2ForCausalLM", kBefore, false, false, true},
      {"qwen3", "qwen3", "Qwen3ForCausalLM", kBefore, true},
      {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", kBefore, true, false, false, false, false, true},
      {"smollm3", "smollm3", "SmolLM3ForCausalLM", kBefore, false, true},
      {"phi3", "phi3", "Phi3ForCausalLM", kBefore, false, false, false, false, true},
      {"olmo2", "olmo2", "Olmo2ForCausalLM", kAfter, true},
      {"olmo2", "olmo3", "Olmo3ForCausalLM", kAfter, true},
      {"gemma2", "gemma2", "Gemma2ForCausalLM", kBoth, false, false, false, true},
      {"gemma3", "gemma3_text", "Gemma3ForCausalLM", kBoth, true, false, false, true},
  };
  return architectures;
}

const GgufArchitecture* gguf_architecture_named(const std::string& name) {
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    if (name == architecture.name) return &architecture;
  }
  return nullptr;
}

const GgufArchitecture* gguf_architecture_of_type(const std::string& model_type) {
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    if (model_type == architecture.model_type) return &architecture;
  }
  return nullptr;
}

std::string gguf_tensor_name(const GgufArchitecture& architecture, const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  if (!base::starts_with(name, kBlockPrefix)) return "";
  const std::string rest = name.substr(std::string(kBlockPrefix).size());
  const size_t first = rest.find('.'), last = rest.rfind('.');
  if (first == std::string::npos || first == last) return "";
  const std::string part = part_name(architecture, rest.substr(first + 1, last - first - 1));
  return part.empty() ? "" : cat("blk.", rest.substr(0, first), ".", part, rest.substr(last));
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

}  // namespace rqat::io
