// y = x W^T over tiles of output columns. A tile of W is dequantized into thread-local scratch of a few hundred KiB,
// then multiplied; the work is cut over output columns only, so the sums do not depend on the number of threads.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/packed_layout.h"

namespace rqat::ops::cpu {
namespace {

namespace blas = at::native::cpublas;

constexpr int64_t kTileColumns = 64;  ///< output columns of a tile
constexpr int64_t kDepth = 2048;      ///< input columns of a tile
constexpr int64_t kRowsAtOnce = 64;   ///< rows of x for one call of brgemm
constexpr int64_t kRowStep = 16;      ///< the last rows are padded to a multiple, so that few kernels are generated
constexpr int64_t kRowChunk = 256;    ///< rows of x whose fp32 sums are kept while a tile is deeper than kDepth

float bf16_to_float(uint16_t value) {
  const uint32_t bits = uint32_t(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

uint16_t float_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return uint16_t(value != value ? 0x7FC0u : (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// Scratch of this thread, kept between calls: a fresh allocation of this size would cost page faults each time.
template <class Scalar>
Scalar* scratch(int64_t count, int slot) {
  thread_local std::vector<std::vector<char>> buffers(4);
  constexpr size_t kAlignment = 64;
  std::vector<char>& buffer = buffers[slot];
  const size_t bytes = size_t(count) * sizeof(Scalar) + kAlignment;
  if (buffer.size() < bytes) buffer.resize(bytes);
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  return reinterpret_cast<Scalar*>((address + kAlignment - 1) / kAlignment * kAlignment);
}
enum ScratchSlot { kTileSlot, kSumsSlot };

// Writes fp32 sums [batch, ld] as rows [first_row ...] x columns [begin, begin + count) of the result.
void store_sums(const PackedProduct& product, int64_t rows, const float* sums, int64_t ld, int64_t first_row,
                int64_t batch, int64_t begin, int64_t count) {
  for (int64_t m = 0; m < batch; ++m) {
    const float* in = sums + m * ld;
    const int64_t offset = (first_row + m) * rows + begin;
    for (int64_t n = 0; n < count; ++n) {
      const float value = product.bias ? in[n] + product.bias[begin + n] : in[n];
      if (product.bfloat16)
        static_cast<uint16_t*>(product.out)[offset + n] = float_to_bf16(value);
      else
        static_cast<float*>(product.out)[offset + n] = value;
    }
  }
}

// Tile [columns begin .. end][16 num_blocks] in fp32, any group size; `round` gives the bf16 values.
void dequantize_float(const PackedView& weight, int64_t first_block, int64_t num_blocks, int64_t begin, int64_t end,
                      bool round, float* tile) {
  uint8_t codes[kBlock * kBlock];
  const int64_t ld = num_blocks * kBlock;
  for (int64_t i = 0; i < num_blocks; ++i)
    for (int64_t column = begin; column < end; column += kBlock) {
      decode_block(weight.block(first_block + i, column / kBlock), weight.num_bits, codes);
      for (int64_t k = 0; k < kBlock; ++k) {
        const int64_t offset = weight.group_of(column + k) * weight.padded_rows + (first_block + i) * kBlock;
        float* out = tile + (column - begin + k) * ld + i * kBlock;
        for (int64_t r = 0; r < kBlock; ++r) {
          const float level = float(codes[r * kBlock + k]) - float(weight.zero_point[offset + r]);
          const float value = weight.scale[offset + r] * level;
          out[r] = round ? bf16_to_float(float_to_bf16(value)) : value;
        }
      }
    }
}

// c [m, n] (+)= a [m, k] b [k, n] with one running sum for each element.
void multiply_plain(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, float* c, bool add) {
  for (int64_t i = 0; i < m; ++i) {
    float* sums = c + i * n;
    if (!add) std::fill_n(sums, n, 0.0f);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) sums[j] = sums[j] + a[i * lda + p] * b[p * n + j];
  }
}

// x with its rows padded by zeros to a multiple of 16 columns, and its last rows to a multiple of kRowStep.
template <class Scalar>
struct Input {
  const Scalar* data;
  const Scalar* last_rows;  ///< from row `whole` on
  int64_t ld, batch, whole, padded_last;
  std::vector<Scalar> copy, last_copy;

  const Scalar* row(int64_t m) const { return m < whole ? data + m * ld : last_rows + (m - whole) * ld; }
  int64_t call_rows(int64_t m) const { return m < whole ? kRowsAtOnce : padded_last; }
};

template <class Scalar, class Source>
Input<Scalar> make_input(const Source* x, int64_t batch, int64_t columns, int64_t padded_columns) {
  Input<Scalar> input;
  input.batch = batch;
  input.ld = padded_columns;
  input.whole = batch / kRowsAtOnce * kRowsAtOnce;
  const int64_t rest = batch - input.whole;
  input.padded_last = round_up(rest, kRowStep);
  const auto copy_rows = [&](int64_t first, int64_t count, Scalar* out) {
    for (int64_t m = 0; m < count; ++m)
      for (int64_t k = 0; k < columns; ++k) {
        const Source value = x[(first + m) * columns + k];
        if constexpr (std::is_same_v<Scalar, Source>)
          out[m * padded_columns + k] = value;
        else
          out[m * padded_columns + k] = bf16_to_float(value);
      }
  };
  bool in_place = false;
  if constexpr (std::is_same_v<Scalar, Source>) {
    in_place = columns == padded_columns;
    input.data = x;
  }
  if (!in_place) {
    input.copy.assign(size_t(batch * padded_columns), Scalar(0));
    copy_rows(0, batch, input.copy.data());
    input.data = input.copy.data();
  }
  input.last_rows = input.data + input.whole * input.ld;
  if (rest < input.padded_last) {
    input.last_copy.assign(size_t(input.padded_last * padded_columns), Scalar(0));
    copy_rows(input.whole, rest, input.last_copy.data());
    input.last_rows = input.last_copy.data();
  }
  return input;
}

// Walks over tiles of output columns. dequantize(first_block, num_blocks, begin, end, tile) fills a tile;
// multiply(m, n, k, a, lda, tile, sums, add) adds a product to fp32 sums [m, n].
template <class Scalar, class Dequantize, class Multiply>
void multiply_tiles(const PackedView& weight, const PackedProduct& product, const Input<Scalar>& input,
                    const Dequantize& dequantize, const Multiply& multiply) {
  constexpr int64_t kTileBlocks = kTileColumns / kBlock;
  const int64_t tiles = (weight.row_blocks() + kTileBlocks - 1) / kTileBlocks;
  const bool one_depth = weight.padded_columns <= kDepth;
  at::parallel_for(0, tiles, 1, [&](int64_t first_tile, int64_t last_tile) {
    Scalar* tile = scratch<Scalar>(std::min(kDepth, weight.padded_columns) * kTileColumns, kTileSlot);
    float* sums = scratch<float>(kRowChunk * kTileColumns, kSumsSlot);
    for (int64_t t = first_tile; t < last_tile; ++t) {
      const int64_t first_block = t * kTileBlocks;
      const int64_t num_blocks = std::min(kTileBlocks, weight.row_blocks() - first_block);
      const int64_t width = num_blocks * kBlock;
      const int64_t count = std::min(width, weight.rows - first_block * kBlock);
      for (int64_t chunk = 0; chunk < input.batch; chunk += kRowChunk) {
        const int64_t chunk_end = std::min(chunk + kRowChunk, input.batch);
        for (int64_t begin = 0; begin < weight.padded_columns; begin += kDepth) {
          const int64_t end = std::min(begin + kDepth, weight.padded_columns);
          if (chunk == 0 || !one_depth) dequantize(first_block, num_blocks, begin, end, tile);
          for (int64_t m = chunk; m < chunk_end; m += kRowsAtOnce)
            multiply(input.call_rows(m), width, end - begin, input.row(m) + begin, input.ld, tile,
                     sums + (m - chunk) * width, begin > 0);
        }
        store_sums(product, weight.rows, sums, width, chunk, chunk_end - chunk, first_block * kBlock, count);
      }
    }
  });
}

void multiply_bf16(const PackedView& weight, const PackedProduct& product) {
  const auto input = make_input<uint16_t>(static_cast<const uint16_t*>(product.x), product.batch, weight.columns,
                                          weight.padded_columns);
  multiply_tiles<uint16_t>(
      weight, product, input,
      [&](int64_t first_block, int64_t num_blocks, int64_t begin, int64_t end, uint16_t* tile) {
        avx512::dequantize_tile(weight, first_block, num_blocks, begin, end, tile);
      },
      [](int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* tile, float* sums, bool add) {
        blas::brgemm(m, n, k, lda, n, n, add, reinterpret_cast<const at::BFloat16*>(a),
                     reinterpret_cast<const at::BFloat16*>(tile), sums, true);
      });
  blas::brgemm_release(true);
}

void multiply_float(const PackedView& weight, const PackedProduct& product, bool use_brgemm) {
  const auto input = product.bfloat16 ? make_input<float>(static_cast<const uint16_t*>(product.x), product.batch,
                                                          weight.columns, weight.padded_columns)
                                      : make_input<float>(static_cast<const float*>(product.x), product.batch,
                                                          weight.columns, weight.padded_columns);
  multiply_tiles<float>(
      weight, product, input,
      [&](int64_t first_block, int64_t num_blocks, int64_t begin, int64_t end, float* tile) {
        dequantize_float(weight, first_block, num_blocks, begin, end, product.bfloat16, tile);
      },
      [use_brgemm](int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* tile, float* sums,
                   bool add) {
        if (use_brgemm)
          blas::brgemm(m, n, k, lda, n, n, add, a, tile, sums, false);
        else
          multiply_plain(m, n, k, a, lda, tile, sums, add);
      });
}

void multiply_few_rows(const PackedView& weight, const PackedProduct& product) {
  const auto* x = static_cast<const uint16_t*>(product.x);
  std::vector<uint16_t> copy;
  if (weight.columns != weight.padded_columns) {
    copy.assign(size_t(product.batch * weight.padded_columns), 0);
    for (int64_t m = 0; m < product.batch; ++m)
      std::copy_n(x + m * weight.columns, weight.columns, copy.data() + m * weight.padded_columns);
    x = copy.data();
  }
  constexpr int64_t kBlocksPerTask = 4;
  at::parallel_for(0, weight.row_blocks(), kBlocksPerTask, [&](int64_t begin, int64_t end) {
    const int64_t ld = (end - begin) * kBlock;
    float* sums = scratch<float>(product.batch * ld, kSumsSlot);
    avx512::dot_rows(weight, begin, end - begin, x, product.batch, sums, ld);
    store_sums(product, weight.rows, sums, ld, 0, product.batch, begin * kBlock,
               std::min(ld, weight.rows - begin * kBlock));
  });
}

}  // namespace

void packed_linear(const PackedView& weight, const PackedProduct& product, bool use_bf16_brgemm,
                   bool use_float_brgemm) {
  if (product.batch == 0 || weight.rows == 0) return;
  if (!product.bfloat16 || !use_bf16_brgemm || !weight.groups_align())
    return multiply_float(weight, product, use_float_brgemm);
  if (product.batch <= avx512::kMaxDotBatch) return multiply_few_rows(weight, product);
  multiply_bf16(weight, product);
}

}  // namespace rqat::ops::cpu
