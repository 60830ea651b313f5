// ggml's block types: sizes, and dequantisation to fp32.
#pragma once

#include <cstdint>
#include <string>

namespace rqat::io {

struct GgmlType {
  uint32_t id;
  const char* name;
  int64_t block_values;  ///< weights per block
  int64_t block_bytes;
};

/// nullptr when the type is not one that can be dequantised.
const GgmlType* find_ggml_type(uint32_t id);
/// "Q4_1", or "type 99" where the id has no known name.
std::string ggml_type_name(uint32_t id);
/// "F32, F16, ...": the types of find_ggml_type.
std::string ggml_type_names();

/// Dequantises `blocks` consecutive blocks into blocks * block_values floats. Values as in ggml: Q4_0 (q-8)*d,
/// Q4_1 q*d+m, Q5_0 (q-16)*d, Q5_1 q*d+m, Q8_0 q*d, in fp32 with d and m from fp16.
void dequantize_blocks(const GgmlType& type, const uint8_t* source, float* target, int64_t blocks);

}  // namespace rqat::io
