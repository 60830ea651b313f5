// Packed codes on CUDA, free of LibTorch and CUDA headers: raw device pointers, `stream` is a cudaStream_t. Each launch
// returns null, or the text of the CUDA error.
//
// Layout: each row is a run of chunks of 64 columns (the last padded with code 0), 8 * num_bits bytes a chunk. A
// chunk of 2, 4 or 8 bits is a little-endian bit stream; of 3 bits the stream of the low two bits (16 bytes), then of
// the high bits.
#pragma once

#include <cstdint>

namespace rqat::ops::cuda {

constexpr int64_t kChunk = 64;
constexpr int64_t kMaxGemvBatch = 8;

struct PackedView {
  const uint8_t* codes;
  const float* scale;         ///< [rows, groups]
  const uint8_t* zero_point;  ///< [rows, groups]
  int64_t num_bits, group_size, groups, rows, columns;
  int64_t chunks;  ///< in a row
};

/// codes [rows, columns] to and from packed bytes [rows, chunks * 8 * num_bits].
const char* prepack(const uint8_t* codes, int64_t rows, int64_t columns, int64_t num_bits, uint8_t* packed,
                    void* stream);
const char* unpack(const PackedView& weight, uint8_t* codes, void* stream);
/// Rows [begin, end) of s * (q - z) as bf16 or fp32 [end - begin, columns].
const char* dequantize_rows(const PackedView& weight, int64_t begin, int64_t end, bool bfloat16, void* out,
                            void* stream);

/// Whether `packed_gemv` takes these shapes: bf16, batch <= 8, group_size a multiple of 8 or one group.
bool gemv_fits(const PackedView& weight, int64_t batch);
/// out [batch, rows] = x [batch, columns] W^T + bias, all bf16 (bias may be null), fp32 sums.
const char* packed_gemv(const PackedView& weight, const void* x, const void* bias, int64_t batch, void* out,
                        void* stream);

}  // namespace rqat::ops::cuda
