#include "rqat/ops/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "composed.h"
#include "ops/close.h"

namespace rqat::ops {
namespace {

class Adamw : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, Adamw, testing::Values(0, 1, 16, 37, 100003));

// Three steps of the header's formula, written out in fp64.
TEST_P(Adamw, FollowsTheFormula) {
  at::manual_seed(1);
  const int64_t size = GetParam();
  at::Tensor p = at::randn({size}), m = at::zeros({size}), v = at::zeros({size});
  at::Tensor other_p = p.clone(), other_m = m.clone(), other_v = v.clone();
  at::Tensor wide_p = p.to(at::kDouble), wide_m = at::zeros_like(wide_p), wide_v = at::zeros_like(wide_p);
  for (int64_t step = 1; step <= 3; ++step) {
    const at::Tensor grad = at::randn({size});
    adamw_step(p, grad, m, v, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.25);
    composed::adamw_step(other_p, grad, other_m, other_v, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.25);
    const at::Tensor g = grad.to(at::kDouble) * 0.25;
    wide_m = 0.9 * wide_m + 0.1 * g;
    wide_v = 0.95 * wide_v + 0.05 * g * g;
    const at::Tensor mhat = wide_m / (1 - std::pow(0.9, step)), vhat = wide_v / (1 - std::pow(0.95, step));
    wide_p = wide_p * (1 - 1e-2 * 0.1) - 1e-2 * mhat / (vhat.sqrt() + 1e-8);
  }
  EXPECT_TRUE(test::close(p, wide_p, 1e-6) && test::close(m, wide_m, 1e-6) && test::close(v, wide_v, 1e-6));
  EXPECT_TRUE(test::close(other_p, wide_p, 1e-6) && test::close(other_v, wide_v, 1e-6));
}

TEST(Optimizer, MatricesAndStridedTensorsWork) {
  at::Tensor p = at::randn({6, 5}), m = at::zeros({6, 5}), v = at::zeros({6, 5}), grad = at::randn({5, 6}).t();
  at::Tensor q = p.clone(), m2 = m.clone(), v2 = v.clone();
  adamw_step(p, grad, m, v, 1e-3, 0.9, 0.99, 1e-8, 0, 1, 1);
  adamw_step(q, grad.contiguous(), m2, v2, 1e-3, 0.9, 0.99, 1e-8, 0, 1, 1);
  EXPECT_TRUE(test::close(p, q, 1e-7));
}

TEST(Optimizer, SumOfSquares) {
  at::manual_seed(2);
  for (const int64_t size : {0, 1, 17, 70001}) {
    const at::Tensor x = at::randn({size});
    const double expected = x.to(at::kDouble).square().sum().item<double>();
    EXPECT_NEAR(sum_of_squares(x), expected, 1e-6 * expected);
    const at::Tensor half = x.to(at::kBFloat16);
    const double expected_half = half.to(at::kDouble).square().sum().item<double>();
    EXPECT_NEAR(sum_of_squares(half), expected_half, 1e-6 * expected_half);
    EXPECT_NEAR(sum_of_squares(x.to(at::kDouble)), expected, 1e-12 * expected);
  }
  at::Tensor x = at::ones({100});
  x[50] = NAN;
  EXPECT_TRUE(std::isnan(sum_of_squares(x)));
  x[50] = -INFINITY;
  EXPECT_TRUE(std::isinf(sum_of_squares(x)));
}

// 1e30 squared is beyond fp32, not beyond fp64.
TEST(Optimizer, SumOfSquaresOfLargeValuesIsFinite) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = (at::arange(1, 1001, at::kFloat) * 1e30).to(dtype);
    const double expected = x.to(at::kDouble).square().sum().item<double>();
    EXPECT_NEAR(sum_of_squares(x), expected, 1e-12 * expected);
    const at::Tensor largest = at::full({3}, dtype == at::kFloat ? 3.4028234e38 : 3.38e38, dtype);
    EXPECT_NEAR(sum_of_squares(largest), 3 * std::pow(largest[0].to(at::kDouble).item<double>(), 2), 1e65);
  }
}

TEST(Optimizer, ThreadsDoNotMatter) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({300001}), grad = at::randn({300001});
  EXPECT_TRUE(test::same_for_any_threads([&] { return at::scalar_tensor(sum_of_squares(x), at::kDouble); }));
  EXPECT_TRUE(test::same_for_any_threads([&] {
    at::Tensor p = x.clone(), m = at::zeros_like(x), v = at::zeros_like(x);
    adamw_step(p, grad, m, v, 1e-3, 0.9, 0.99, 1e-8, 0.1, 1, 1);
    return p;
  }));
}

TEST(Optimizer, WrongArgumentsAreNamed) {
  at::Tensor p = at::zeros({3}), m = at::zeros({3}), v = at::zeros({3}), small = at::zeros({2});
  at::Tensor half = p.to(at::kBFloat16);
  const auto step = [&](at::Tensor& parameter, const at::Tensor& grad, at::Tensor& moment, int64_t number) {
    return test::value_error([&] { adamw_step(parameter, grad, moment, v, 1e-3, 0.9, 0.99, 1e-8, 0, number, 1); });
  };
  EXPECT_EQ(step(p, small, m, 1), "[adamw_step] expected grad of shape [3], got [2]");
  EXPECT_EQ(step(half, m, m, 1), "[adamw_step] expected parameter of type Float, got BFloat16");
  EXPECT_EQ(step(p, m, small, 1), "[adamw_step] expected first_moment of shape [3], got [2]");
  EXPECT_EQ(step(p, m, m, 0), "[adamw_step] expected step >= 1, got 0");
  EXPECT_EQ(test::value_error([] { sum_of_squares(at::zeros({2}, at::kLong)); }),
            "[sum_of_squares] expected a floating-point tensor, got Long");
}

}  // namespace
}  // namespace rqat::ops
