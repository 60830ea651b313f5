// Row kernels of the integer quantizer, one set for each instruction level. All sets give the same bits: the rule has
// no contraction and no reciprocal, and sums over a group go to 16 partial sums (element j to sum j % 16) in every
// set.
#pragma once

#include <ATen/core/ScalarType.h>

#include <cstdint>

#include "rqat/ops/cpu.h"

namespace rqat::ops::cpu {

/// One row of a weight: scale and zero_point hold one entry for each group of the row.
struct RowGrid {
  const float* scale;
  const uint8_t* zero_point;
  int64_t columns;
  int64_t group_size;
  float max_code;  ///< 2^num_bits - 1
};

struct BackwardRow {
  const float* gradient;
  const float* weight;
  float* weight_gradient;      ///< may be `gradient`
  float* scale_gradient;       ///< one for each group; null = not wanted
  float* zero_point_gradient;  ///< one for each group; null = not wanted
  bool clip;
};

struct FakeQuantKernels {
  void (*quantize)(const RowGrid& grid, const float* weight, uint8_t* codes);
  void (*dequantize)(const RowGrid& grid, const uint8_t* codes, void* out, at::ScalarType dtype);
  void (*fake_quant)(const RowGrid& grid, const float* weight, void* out, at::ScalarType dtype);
  void (*backward)(const RowGrid& grid, const BackwardRow& row);
};

/// `level` must be one this machine can run. kPortable is the plain reference.
const FakeQuantKernels& fake_quant_kernels(CpuKernels level);
const FakeQuantKernels& reference_fake_quant_kernels();

/// Codes of one row to and from a little-endian bit stream of `num_bits` a code. `pack_row` returns the bits in use
/// over all codes, so that the caller can refuse codes that are too large.
uint8_t pack_row(const uint8_t* codes, int64_t columns, int64_t num_bits, uint32_t* words);
void unpack_row(const uint32_t* words, int64_t columns, int64_t num_bits, uint8_t* codes);

}  // namespace rqat::ops::cpu
