// y = x W^T from packed codes. The work is cut over output columns only, and each sum has one order, so that results
// do not depend on the number of threads nor, with AVX-512 and fewer rows than many_rows(), on what else is in the
// batch.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/packed_layout.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rqat::ops::cpu {
namespace {

namespace blas = at::native::cpublas;

constexpr int64_t kTilePairs = 32;    ///< row pairs of W, hence twice as many columns of y, of a tile
constexpr int64_t kRowsAtOnce = 64;   ///< rows of x in a product of a tile
constexpr int64_t kRowStep = 16;      ///< rows of x are padded to a multiple, so that brgemm compiles few kernels
constexpr int64_t kColumnStep = 32;   ///< columns of y of the last tile, the same
constexpr int64_t kPairsOfTask = 16;  ///< fewer are not worth waking a thread

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

// The tile of this thread, kept between calls: a fresh allocation of this size would cost page faults each time.
template <class Scalar>
Scalar* tile_of(const PackedView& weight) {
  thread_local std::vector<Scalar> buffer;
  const auto size = size_t(weight.runs() * kRun * 2 * kTilePairs);
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

bool has_amx() {
#if defined(__x86_64__)
  constexpr unsigned kLeaf = 7, kAmxBf16 = 1U << 22;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(kLeaf, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0;
#else
  return false;
#endif
}

// From so many rows of x on, a tile in the order of the library's product is worth its making.
int64_t many_rows() {
  static const int64_t rows = has_amx() ? 32 : 48;
  return rows;
}

// Columns [begin, begin + count) of rows [first_row, first_row + batch) of the result, from sums [batch, ld].
void store_sums(const PackedProduct& product, bool vectors, int64_t columns, const float* sums, int64_t ld,
                int64_t first_row, int64_t batch, int64_t begin, int64_t count) {
  if (vectors && product.bfloat16) {
    avx512::store_sums(sums, ld, batch, count, product.bias ? product.bias + begin : nullptr,
                       static_cast<uint16_t*>(product.out) + first_row * columns + begin, columns);
    return;
  }
  for (int64_t m = 0; m < batch; ++m) {
    const float* in = sums + m * ld;
    const int64_t offset = (first_row + m) * columns + begin;
    for (int64_t n = 0; n < count; ++n) {
      const float value = product.bias ? in[n] + product.bias[begin + n] : in[n];
      if (product.bfloat16)
        static_cast<uint16_t*>(product.out)[offset + n] = float_to_bf16(value);
      else
        static_cast<float*>(product.out)[offset + n] = value;
    }
  }
}

// Calls product(tile's first pair, its last, first row of x, rows, sums [rows, 2 kTilePairs]) for all parts of the
// result; `begin_tile(first pair, last pair)` comes before those of a tile.
template <class BeginTile, class Multiply>
void for_each_part(const PackedView& weight, const PackedProduct& product, bool vectors, const BeginTile& begin_tile,
                   const Multiply& multiply) {
  constexpr int64_t kWidth = 2 * kTilePairs;
  at::parallel_for(0, weight.pairs(), kPairsOfTask, [&](int64_t first, int64_t last) {
    std::vector<float> sums(size_t(std::min(kRowsAtOnce, round_up(product.batch, kRowStep)) * kWidth));
    for (int64_t pair = first; pair < last; pair += kTilePairs) {
      const int64_t end = std::min(pair + kTilePairs, last), count = std::min(2 * end, weight.rows) - 2 * pair;
      begin_tile(pair, end);
      for (int64_t row = 0; row < product.batch; row += kRowsAtOnce) {
        const int64_t rows = std::min(kRowsAtOnce, product.batch - row);
        multiply(pair, end, row, rows, sums.data());
        store_sums(product, vectors, weight.rows, sums.data(), kWidth, row, rows, 2 * pair, count);
      }
    }
    blas::brgemm_release(true);
  });
}

void multiply_vectors(const PackedView& weight, const PackedProduct& product) {
  constexpr int64_t kWidth = 2 * kTilePairs;
  const auto* x = static_cast<const uint16_t*>(product.x);
  const int64_t columns = weight.runs() * kRun;
  const bool many = product.batch >= many_rows();
  const int64_t batch = many ? round_up(product.batch, kRowStep) : product.batch;
  std::vector<uint16_t> padded;
  if (columns != weight.columns || batch != product.batch) {
    padded.assign(size_t(batch * columns), 0);
    for (int64_t m = 0; m < product.batch; ++m)
      std::copy_n(x + m * weight.columns, weight.columns, padded.data() + m * columns);
    x = padded.data();
  }
  if (many) {
    for_each_part(
        weight, product, true,
        [&](int64_t pair, int64_t end) { avx512::lay_out_tile(weight, pair, end, kWidth, tile_of<uint16_t>(weight)); },
        [&](int64_t pair, int64_t end, int64_t row, int64_t rows, float* sums) {
          blas::brgemm(round_up(rows, kRowStep), round_up(2 * (end - pair), kColumnStep), columns, columns, kWidth,
                       kWidth, false, reinterpret_cast<const at::BFloat16*>(x + row * columns),
                       reinterpret_cast<const at::BFloat16*>(tile_of<uint16_t>(weight)), sums, true);
        });
    return;
  }
  for_each_part(
      weight, product, true, [](int64_t, int64_t) {},
      [&](int64_t pair, int64_t end, int64_t row, int64_t rows, float* sums) {
        avx512::dot_pairs(weight, pair, end, x + row * columns, columns, rows, sums, kWidth);
      });
}

// The columns of y in a tile: tile[k, n] for all k, n < 2 kTilePairs; `round` gives the bf16 values.
void dequantize_tile(const PackedView& weight, int64_t first_pair, int64_t last_pair, bool round, float* tile) {
  constexpr int64_t kWidth = 2 * kTilePairs;
  std::vector<uint8_t> codes(size_t(2 * weight.runs() * kRun));
  for (int64_t pair = first_pair; pair < last_pair; ++pair) {
    decode_pair(weight, weight.codes + pair * weight.pair_bytes(), codes.data());
    for (int64_t row = 2 * pair; row < std::min(2 * pair + 2, weight.rows); ++row) {
      const uint8_t* row_codes = codes.data() + row % 2 * weight.runs() * kRun;
      float* out = tile + row - 2 * first_pair;
      for (int64_t k = 0; k < weight.columns; ++k) {
        const int64_t offset = row * weight.groups + k / weight.group_size;
        const float value = weight.scale[offset] * (float(row_codes[k]) - float(weight.zero_point[offset]));
        out[k * kWidth] = round ? bf16_to_float(float_to_bf16(value)) : value;
      }
    }
  }
}

// c [m, n] = a [m, k] b [k, n] with one running sum for each element.
void multiply_plain(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = 0; i < m; ++i) {
    float* sums = c + i * n;
    std::fill_n(sums, n, 0.0f);
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) sums[j] = sums[j] + a[i * k + p] * b[p * n + j];
  }
}

void multiply_float(const PackedView& weight, const PackedProduct& product, bool use_brgemm) {
  constexpr int64_t kWidth = 2 * kTilePairs;
  const int64_t size = product.batch * weight.columns;
  std::vector<float> x(size_t(round_up(product.batch, kRowStep) * weight.columns));
  for (int64_t i = 0; i < size; ++i)
    x[size_t(i)] = product.bfloat16 ? bf16_to_float(static_cast<const uint16_t*>(product.x)[i])
                                    : static_cast<const float*>(product.x)[i];
  for_each_part(
      weight, product, false,
      [&](int64_t pair, int64_t end) { dequantize_tile(weight, pair, end, product.bfloat16, tile_of<float>(weight)); },
      [&](int64_t, int64_t, int64_t row, int64_t rows, float* sums) {
        const float *a = x.data() + row * weight.columns, *tile = tile_of<float>(weight);
        if (use_brgemm)
          blas::brgemm(round_up(rows, kRowStep), kWidth, weight.columns, weight.columns, kWidth, kWidth, false, a, tile,
                       sums, false);
        else
          multiply_plain(rows, kWidth, weight.columns, a, tile, sums);
      });
}

}  // namespace

void packed_linear(const PackedView& weight, const PackedProduct& product, bool vectors, bool brgemm) {
  if (product.batch == 0 || weight.rows == 0) return;
  if (product.bfloat16 && vectors && weight.groups_align())
    multiply_vectors(weight, product);
  else
    multiply_float(weight, product, brgemm);
}

}  // namespace rqat::ops::cpu
