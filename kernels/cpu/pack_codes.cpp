#include "cpu/fake_quant.h"

namespace rqat::ops::cpu {

uint8_t pack_row(const uint8_t* codes, int64_t columns, int64_t num_bits, uint32_t* words) {
  uint64_t pending = 0;
  uint8_t used_bits = 0;
  int64_t filled = 0;
  for (int64_t k = 0; k < columns; ++k) {
    used_bits |= codes[k];
    pending |= uint64_t(codes[k]) << filled;
    filled += num_bits;
    if (filled < 32) continue;
    *words++ = uint32_t(pending);
    pending >>= 32;
    filled -= 32;
  }
  if (filled > 0) *words = uint32_t(pending);
  return used_bits;
}

void unpack_row(const uint32_t* words, int64_t columns, int64_t num_bits, uint8_t* codes) {
  const uint64_t mask = (uint64_t(1) << num_bits) - 1;
  uint64_t pending = 0;
  int64_t filled = 0;
  for (int64_t k = 0; k < columns; ++k) {
    if (filled < num_bits) {
      pending |= uint64_t(*words++) << filled;
      filled += 32;
    }
    codes[k] = uint8_t(pending & mask);
    pending >>= num_bits;
    filled -= num_bits;
  }
}

}  // namespace rqat::ops::cpu
