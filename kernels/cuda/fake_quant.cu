// The integer quantizer, its fused forward, and the sums of the estimators. Elementwise kernels give a block one row
// at a time; the backward gives a warp one group at a time, so that scale and zero-point gradients need no atomics.
#include "cuda/fake_quant.h"

#include "cuda/device/launch.cuh"
#include "cuda/device/quant_rule.cuh"

namespace rqat::ops::cuda {
namespace {

struct Parameters {
  float scale, zero_point;
};

__device__ inline Parameters parameters_of(const Grid& grid, int64_t row, int64_t column) {
  const int64_t index = row * grid.groups + int64_t(uint32_t(column) / uint32_t(grid.group_size));
  return {grid.scale[index], float(grid.zero_point[index])};
}

__global__ void quantize_kernel(Grid grid, const float* weight, uint8_t* codes) {
  for (int64_t row = blockIdx.x; row < grid.rows; row += gridDim.x)
    for (int64_t k = threadIdx.x; k < grid.columns; k += blockDim.x) {
      const Parameters p = parameters_of(grid, row, k);
      const int64_t i = row * grid.columns + k;
      codes[i] = uint8_t(int(clamp_code(raw_code(divide(weight[i], p.scale), p.zero_point), grid.max_code)));
    }
}

template <class Out>
__global__ void dequantize_kernel(Grid grid, const uint8_t* codes, Out* out) {
  for (int64_t row = blockIdx.x; row < grid.rows; row += gridDim.x)
    for (int64_t k = threadIdx.x; k < grid.columns; k += blockDim.x) {
      const Parameters p = parameters_of(grid, row, k);
      const int64_t i = row * grid.columns + k;
      store(out + i, value_of(float(codes[i]), p.scale, p.zero_point));
    }
}

template <class Out>
__global__ void fake_quant_kernel(Grid grid, const float* weight, Out* out) {
  for (int64_t row = blockIdx.x; row < grid.rows; row += gridDim.x)
    for (int64_t k = threadIdx.x; k < grid.columns; k += blockDim.x) {
      const Parameters p = parameters_of(grid, row, k);
      const int64_t i = row * grid.columns + k;
      const float code = clamp_code(raw_code(divide(weight[i], p.scale), p.zero_point), grid.max_code);
      store(out + i, value_of(code, p.scale, p.zero_point));
    }
}

__global__ void backward_kernel(Grid grid, BackwardArrays arrays) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warps = int64_t(gridDim.x) * (blockDim.x / kWarp);
  for (int64_t group = int64_t(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
       group < grid.rows * grid.groups; group += warps) {
    const int64_t row = group / grid.groups, begin = (group % grid.groups) * grid.group_size;
    const int64_t end = begin + grid.group_size < grid.columns ? begin + grid.group_size : grid.columns;
    const float scale = grid.scale[group], zero_point = float(grid.zero_point[group]);
    float scale_sum = 0.0f, outside_sum = 0.0f;
    for (int64_t k = begin + lane; k < end; k += kWarp) {
      const int64_t i = row * grid.columns + k;
      const float gradient = arrays.gradient[i], ratio = divide(arrays.weight[i], scale);
      const float raw = raw_code(ratio, zero_point);
      const bool inside = raw >= 0.0f && raw <= grid.max_code;
      const float level = clamp_code(raw, grid.max_code) - zero_point;
      scale_sum += gradient * (inside ? level - ratio : level);
      outside_sum += inside ? 0.0f : gradient;
      arrays.weight_gradient[i] = !inside && arrays.clip ? 0.0f : gradient;
    }
    scale_sum = lane_sum<kWarp>(scale_sum);
    outside_sum = lane_sum<kWarp>(outside_sum);
    if (lane != 0) continue;
    if (arrays.scale_gradient) arrays.scale_gradient[group] = scale_sum;
    if (arrays.zero_point_gradient) arrays.zero_point_gradient[group] = -scale * outside_sum;
  }
}

// A thread for each word: the codes that reach into it.
__global__ void pack_kernel(const uint8_t* codes, int64_t rows, int64_t columns, int64_t num_bits, int64_t words,
                            uint32_t* out) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * words; i += stride) {
    const int64_t row = i / words, first_bit = (i % words) * 32;
    uint32_t word = 0;
    for (int64_t k = first_bit / num_bits; k < columns && k * num_bits < first_bit + 32; ++k) {
      const int64_t shift = k * num_bits - first_bit;
      const uint32_t code = codes[row * columns + k];
      word |= shift >= 0 ? code << shift : code >> -shift;
    }
    out[i] = word;
  }
}

__global__ void unpack_kernel(const uint32_t* packed, int64_t rows, int64_t columns, int64_t num_bits, int64_t words,
                              uint8_t* codes) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * columns; i += stride) {
    const int64_t row = i / columns, bit = (i % columns) * num_bits;
    const uint32_t* source = packed + row * words + bit / 32;
    const int shift = int(bit % 32);
    uint32_t code = source[0] >> shift;
    if (shift + num_bits > 32) code |= source[1] << (32 - shift);
    codes[i] = uint8_t(code & ((1u << num_bits) - 1u));
  }
}

}  // namespace

const char* quantize(const Grid& grid, const float* weight, uint8_t* codes, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  quantize_kernel<<<blocks_for(grid.rows, 1), kThreads, 0, on>>>(grid, weight, codes);
  return launch_error();
}

const char* dequantize(const Grid& grid, const uint8_t* codes, void* out, OutType type, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = blocks_for(grid.rows, 1);
  if (type == OutType::kBFloat16)
    dequantize_kernel<<<blocks, kThreads, 0, on>>>(grid, codes, static_cast<__nv_bfloat16*>(out));
  else if (type == OutType::kFloat16)
    dequantize_kernel<<<blocks, kThreads, 0, on>>>(grid, codes, static_cast<__half*>(out));
  else
    dequantize_kernel<<<blocks, kThreads, 0, on>>>(grid, codes, static_cast<float*>(out));
  return launch_error();
}

const char* fake_quant(const Grid& grid, const float* weight, void* out, OutType type, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = blocks_for(grid.rows, 1);
  if (type == OutType::kBFloat16)
    fake_quant_kernel<<<blocks, kThreads, 0, on>>>(grid, weight, static_cast<__nv_bfloat16*>(out));
  else if (type == OutType::kFloat16)
    fake_quant_kernel<<<blocks, kThreads, 0, on>>>(grid, weight, static_cast<__half*>(out));
  else
    fake_quant_kernel<<<blocks, kThreads, 0, on>>>(grid, weight, static_cast<float*>(out));
  return launch_error();
}

const char* fake_quant_backward(const Grid& grid, const BackwardArrays& arrays, void* stream) {
  const unsigned blocks = blocks_for(grid.rows * grid.groups, kThreads / kWarp);
  backward_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(grid, arrays);
  return launch_error();
}

const char* pack_codes(const uint8_t* codes, int64_t rows, int64_t columns, int64_t num_bits, uint32_t* words,
                       void* stream) {
  const int64_t row_words = (columns * num_bits + 31) / 32;
  pack_kernel<<<blocks_for(rows * row_words, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      codes, rows, columns, num_bits, row_words, words);
  return launch_error();
}

const char* unpack_codes(const uint32_t* words, int64_t rows, int64_t columns, int64_t num_bits, uint8_t* codes,
                         void* stream) {
  const int64_t row_words = (columns * num_bits + 31) / 32;
  unpack_kernel<<<blocks_for(rows * columns, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      words, rows, columns, num_bits, row_words, codes);
  return launch_error();
}

}  // namespace rqat::ops::cuda
