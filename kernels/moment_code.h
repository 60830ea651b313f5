// 8-bit codes of optimizer moments: dynamic quantisation in blocks (2110.02861). A block's values are divided by its
// largest magnitude; a code stands for a magnitude of a book that is denser towards 0: for each power of ten the
// middles of equal parts of [0.1, 1], twice as many parts per power towards 1, and 0 and 1 themselves.
//   with a sign (first moment):  code = 128 * negative + index into 128 magnitudes (powers 1e-5 .. 1)
//   without (second moment):     code = index into 256 magnitudes (powers 1e-6 .. 1); what is not 0 never becomes 0,
//                                since a root of it divides
#pragma once

#include <cstdint>

namespace rqat::ops {

constexpr int64_t kMomentBlock = 256;

/// Magnitudes, and what finds the nearest of them.
struct MomentBook {
  static constexpr int kLeast = 127 - 23;      ///< biased exponent of the least magnitude told from 0
  static constexpr int kKeys = (23 << 7) + 1;  ///< by exponent and the first 7 bits of the mantissa, up to 1.0
  explicit MomentBook(bool with_sign);
  float values[256];      ///< of each code
  float middles[256];     ///< between magnitude i and the next; the last is infinite
  int32_t lowest[kKeys];  ///< nearest magnitude of the least number with this key; the greatest is at most one further
};
/// Made once.
const MomentBook& moment_book(bool with_sign);

}  // namespace rqat::ops
