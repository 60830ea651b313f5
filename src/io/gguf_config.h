// What the metadata of a GGUF model say of its structure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "rqat/io/gguf.h"
#include "rqat/io/gguf_architecture.h"

namespace rqat::io {

/// The numbers that the shapes follow from.
struct GgufSizes {
  int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, context;
  int64_t experts = 0, experts_per_token = 0;  ///< `intermediate` is that of one expert then
};

/// Throws IoError on one that rqat does not read.
const GgufArchitecture& gguf_architecture(const GgufReader& reader);
/// Throws IoError on a number that is missing or not possible.
GgufSizes gguf_sizes(const GgufReader& reader);
/// Whether q, k, v and o have biases, in an architecture that may have them or not.
bool gguf_attention_bias(const GgufReader& reader, const GgufArchitecture& architecture);

}  // namespace rqat::io
