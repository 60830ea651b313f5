#include <gtest/gtest.h>

#include <cmath>

#include "rqat/base/error.h"
#include "rqat/optim/optimizer.h"

namespace rqat::optim {
namespace {

ScheduleConfig read(const std::string& yaml) {
  ScheduleConfig config;
  base::Faults faults;
  base::read_config(config, base::Node::parse(yaml, "test"), "lr_scheduler", faults);
  faults.raise("test");
  return config;
}

TEST(Schedule, CosineAtKnownSteps) {
  const ScheduleConfig config = read("{kind: cosine, warmup_steps: 4}");
  EXPECT_DOUBLE_EQ(config.factor(0, 24), 0.2);
  EXPECT_DOUBLE_EQ(config.factor(3, 24), 0.8);
  EXPECT_DOUBLE_EQ(config.factor(4, 24), 1.0);
  EXPECT_DOUBLE_EQ(config.factor(9, 24), 0.5 * (1 + std::sqrt(0.5)));
  EXPECT_NEAR(config.factor(14, 24), 0.5, 1e-15);
  EXPECT_NEAR(config.factor(24, 24), 0.0, 1e-15);
  EXPECT_NEAR(config.factor(99, 24), 0.0, 1e-15);
}

TEST(Schedule, LinearDownToItsFloor) {
  const ScheduleConfig config = read("{kind: linear, warmup_ratio: 0, min_ratio: 0.1}");
  EXPECT_DOUBLE_EQ(config.factor(0, 10), 1.0);
  EXPECT_DOUBLE_EQ(config.factor(5, 10), 0.55);
  EXPECT_NEAR(config.factor(9, 10), 0.19, 1e-15);
  EXPECT_NEAR(config.factor(10, 10), 0.1, 1e-15);
}

TEST(Schedule, ConstantAfterWarmUp) {
  const ScheduleConfig config = read("{kind: constant, warmup_ratio: 0.1}");
  EXPECT_DOUBLE_EQ(config.factor(0, 100), 1.0 / 11);
  EXPECT_DOUBLE_EQ(config.factor(9, 100), 10.0 / 11);
  EXPECT_DOUBLE_EQ(config.factor(10, 100), 1.0);
  EXPECT_DOUBLE_EQ(config.factor(99, 100), 1.0);
}

TEST(Schedule, StepsComeBeforeTheRatio) {
  EXPECT_DOUBLE_EQ(read("{kind: constant, warmup_steps: 1, warmup_ratio: 0.5}").factor(1, 100), 1.0);
  EXPECT_DOUBLE_EQ(read("{kind: constant, warmup_ratio: 0.5}").factor(1, 100), 2.0 / 51);
}

TEST(Schedule, AllWarmUpAndASingleStep) {
  EXPECT_DOUBLE_EQ(read("{warmup_ratio: 1}").factor(9, 10), 10.0 / 11);
  EXPECT_DOUBLE_EQ(read("{}").factor(0, 1), 1.0);
}

TEST(Schedule, UnknownKindIsRefused) {
  EXPECT_THROW(read("{kind: stairs}"), base::ConfigError);
  EXPECT_THROW(read("{min_ratio: 2}"), base::ConfigError);
}

}  // namespace
}  // namespace rqat::optim
