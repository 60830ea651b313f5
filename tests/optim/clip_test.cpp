#include <gtest/gtest.h>

#include <limits>

#include "optim/optim_support.h"

namespace rqat::optim {
namespace {

class ClipTest : public testing::Test {
 protected:
  ClipTest() {
    parameters_.add("model.a", "weight", at::zeros({2}));
    parameters_.add("model.b", "norm", at::zeros({1}));
    parameters_.add("model.c", "norm", at::zeros({1}));
    parameters_.grad(0) = at::tensor({3.0, 0.0}, at::kFloat);
    parameters_.grad(1) = at::tensor({4.0}, at::kFloat);  // model.c has none
  }
  Parameters parameters_;
};

TEST_F(ClipTest, NormIsOverAllTensors) {
  const ClipResult result = clip_by_norm(parameters_.slots(), 2.5);
  EXPECT_DOUBLE_EQ(result.norm, 5);
  EXPECT_DOUBLE_EQ(result.scale, 0.5);
}

TEST_F(ClipTest, SmallGradientsAndNoLimitKeepTheirScale) {
  EXPECT_EQ(clip_by_norm(parameters_.slots(), 5).scale, 1);
  EXPECT_EQ(clip_by_norm(parameters_.slots(), 0).scale, 1);
  EXPECT_DOUBLE_EQ(clip_by_norm(parameters_.slots(), 0).norm, 5);
}

TEST_F(ClipTest, LargeGradientsAreScaledDown) {
  parameters_.grad(1) = at::tensor({1e18}, at::kFloat);
  EXPECT_NEAR(clip_by_norm(parameters_.slots(), 1).norm / 1e18, 1, 1e-6);
  EXPECT_NEAR(clip_by_norm(parameters_.slots(), 1).scale * 1e18, 1, 1e-6);
}

TEST_F(ClipTest, NotANumberNamesTheTensor) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    parameters_.grad(1) = at::tensor({bad}, at::kFloat);
    try {
      clip_by_norm(parameters_.slots(), 1);
      ADD_FAILURE() << "nothing thrown";
    } catch (const base::DataError& error) {
      EXPECT_NE(std::string(error.what()).find("model.b"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace rqat::optim
