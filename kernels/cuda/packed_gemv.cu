// Packed W2 / W3 / W4 / W8 times up to 8 bf16 vectors, for decoding. Eight lanes share a row and walk over its chunks
// of 64 codes, one 128-bit load for 2 bits; x lies in shared memory as units of 8 values (16 bytes). Lanes are 8
// units apart, so the low bits of a unit's place are xor-ed with its chunk: the eight lanes then read from different
// banks.
#include "cuda/device/launch.cuh"
#include "cuda/device/packed_chunk.cuh"
#include "cuda/device/quant_rule.cuh"
#include "cuda/packed_linear.h"

namespace rqat::ops::cuda {
namespace {

constexpr int kLanesPerRow = 8;
constexpr int kGemvThreads = 128;
constexpr int kRowsPerBlock = kGemvThreads / kLanesPerRow;
constexpr int kUnit = 8;  ///< values of x in 16 bytes
constexpr int kUnitsPerChunk = int(kChunk) / kUnit;
constexpr int kTileChunks = 16;  ///< x is staged 1024 columns at a time
constexpr int kTileUnits = kTileChunks * kUnitsPerChunk;

__device__ inline int place_of(int chunk, int unit) {
  return chunk * kUnitsPerChunk + (unit ^ (chunk % kUnitsPerChunk));
}

__device__ inline float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_half(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

// Columns past the end become zeros.
__device__ inline uint4 load_unit(const __nv_bfloat16* row, int64_t column, int64_t columns) {
  uint32_t words[4] = {};
  const auto* values = reinterpret_cast<const uint16_t*>(row);
  for (int i = 0; i < kUnit; ++i)
    if (column + i < columns) words[i / 2] |= uint32_t(values[column + i]) << (16 * (i % 2));
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <int kBatch>
__device__ inline void stage_input(const PackedView& weight, const __nv_bfloat16* x, int64_t first_chunk,
                                   uint4 (*tile)[kTileUnits]) {
  for (int i = threadIdx.x; i < kBatch * kTileUnits; i += kGemvThreads) {
    const int m = i / kTileUnits, chunk = i % kTileUnits / kUnitsPerChunk, unit = i % kUnitsPerChunk;
    const int64_t column = (first_chunk + chunk) * kChunk + unit * kUnit;
    tile[m][place_of(chunk, unit)] = load_unit(x + m * weight.columns, column, weight.columns);
  }
}

template <int kBits, int kBatch>
__device__ inline void add_chunk(const PackedView& weight, int64_t row, int64_t chunk, int chunk_in_tile,
                                 const uint4 (*tile)[kTileUnits], float* sums) {
  PackedChunk<kBits> codes;
  codes.load(weight.codes + (row * weight.chunks + chunk) * PackedChunk<kBits>::kBytes);
  int64_t group = -1;
  float scale = 0.0f, zero_point = 0.0f;
#pragma unroll
  for (int unit = 0; unit < kUnitsPerChunk; ++unit) {
    const int64_t unit_group = uint32_t(chunk * kChunk + unit * kUnit) / uint32_t(weight.group_size);
    if (unit_group != group && unit_group < weight.groups) {
      group = unit_group;
      scale = weight.scale[row * weight.groups + group];
      zero_point = float(weight.zero_point[row * weight.groups + group]);
    }
    float values[kUnit];
#pragma unroll
    for (int i = 0; i < kUnit; ++i)
      values[i] =
          __bfloat162float(__float2bfloat16_rn(value_of(float(codes.code(unit * kUnit + i)), scale, zero_point)));
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      const uint4 input = tile[m][place_of(chunk_in_tile, unit)];
      const uint32_t pairs[4] = {input.x, input.y, input.z, input.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[m] = __fmaf_rn(values[2 * i], low_half(pairs[i]), sums[m]);
        sums[m] = __fmaf_rn(values[2 * i + 1], high_half(pairs[i]), sums[m]);
      }
    }
  }
}

template <int kBits, int kBatch>
__global__ void __launch_bounds__(kGemvThreads)
    gemv_kernel(PackedView weight, const __nv_bfloat16* x, const __nv_bfloat16* bias, __nv_bfloat16* out) {
  __shared__ uint4 tile[kBatch][kTileUnits];
  const int lane = threadIdx.x % kLanesPerRow;
  const int64_t row = int64_t(blockIdx.x) * kRowsPerBlock + threadIdx.x / kLanesPerRow;
  float sums[kBatch] = {};
  for (int64_t first = 0; first < weight.chunks; first += kTileChunks) {
    __syncthreads();
    stage_input<kBatch>(weight, x, first, tile);
    __syncthreads();
    if (row >= weight.rows) continue;
    for (int chunk = lane; chunk < kTileChunks && first + chunk < weight.chunks; chunk += kLanesPerRow)
      add_chunk<kBits, kBatch>(weight, row, first + chunk, chunk, tile, sums);
  }
#pragma unroll
  for (int m = 0; m < kBatch; ++m) {
    const float sum = lane_sum<kLanesPerRow>(sums[m]);
    if (lane == 0 && row < weight.rows)
      store(out + m * weight.rows + row, bias ? sum + __bfloat162float(bias[row]) : sum);
  }
}

struct Arguments {
  const __nv_bfloat16* x;
  const __nv_bfloat16* bias;
  __nv_bfloat16* out;
  cudaStream_t stream;
};

template <int kBits, int kBatch = 1>
void launch(const PackedView& weight, const Arguments& arguments, int64_t batch) {
  if constexpr (kBatch < kMaxGemvBatch)
    if (batch > kBatch) return launch<kBits, kBatch + 1>(weight, arguments, batch);
  const unsigned blocks = unsigned((weight.rows + kRowsPerBlock - 1) / kRowsPerBlock);
  gemv_kernel<kBits, kBatch>
      <<<blocks, kGemvThreads, 0, arguments.stream>>>(weight, arguments.x, arguments.bias, arguments.out);
}

}  // namespace

bool gemv_fits(const PackedView& weight, int64_t batch) {
  const bool units_align = weight.group_size % kUnit == 0 || weight.groups == 1;
  return batch >= 1 && batch <= kMaxGemvBatch && units_align;
}

const char* packed_gemv(const PackedView& weight, const void* x, const void* bias, int64_t batch, void* out,
                        void* stream) {
  const Arguments arguments{static_cast<const __nv_bfloat16*>(x), static_cast<const __nv_bfloat16*>(bias),
                            static_cast<__nv_bfloat16*>(out), static_cast<cudaStream_t>(stream)};
  switch (weight.num_bits) {
    case 2:
      launch<2>(weight, arguments, batch);
      break;
    case 3:
      launch<3>(weight, arguments, batch);
      break;
    case 4:
      launch<4>(weight, arguments, batch);
      break;
    default:
      launch<8>(weight, arguments, batch);
  }
  return launch_error();
}

}  // namespace rqat::ops::cuda
