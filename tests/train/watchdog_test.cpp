#include "train/watchdog.h"

#include <gtest/gtest.h>

#include <limits>

namespace rqat::train {
namespace {

TEST(LossWatchdog, NotFinite) {
  LossWatchdog watchdog(0, 5);
  EXPECT_EQ(watchdog.fault(1e30), "");  // the factor 0 allows anything finite
  EXPECT_EQ(watchdog.fault(std::numeric_limits<double>::infinity()), "the loss is not finite (inf)");
  EXPECT_NE(watchdog.fault(std::numeric_limits<double>::quiet_NaN()), "");
}

TEST(LossWatchdog, ManyTimesTheMedian) {
  LossWatchdog watchdog(3, 20);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(watchdog.fault(1 + 0.01 * i), "");
  EXPECT_EQ(watchdog.fault(100), "") << "the first ten are not judged";
  EXPECT_EQ(watchdog.fault(3), "") << "the outlier moved the median by one place only";
  EXPECT_EQ(watchdog.fault(3.2),
            "the loss 3.2000 is more than 3 times the median 1.0500 of the last 11 steps (divergence_factor)");
  EXPECT_EQ(watchdog.fault(3), "") << "a loss that was a fault does not count";
}

TEST(LossWatchdog, TheWindowForgets) {
  LossWatchdog watchdog(3, 10);
  for (int i = 0; i < 10; ++i) watchdog.fault(100);
  for (int i = 0; i < 10; ++i) watchdog.fault(1);
  EXPECT_NE(watchdog.fault(4), "");
}

}  // namespace
}  // namespace rqat::train
