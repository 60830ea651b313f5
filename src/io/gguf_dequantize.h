// ggml's block types: sizes, and dequantisation of consecutive blocks to fp32, d and m from fp16. Values as in ggml:
//   Q4_0 (q-8)*d, Q4_1 q*d+m, Q5_0 (q-16)*d, Q5_1 q*d+m, Q8_0 q*d, TQ2_0 and Q2_0 (q-1)*d,
//   Q2_K, Q4_K, Q5_K (d*scale)*q - (dmin*minimum), Q3_K and Q6_K (d*scale)*q with signed q
#pragma once

#include <cstdint>
#include <string>

namespace rqat::io {

struct GgmlType {
  uint32_t id;
  const char* name;
  int64_t block_values;  ///< weights per block
  int64_t block_bytes;
  void (*dequantize)(const uint8_t* source, float* target, int64_t blocks);
};

/// nullptr when the type is not one that can be dequantised.
const GgmlType* find_ggml_type(uint32_t id);
/// "Q4_1", or "type 99" where the id has no known name.
std::string ggml_type_name(uint32_t id);
/// "F32, F16, ...": the types of find_ggml_type.
std::string ggml_type_names();

/// Calls `block(source, target)` for consecutive blocks of `values` weights in `bytes` bytes.
template <int64_t values, int64_t bytes, void (*block)(const uint8_t*, float*)>
void each_block(const uint8_t* source, float* target, int64_t blocks) {
  for (int64_t i = 0; i < blocks; ++i) block(source + i * bytes, target + i * values);
}

/// The fp16 number at `source`.
float read_half(const uint8_t* source);

}  // namespace rqat::io
