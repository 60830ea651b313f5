#include "rqat/nn/rope.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace rqat::nn {
namespace {

TEST(Rope, TablesFollowTheFormula) {
  const at::Tensor positions = at::tensor({0, 1, 7, 1000}, at::kLong);
  const auto [cos, sin] = rope_tables(positions, rope_inverse_frequency(8, 10000, at::kCPU));
  ASSERT_EQ(cos.sizes(), (at::IntArrayRef{4, 4}));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = positions[t].item<double>() * std::pow(10000.0, -2.0 * static_cast<double>(i) / 8);
      EXPECT_NEAR(cos[t][i].item<double>(), std::cos(angle), 1e-4);
      EXPECT_NEAR(sin[t][i].item<double>(), std::sin(angle), 1e-4);
    }
  }
}

}  // namespace
}  // namespace rqat::nn
