#include <gtest/gtest.h>

#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/eval/evaluate.h"

namespace rqat::eval {
namespace {

TEST(Proportion, EqualsPublishedWilsonIntervals) {
  struct Case {
    int64_t successes, total;
    double low, high;
  };
  // Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3.
  for (const Case& c : {Case{81, 263, 0.2553, 0.3662}, Case{15, 148, 0.0624, 0.1605}, Case{0, 20, 0.0, 0.1611},
                        Case{1, 29, 0.0061, 0.1718}}) {
    const Proportion p = proportion(c.successes, c.total);
    EXPECT_EQ(p.successes, c.successes);
    EXPECT_EQ(p.total, c.total);
    EXPECT_DOUBLE_EQ(p.value, static_cast<double>(c.successes) / static_cast<double>(c.total));
    EXPECT_NEAR(p.low, c.low, 5e-5);
    EXPECT_NEAR(p.high, c.high, 5e-5);
  }
}

TEST(Proportion, EdgesStayInRange) {
  EXPECT_EQ(proportion(0, 20).low, 0);
  EXPECT_EQ(proportion(20, 20).high, 1);
  EXPECT_NEAR(proportion(20, 20).low, 1 - 0.1611, 5e-5);
  EXPECT_EQ(proportion(0, 0).low, 0);
  EXPECT_EQ(proportion(0, 0).high, 1);
}

TEST(Proportion, RefusesImpossibleCounts) {
  EXPECT_THROW(proportion(3, 2), std::invalid_argument);
  EXPECT_THROW(proportion(-1, 2), std::invalid_argument);
}

TEST(PairedDifference, IntervalFollowsGainsAndLosses) {
  std::vector<uint8_t> a(200, 0), b(200, 0);
  for (size_t i = 0; i < 40; ++i) b[i] = 1;   // gained
  for (size_t i = 40; i < 50; ++i) a[i] = 1;  // lost
  for (size_t i = 50; i < 120; ++i) a[i] = b[i] = 1;
  const PairedDifference d = paired_difference(a, b, 1);
  EXPECT_DOUBLE_EQ(d.mean, 0.15);
  // Normal approximation: sqrt((50 / 200 - 0.15^2) / 200) = 0.03373, times 1.96.
  EXPECT_NEAR(d.low, 0.15 - 0.0661, 0.008);
  EXPECT_NEAR(d.high, 0.15 + 0.0661, 0.008);
  EXPECT_TRUE(d.shown);

  const PairedDifference swapped = paired_difference(b, a, 1);
  EXPECT_DOUBLE_EQ(swapped.mean, -0.15);
  EXPECT_NEAR(swapped.low, -d.high, 1e-12);
  EXPECT_TRUE(swapped.shown);
}

TEST(PairedDifference, PairsCountNotTotals) {
  // The same totals as one gain alone, but many changes both ways: not shown.
  std::vector<uint8_t> a(100, 0), b(100, 0);
  for (size_t i = 0; i < 31; ++i) b[i] = 1;
  for (size_t i = 40; i < 70; ++i) a[i] = 1;
  EXPECT_FALSE(paired_difference(a, b, 1).shown);
}

TEST(PairedDifference, EqualOutcomesHaveNoWidth) {
  const std::vector<uint8_t> a{1, 0, 1, 1};
  const PairedDifference d = paired_difference(a, a, 1);
  EXPECT_EQ(d.mean, 0);
  EXPECT_EQ(d.low, 0);
  EXPECT_EQ(d.high, 0);
  EXPECT_FALSE(d.shown);
}

TEST(PairedDifference, AllGainedIsShown) {
  const PairedDifference d = paired_difference(std::vector<uint8_t>(30, 0), std::vector<uint8_t>(30, 1), 1);
  EXPECT_EQ(d.low, 1);
  EXPECT_EQ(d.high, 1);
  EXPECT_TRUE(d.shown);
}

TEST(PairedDifference, SeedDecidesResamples) {
  std::vector<uint8_t> a, b;
  for (int i = 0; i < 97; ++i) {
    a.push_back(i % 3 == 0);
    b.push_back(i % 5 < 2);
  }
  const PairedDifference first = paired_difference(a, b, 1), again = paired_difference(a, b, 1),
                         other = paired_difference(a, b, 2);
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
  EXPECT_NEAR(first.low, other.low, 0.03);
}

TEST(PairedDifference, RefusesUnpairedOutcomes) {
  EXPECT_THROW(paired_difference({1, 0}, {1}, 1), base::DataError);
  EXPECT_THROW(paired_difference({}, {}, 1), base::DataError);
}

}  // namespace
}  // namespace rqat::eval
