// Launches of the quantizer on CUDA, free of LibTorch and CUDA headers: raw device pointers, `stream` is a
// cudaStream_t. Each returns null, or the text of the CUDA error.
#pragma once

#include <cstdint>

namespace rqat::ops::cuda {

enum class OutType { kFloat32, kBFloat16, kFloat16 };

/// Scales and zero points [rows, groups] of a weight [rows, columns]; groups = ceil(columns / group_size).
struct Grid {
  const float* scale;
  const uint8_t* zero_point;
  int64_t rows, columns, group_size, groups;
  float max_code;  ///< 2^num_bits - 1
};

struct BackwardArrays {
  const float* gradient;
  const float* weight;
  float* weight_gradient;      ///< may be `gradient`
  float* scale_gradient;       ///< [rows, groups]; null = not wanted
  float* zero_point_gradient;  ///< [rows, groups]; null = not wanted
  bool clip;
};

const char* quantize(const Grid& grid, const float* weight, uint8_t* codes, void* stream);
const char* dequantize(const Grid& grid, const uint8_t* codes, void* out, OutType type, void* stream);
const char* fake_quant(const Grid& grid, const float* weight, void* out, OutType type, void* stream);
const char* fake_quant_backward(const Grid& grid, const BackwardArrays& arrays, void* stream);

/// Codes [rows, columns] to and from words [rows, ceil(columns * num_bits / 32)].
const char* pack_codes(const uint8_t* codes, int64_t rows, int64_t columns, int64_t num_bits, uint32_t* words,
                       void* stream);
const char* unpack_codes(const uint32_t* words, int64_t rows, int64_t columns, int64_t num_bits, uint8_t* codes,
                         void* stream);

}  // namespace rqat::ops::cuda
