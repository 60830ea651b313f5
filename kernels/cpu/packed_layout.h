// Layout of packed codes on CPU. The weight [rows, columns] is cut into blocks of 16 x 16, padded with code 0, stored
// row block by row block; a block takes 32 * num_bits bytes:
//   2 bits  32 words of 16 bits; word 2 r + p holds at bits 2 i, 2 i + 1 the code of row r, column 2 i + p
//   3 bits  the low two bits as above, then 32 bytes; byte 2 r + p holds at bit i the high bit of row r, column 2 i + p
//   4 bits  2 x 16 words of 32 bits; word 16 h + r holds at bits 4 j .. the code of row r, column 8 h + j
//   8 bits  4 x 16 words of 32 bits; word 16 h + r holds at bits 8 j .. the code of row r, column 4 h + j
// so that 16 rows x 2 neighbouring columns, the unit of bf16 dot products (VNNI), come out of one shift.
// Scales and zero points are kept group by group ([groups, padded rows]), 16 rows to a vector.
#pragma once

#include <cstdint>

namespace rqat::ops::cpu {

constexpr int64_t kBlock = 16;

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

struct PackedView {
  const uint8_t* codes;
  const float* scale;         ///< [groups, padded_rows]
  const uint8_t* zero_point;  ///< [groups, padded_rows]
  int64_t num_bits, group_size, rows, columns;
  int64_t padded_rows, padded_columns;  ///< multiples of 16

  int64_t row_blocks() const { return padded_rows / kBlock; }
  int64_t column_blocks() const { return padded_columns / kBlock; }
  int64_t block_bytes() const { return kBlock * kBlock * num_bits / 8; }
  const uint8_t* block(int64_t row_block, int64_t column_block) const {
    return codes + (row_block * column_blocks() + column_block) * block_bytes();
  }
  /// Padded columns belong to the last group.
  int64_t group_of(int64_t column) const { return (column < columns ? column : columns - 1) / group_size; }
  /// Whether a block of 16 columns never spans two groups, which the vector kernels need.
  bool groups_align() const { return group_size % kBlock == 0 || group_size >= columns; }
};

/// block_codes[row * 16 + column] to and from one block.
void encode_block(const uint8_t* block_codes, int64_t num_bits, uint8_t* block);
void decode_block(const uint8_t* block, int64_t num_bits, uint8_t* block_codes);

/// y[m, n] = x[m, :] . W[n, :] + bias[n] for all m and n; `x` and `out` are bfloat16 (as uint16_t) or float32.
struct PackedProduct {
  const void* x;      ///< [batch, columns]
  const float* bias;  ///< [rows] or null
  void* out;          ///< [batch, rows]
  int64_t batch;
  bool bfloat16;
};
void packed_linear(const PackedView& weight, const PackedProduct& product, bool use_bf16_brgemm, bool use_float_brgemm);

/// Vector kernels, for groups_align() and machines with AVX-512 and AVX512-BF16.
namespace avx512 {
constexpr int64_t kMaxDotBatch = 8;
/// Rows [16 first_block, + 16 num_blocks), columns [begin, end), both multiples of 16, as bf16 in VNNI order:
/// tile[pair * 2 * 16 num_blocks + 2 * row + parity].
void dequantize_tile(const PackedView& weight, int64_t first_block, int64_t num_blocks, int64_t begin, int64_t end,
                     uint16_t* tile);
/// out[m * ld_out + row] for m < batch <= kMaxDotBatch, from x [batch, padded_columns] bf16.
void dot_rows(const PackedView& weight, int64_t first_block, int64_t num_blocks, const uint16_t* x, int64_t batch,
              float* out, int64_t ld_out);
}  // namespace avx512

}  // namespace rqat::ops::cpu
