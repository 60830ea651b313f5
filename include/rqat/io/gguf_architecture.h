// What GGUF files call the tensors of an architecture, and in which order they keep their rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace rqat::io {

enum class GgufNorms {
  kBefore,  ///< of attention and MLP: Llama
  kAfter,   ///< OLMo 2
  kBoth,    ///< Gemma 2
};

struct GgufArchitecture {
  const char* name;        ///< general.architecture
  const char* model_type;  ///< of config.json
  const char* class_name;  ///< of transformers
  GgufNorms norms = GgufNorms::kBefore;
  bool qk_norm = false;
  bool permutes_heads = false;  ///< q and k rows are in the order (head, pair, half), not (head, half, pair)
  bool qkv_bias = false;        ///< always; the others have biases on q, k, v and o, or none (attention_bias)
  bool adds_one = false;        ///< norm weights are stored as 1 + weight
  bool fused = false;           ///< q, k, v are one tensor, and gate and up another
  bool experts = false;         ///< the MLPs of a layer's experts stand in tensors of three dimensions
};

/// All that rqat reads and writes. A Mistral is a "llama", an OLMo 3 an "olmo2".
const std::vector<GgufArchitecture>& gguf_architectures();

/// nullptr when there is none.
const GgufArchitecture* gguf_architecture_named(const std::string& name);
const GgufArchitecture* gguf_architecture_of_type(const std::string& model_type);

/// "blk.0.attn_q.weight" of "model.layers.0.self_attn.q_proj.weight"; the tensor that holds it where several are one:
/// "blk.0.ffn_up_exps.weight" of "model.layers.0.mlp.experts.3.up_proj.weight". "" for a tensor that has no place.
std::string gguf_tensor_name(const GgufArchitecture& architecture, const std::string& name);

/// Rows of a tensor [heads * pairs * 2, ...] into GGUF's order and back, for `heads` > 0; 0 = as they are.
at::Tensor permute_rows(const at::Tensor& tensor, int64_t heads);
at::Tensor unpermute_rows(const at::Tensor& tensor, int64_t heads);

}  // namespace rqat::io
