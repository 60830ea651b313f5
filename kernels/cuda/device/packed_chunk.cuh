// A chunk of 64 codes of one row (layout in cuda/packed_linear.h), held in registers as eight units of 8 codes.
#pragma once

#include <cstdint>

namespace rqat::ops::cuda {

template <int kBits>
struct PackedChunk {
  static constexpr int kBytes = 8 * kBits;
  static constexpr int kWords = kBytes / 4;
  uint32_t words[kWords];

  // 128-bit loads; chunks of 3 bits (24 bytes) are only aligned to 8.
  __device__ inline void load(const uint8_t* source) {
    if constexpr (kBits == 3) {
      for (int i = 0; i < 3; ++i) {
        const uint2 part = __ldg(reinterpret_cast<const uint2*>(source) + i);
        words[2 * i] = part.x;
        words[2 * i + 1] = part.y;
      }
    } else {
      for (int i = 0; i < kWords / 4; ++i) {
        const uint4 part = __ldg(reinterpret_cast<const uint4*>(source) + i);
        words[4 * i] = part.x;
        words[4 * i + 1] = part.y;
        words[4 * i + 2] = part.z;
        words[4 * i + 3] = part.w;
      }
    }
  }

  // Code 0 .. 63; with a constant index all of it folds to a shift and a mask.
  __device__ inline uint32_t code(int index) const {
    constexpr int kLowBits = kBits == 3 ? 2 : kBits;
    const int bit = index * kLowBits;
    uint32_t code = (words[bit / 32] >> (bit % 32)) & ((1u << kLowBits) - 1u);
    if constexpr (kBits == 3) code |= ((words[4 + index / 32] >> (index % 32)) & 1u) << 2;
    return code;
  }
};

}  // namespace rqat::ops::cuda
