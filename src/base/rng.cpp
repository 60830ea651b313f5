#include "rqat/base/rng.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

// The index goes through mix(), too: SplitMix64 streams whose states differ by a multiple of kGolden are shifts of
// each other.
Rng::Rng(uint64_t seed, std::string_view name, uint64_t index)
    : state_(mix(stable_hash(name, mix(seed + kGolden)) ^ mix(index + kGolden))) {}

uint64_t Rng::next() {
  state_ += kGolden;
  return mix(state_);
}

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

int64_t Rng::integer(int64_t low, int64_t high) {
  if (low > high) throw std::invalid_argument(cat("Rng::integer: empty interval [", low, ", ", high, "]"));
  const uint64_t count = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
  if (count == 0) return static_cast<int64_t>(next());
  const uint64_t rejected = (0 - count) % count;  // draws below it would favor the small remainders
  uint64_t draw = next();
  while (draw < rejected) draw = next();
  return static_cast<int64_t>(static_cast<uint64_t>(low) + draw % count);
}

double Rng::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

}  // namespace rqat::base
