// Names and orders of llama.cpp for what rqat keeps under Hugging Face names.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "rqat/io/gguf_writer.h"
#include "rqat/model/model_config.h"

namespace rqat::exporting {

/// llama.cpp's architecture of a family; "" when there is none that rqat writes.
std::string gguf_architecture(const model::ModelConfig& config);

/// Why the architecture cannot be written, one message per reason; empty = it can.
std::vector<std::string> gguf_architecture_faults(const model::ModelConfig& config);

/// "blk.0.attn_q.weight" of "model.layers.0.self_attn.q_proj.weight"; "" for a tensor that has no place.
std::string gguf_tensor_name(const std::string& name);

/// Heads whose rows llama.cpp wants in the order (head, pair, half) instead of Hugging Face's (head, half, pair);
/// 0 = the rows stay. `name` as in Hugging Face.
int64_t permuted_heads(const model::ModelConfig& config, const std::string& name);
/// Rows into llama.cpp's order, and back. The tensor is [rows, ...].
at::Tensor permute_rows(const at::Tensor& tensor, int64_t heads);
at::Tensor unpermute_rows(const at::Tensor& tensor, int64_t heads);

/// general.* and <architecture>.*; `file_type` as llama.cpp counts them.
io::GgufMetadata gguf_model_metadata(const model::ModelConfig& config, const std::string& name, int64_t file_type);

/// Divisors of the rope frequencies fp32 [head_dim / 2], for llama3 scaling; undefined without it.
at::Tensor gguf_rope_factors(const model::ModelConfig& config);

}  // namespace rqat::exporting
