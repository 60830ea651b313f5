// Packing, unpacking and dequantizing of the chunked code layout.
#include "cuda/device/launch.cuh"
#include "cuda/device/packed_chunk.cuh"
#include "cuda/device/quant_rule.cuh"
#include "cuda/packed_linear.h"

namespace rqat::ops::cuda {
namespace {

// A thread for each byte of the packed rows.
__global__ void prepack_kernel(const uint8_t* codes, int64_t rows, int64_t columns, int num_bits, int64_t row_bytes,
                               uint8_t* packed) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  const int chunk_bytes = 8 * num_bits, low_bits = num_bits == 3 ? 2 : num_bits, low_bytes = 8 * low_bits;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * row_bytes; i += stride) {
    const int64_t row = i / row_bytes, offset = i % row_bytes;
    const int byte = int(offset % chunk_bytes);
    const bool high = byte >= low_bytes;
    const int bits = high ? 1 : low_bits, per_byte = 8 / bits;
    const int64_t first = offset / chunk_bytes * kChunk + (high ? byte - low_bytes : byte) * per_byte;
    uint32_t value = 0;
    for (int j = 0; j < per_byte && first + j < columns; ++j) {
      const uint32_t code = codes[row * columns + first + j];
      value |= (high ? code >> 2 : code & ((1u << low_bits) - 1u)) << (j * bits);
    }
    packed[i] = uint8_t(value);
  }
}

__device__ inline uint32_t code_at(const PackedView& weight, int64_t row, int64_t column) {
  const int num_bits = int(weight.num_bits), low_bits = num_bits == 3 ? 2 : num_bits;
  const uint8_t* chunk = weight.codes + (row * weight.chunks + column / kChunk) * 8 * num_bits;
  const int index = int(column % kChunk), bit = index * low_bits;
  uint32_t code = (uint32_t(chunk[bit / 8]) >> (bit % 8)) & ((1u << low_bits) - 1u);
  if (num_bits == 3) code |= ((uint32_t(chunk[16 + index / 8]) >> (index % 8)) & 1u) << 2;
  return code;
}

__global__ void unpack_kernel(PackedView weight, uint8_t* codes) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < weight.rows * weight.columns; i += stride)
    codes[i] = uint8_t(code_at(weight, i / weight.columns, i % weight.columns));
}

template <class Out>
__global__ void dequantize_rows_kernel(PackedView weight, int64_t begin, int64_t end, Out* out) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x, count = (end - begin) * weight.columns;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    const int64_t row = begin + i / weight.columns, column = i % weight.columns;
    const int64_t group = row * weight.groups + column / weight.group_size;
    store(out + i, value_of(float(code_at(weight, row, column)), weight.scale[group], float(weight.zero_point[group])));
  }
}

}  // namespace

const char* prepack(const uint8_t* codes, int64_t rows, int64_t columns, int64_t num_bits, uint8_t* packed,
                    void* stream) {
  const int64_t row_bytes = (columns + kChunk - 1) / kChunk * 8 * num_bits;
  prepack_kernel<<<blocks_for(rows * row_bytes, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      codes, rows, columns, int(num_bits), row_bytes, packed);
  return launch_error();
}

const char* unpack(const PackedView& weight, uint8_t* codes, void* stream) {
  unpack_kernel<<<blocks_for(weight.rows * weight.columns, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      weight, codes);
  return launch_error();
}

const char* dequantize_rows(const PackedView& weight, int64_t begin, int64_t end, bool bfloat16, void* out,
                            void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = blocks_for((end - begin) * weight.columns, kThreads);
  if (bfloat16)
    dequantize_rows_kernel<<<blocks, kThreads, 0, on>>>(weight, begin, end, static_cast<__nv_bfloat16*>(out));
  else
    dequantize_rows_kernel<<<blocks, kThreads, 0, on>>>(weight, begin, end, static_cast<float*>(out));
  return launch_error();
}

}  // namespace rqat::ops::cuda
