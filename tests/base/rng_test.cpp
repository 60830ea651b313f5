#include "rqat/base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

namespace rqat::base {
namespace {

// First outputs of the published splitmix64 for seed 1234567.
TEST(Rng, IsSplitMix64) {
  Rng rng(1234567);
  EXPECT_EQ(rng.next(), 6457827717110365317u);
  EXPECT_EQ(rng.next(), 3203168211198807973u);
  EXPECT_EQ(rng.next(), 9817491932198370423u);
}

TEST(Rng, NamedStreamsArePinned) {
  EXPECT_EQ(Rng(0, "sampler").next(), 6390328523815664062u);
  EXPECT_EQ(Rng(42, "task", 3).next(), 11852217428689683483u);
}

TEST(Rng, StreamsDifferBySeedNameAndIndex) {
  std::set<uint64_t> first;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const char* name : {"a", "b", "ab", ""}) {
      for (uint64_t index = 0; index < 20; ++index) first.insert(Rng(seed, name, index).next());
    }
  }
  EXPECT_EQ(first.size(), 20u * 4 * 20);
}

TEST(Rng, NeighboringStreamsDoNotOverlap) {
  std::set<uint64_t> seen;
  for (uint64_t index = 0; index < 50; ++index) {
    Rng rng(1, "stream", index);
    for (int i = 0; i < 1000; ++i) seen.insert(rng.next());
  }
  EXPECT_EQ(seen.size(), 50u * 1000);
}

TEST(Rng, StateRestoresTheStream) {
  Rng rng(5, "x");
  rng.next();
  const uint64_t state = rng.state();
  const uint64_t expected = rng.next();
  rng.set_state(state);
  EXPECT_EQ(rng.next(), expected);
}

TEST(Rng, UniformHasMeanAndVarianceOfTheUnitInterval) {
  Rng rng(1);
  constexpr int kDraws = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = rng.uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.003);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.003);
}

TEST(Rng, NormalHasTheMomentsOfTheStandardNormal) {
  Rng rng(2);
  constexpr int kDraws = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = rng.normal();
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
    fourth += value * value * value * value;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1, 0.015);
  EXPECT_NEAR(fourth / kDraws, 3, 0.12);
}

TEST(Rng, IntegerIsEvenOverItsInterval) {
  Rng rng(3);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<size_t>(rng.integer(-3, 3) + 3)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(Rng, IntegerTakesTheWidestIntervals) {
  constexpr int64_t kLow = std::numeric_limits<int64_t>::min(), kHigh = std::numeric_limits<int64_t>::max();
  Rng rng(4);
  bool negative = false, positive = false;
  for (int i = 0; i < 100; ++i) {
    const int64_t value = rng.integer(kLow, kHigh);
    negative |= value < 0;
    positive |= value > 0;
    EXPECT_GT(rng.integer(kLow + 1, kHigh), kLow);
  }
  EXPECT_TRUE(negative && positive);
  EXPECT_EQ(rng.integer(kHigh, kHigh), kHigh);
}

TEST(Rng, EmptyIntervalThrows) {
  Rng rng(5);
  EXPECT_THROW(rng.integer(1, 0), std::invalid_argument);
  EXPECT_THROW(rng.pick(std::vector<int>{}), std::invalid_argument);
}

TEST(Rng, ShuffleReachesAllOrdersEvenly) {
  Rng rng(6);
  std::array<int, 27> counts{};
  for (int i = 0; i < 60000; ++i) {
    std::vector<int> items = {0, 1, 2};
    rng.shuffle(items);
    ++counts[static_cast<size_t>(items[0] * 9 + items[1] * 3 + items[2])];
  }
  for (const int code : {5, 7, 11, 15, 19, 21}) EXPECT_NEAR(counts[static_cast<size_t>(code)], 10000, 500);
}

TEST(Rng, PickReturnsEachItem) {
  Rng rng(7);
  const std::vector<int> items = {4, 5, 6};
  std::set<int> seen;
  for (int i = 0; i < 100; ++i) seen.insert(rng.pick(items));
  EXPECT_EQ(seen, (std::set<int>{4, 5, 6}));
}

}  // namespace
}  // namespace rqat::base
