// Layout of packed codes on CPU. The weight [rows, columns] is taken two rows at a time, and each row in runs of 32
// columns, the length of a vector of bf16. The runs of a pair follow each other, those of its rows in turns; run i of
// the 16 / num_bits that share a vector of 32 words of 16 bits lies at bits num_bits * i of its words, word w being
// column w of the run. With 3 bits the two low bits lie like that, 8 runs to a vector, and 32 bytes behind each such
// vector hold the high bits: bit i of byte w belongs to column w of run i.
// A shift thus brings a run's codes to the low bits of the lanes, where a permutation looks up their bf16 values.
// The last runs of a pair are padded with code 0, and so is the last row of an odd number.
#pragma once

#include <cstdint>

namespace rqat::ops::cpu {

constexpr int64_t kRun = 32;

constexpr int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }
constexpr int64_t round_up(int64_t value, int64_t multiple) { return divide_up(value, multiple) * multiple; }

/// How the codes of a row pair are cut into pieces, the vectors a kernel loads at once.
struct PackedLayout {
  int64_t num_bits, rows, columns;

  int64_t pairs() const { return divide_up(rows, 2); }
  /// Runs of one row.
  int64_t runs() const { return divide_up(columns, kRun); }
  /// Runs of each of the two rows in a piece.
  int64_t piece_runs() const { return num_bits == 3 ? 4 : 8 / num_bits; }
  int64_t piece_bytes() const { return num_bits == 3 ? 96 : 64; }
  int64_t pair_bytes() const { return divide_up(runs(), piece_runs()) * piece_bytes(); }
  int64_t bytes() const { return pairs() * pair_bytes(); }
};

struct PackedView : PackedLayout {
  const uint8_t* codes;       ///< [bytes()]
  const float* scale;         ///< [rows, groups]
  const uint8_t* zero_point;  ///< [rows, groups]
  int64_t group_size, groups;

  /// Whether a run never spans two groups, which the vector kernels need.
  bool groups_align() const { return group_size % kRun == 0 || groups == 1; }
};

/// row_codes[2][runs() * 32] to and from the pair_bytes() of a pair.
void encode_pair(const PackedLayout& layout, const uint8_t* row_codes, uint8_t* pair);
void decode_pair(const PackedLayout& layout, const uint8_t* pair, uint8_t* row_codes);

/// y[m, n] = x[m, :] . W[n, :] + bias[n] for all m and n; `x` and `out` are bfloat16 (as uint16_t) or float32.
struct PackedProduct {
  const void* x;      ///< [batch, columns]
  const float* bias;  ///< [rows] or null
  void* out;          ///< [batch, rows]
  int64_t batch;
  bool bfloat16;
};
/// `vectors`: AVX-512 with AVX512-BF16 may be used; `brgemm`: and ATen's product of small fp32 matrices.
void packed_linear(const PackedView& weight, const PackedProduct& product, bool vectors, bool brgemm);

namespace avx512 {
/// The sums in fp32 of `batch` rows of x, from `x` on, `ld_x` apart, with the rows of pairs [first_pair, last_pair):
/// sums[m * ld_sums + n - 2 first_pair]. x is bf16, padded with zeros to runs() * 32 columns. For groups_align(); each
/// sum is taken in the same order whatever the batch.
void dot_pairs(const PackedView& weight, int64_t first_pair, int64_t last_pair, const uint16_t* x, int64_t ld_x,
               int64_t batch, float* sums, int64_t ld_sums);
/// The rows of pairs [first_pair, last_pair) as bf16 in the order that brgemm reads (VNNI), for groups_align():
/// tile[(k / 2) * 2 width + 2 (n - 2 first_pair) + k % 2] for k < runs() * 32. Rows are written 16 at a time, so
/// `width` is a multiple of 16 and those behind the last are filled with something finite.
void lay_out_tile(const PackedView& weight, int64_t first_pair, int64_t last_pair, int64_t width, uint16_t* tile);
/// out[m * ld_out + n] = sums[m * ld_sums + n] + bias[n] in bf16 for n < count, without a bias where it is null.
/// `ld_sums` is a multiple of 16, at least `count`.
void store_sums(const float* sums, int64_t ld_sums, int64_t batch, int64_t count, const float* bias, uint16_t* out,
                int64_t ld_out);
}  // namespace avx512

}  // namespace rqat::ops::cpu
