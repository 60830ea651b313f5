#include "moment_code.h"

#include <bit>
#include <limits>
#include <vector>

namespace rqat::ops {
namespace {

/// 0, the middles of 2, 4, 8 ... parts of the powers of ten up to [0.1, 1], and 1.
std::vector<float> magnitudes(int powers) {
  std::vector<float> all{0};
  double top = 1;
  for (int i = 1; i < powers; ++i) top /= 10;
  for (int power = 0; power < powers; ++power, top *= 10) {
    const int parts = 2 << power;
    for (int part = 0; part < parts; ++part)
      all.push_back(static_cast<float>(top * (0.1 + 0.9 * (part + 0.5) / parts)));
  }
  all.push_back(1);
  return all;
}

}  // namespace

MomentBook::MomentBook(bool with_sign) {
  const std::vector<float> found = magnitudes(with_sign ? 6 : 7);
  const int count = static_cast<int>(found.size());
  for (int i = 0; i < 256; ++i) {
    values[i] = found[i % count];
    if (i >= count) values[i] = -values[i];
    middles[i] = i + 1 < count ? (found[i] + found[i + 1]) / 2 : std::numeric_limits<float>::infinity();
  }
  int nearest = 0;
  for (int key = 0; key < kKeys; ++key) {
    const float least = key == 0 ? 0 : std::bit_cast<float>(((kLeast << 7) + key) << 16);
    while (least > middles[nearest]) ++nearest;
    lowest[key] = nearest;
  }
}

const MomentBook& moment_book(bool with_sign) {
  static const MomentBook signed_book(true), plain_book(false);
  return with_sign ? signed_book : plain_book;
}

}  // namespace rqat::ops
