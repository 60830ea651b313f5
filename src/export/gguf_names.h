// What a model has to be for llama.cpp, and its metadata there.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "rqat/io/gguf_architecture.h"
#include "rqat/io/gguf_writer.h"
#include "rqat/model/model_config.h"

namespace rqat::exporting {

/// The architecture of a family that gguf_architecture_faults() accepts.
const io::GgufArchitecture& gguf_architecture(const model::ModelConfig& config);

/// Why the architecture cannot be written, one message per reason; empty = it can.
std::vector<std::string> gguf_architecture_faults(const model::ModelConfig& config);

/// Tokens within which llama.cpp computes the same: of families whose window it does not know, the window.
int64_t gguf_context_length(const model::ModelConfig& config);

/// Heads whose rows llama.cpp wants in another order (io::permute_rows); 0 = the rows stay. `name` as in Hugging Face.
int64_t permuted_heads(const model::ModelConfig& config, const std::string& name);

/// Whether the tensor is stored as 1 + itself: the norms of Gemma.
bool stored_plus_one(const model::ModelConfig& config, const std::string& name);

/// general.* and <architecture>.*; `file_type` as llama.cpp counts them.
io::GgufMetadata gguf_model_metadata(const model::ModelConfig& config, const std::string& name, int64_t file_type);

/// Divisors of the rope frequencies fp32 [head_dim / 2], for llama3 scaling; undefined without it.
at::Tensor gguf_rope_factors(const model::ModelConfig& config);

}  // namespace rqat::exporting
