#include <gtest/gtest.h>

#include <cmath>

#include "rqat/rl/rollout.h"

namespace rqat::rl {
namespace {

TEST(GroupAdvantages, EqualHandValues) {
  // mean 0.5, deviation sqrt((0.25 + 0.25 + 0.25 + 0.25) / 4) = 0.5
  const std::vector<double> scaled = group_advantages({1, 0, 0, 1}, true);
  const double one = 0.5 / (0.5 + 1e-6);
  for (const auto& [i, wanted] : {std::pair{0, one}, {1, -one}, {2, -one}, {3, one}}) {
    EXPECT_DOUBLE_EQ(scaled[static_cast<size_t>(i)], wanted);
  }
  // mean 1, squares 1 + 1 + 4 = 6, deviation sqrt(6 / 4)
  const std::vector<double> uneven = group_advantages({0, 0, 1, 3}, true);
  EXPECT_DOUBLE_EQ(uneven[3], 2 / (std::sqrt(1.5) + 1e-6));
  EXPECT_DOUBLE_EQ(uneven[2], 0);
  EXPECT_DOUBLE_EQ(uneven[0], -1 / (std::sqrt(1.5) + 1e-6));
}

TEST(GroupAdvantages, WithoutScalingAreDifferencesFromTheMean) {
  EXPECT_EQ(group_advantages({1, 0, 0, 1}, false), (std::vector<double>{0.5, -0.5, -0.5, 0.5}));
  EXPECT_EQ(group_advantages({0, 0, 1, 3}, false), (std::vector<double>{-1, -1, 0, 2}));
}

TEST(GroupAdvantages, EqualRewardsTeachNothing) {
  // 0.1 three times: a mean rounded in floating point would leave a rest, and the division blow it up.
  for (const bool scale : {true, false}) {
    EXPECT_EQ(group_advantages({0.1, 0.1, 0.1}, scale), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(group_advantages({1}, scale), std::vector<double>{0});
    EXPECT_TRUE(group_advantages({}, scale).empty());
  }
}

}  // namespace
}  // namespace rqat::rl
