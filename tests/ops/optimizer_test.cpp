#include "rqat/ops/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "composed.h"
#include "moment_code.h"
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

class Adamw8Bit : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, Adamw8Bit, testing::Values(0, 1, 255, 256, 1000, 70001));

/// The nearest magnitude of the book, looked for among all of them.
at::Tensor nearest(const at::Tensor& moment, bool with_sign) {
  at::Tensor out = at::zeros_like(moment);
  const MomentBook& book = moment_book(with_sign);
  const int count = with_sign ? 128 : 256;
  for (int64_t begin = 0; begin < moment.numel(); begin += kMomentBlock) {
    const at::Tensor block = moment.slice(0, begin, std::min(begin + kMomentBlock, moment.numel()));
    const auto largest = block.abs().max().item<float>();
    for (int64_t i = 0; i < block.numel(); ++i) {
      const auto value = block[i].item<float>();
      const float share = largest > 0 ? std::fabs(value) / largest : 0;
      int best = 0;
      for (int code = !with_sign && share > 0 ? 1 : 0; code < count; ++code) {
        const bool closer = std::fabs(book.values[code] - share) < std::fabs(book.values[best] - share);
        if (closer || (best == 0 && share > 0 && !with_sign)) best = code;
      }
      out[begin + i] = (value < 0 ? -1 : 1) * book.values[best] * largest;
    }
  }
  return out;
}

at::Tensor decoded(const at::Tensor& codes, const at::Tensor& scale, bool with_sign) {
  at::Tensor out = at::zeros(codes.sizes());
  for (int64_t i = 0; i < codes.numel(); ++i)
    out[i] = moment_book(with_sign).values[codes[i].item<uint8_t>()] * scale[i / kMomentBlock].item<float>();
  return out;
}

TEST(MomentBook, MagnitudesOfThePaper) {
  // 128 = 0, 2 + 4 + ... + 64, 1; the widest part of [0.1, 1] is 0.9 / 64 wide.
  const MomentBook& with_sign = moment_book(true);
  EXPECT_EQ(with_sign.values[0], 0);
  EXPECT_EQ(with_sign.values[127], 1);
  EXPECT_FLOAT_EQ(with_sign.values[126], 1 - 0.9 / 128);
  EXPECT_FLOAT_EQ(with_sign.values[1], 1e-6 + 0.9e-5 / 4);
  EXPECT_EQ(with_sign.values[255], -1);
  const MomentBook& plain = moment_book(false);
  EXPECT_EQ(plain.values[255], 1);
  EXPECT_FLOAT_EQ(plain.values[254], 1 - 0.9 / 256);
  EXPECT_FLOAT_EQ(plain.values[1], 1e-7 + 0.9e-6 / 4);
  for (int i = 1; i < 256; ++i) EXPECT_TRUE(i == 128 || std::fabs(plain.values[i]) > std::fabs(plain.values[i - 1]));
}

TEST_P(Adamw8Bit, IsAdamwOnDecodedMoments) {
  at::manual_seed(4);
  const int64_t size = GetParam();
  at::Tensor p = at::randn({size});
  Moments8Bit moments = zero_moments_8bit(p), other = zero_moments_8bit(p);
  at::Tensor other_p = p.clone();
  for (int64_t step = 1; step <= 3; ++step) {
    const at::Tensor grad = at::randn({size}) * at::exp(3 * at::randn({size}));  // over many powers of ten
    at::Tensor plain_p = p.clone(), m = decoded(moments.first, moments.first_scale, true);
    at::Tensor v = decoded(moments.second, moments.second_scale, false);
    composed::adamw_step(plain_p, grad, m, v, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.25);
    adamw_8bit_step(p, grad, moments, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.25);
    composed::adamw_8bit_step(other_p, grad, other, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.25);
    EXPECT_TRUE(test::close(p, plain_p, 1e-6)) << step;
    EXPECT_TRUE(test::close(other_p, plain_p, 1e-6)) << step;
    if (size > 2000) continue;
    // Values beside a middle may fall to either side when they differ in their last bit.
    const at::Tensor first = decoded(moments.first, moments.first_scale, true), first_wanted = nearest(m, true);
    const at::Tensor second = decoded(moments.second, moments.second_scale, false), second_wanted = nearest(v, false);
    const auto others = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a - b).abs() > 1e-5 * b.abs()).sum().item<int64_t>();
    };
    EXPECT_LE(others(first, first_wanted), size / 200) << step;
    EXPECT_LE(others(second, second_wanted), size / 200) << step;
    EXPECT_TRUE(((second > 0) == (v > 0)).all().item<bool>());
    EXPECT_TRUE(test::close(moments.first_scale, other.first_scale, 1e-6));
  }
}

TEST(Adamw8Bit, WrongArgumentsAreRefused) {
  at::Tensor p = at::zeros({300});
  const at::Tensor grad = at::zeros({300});
  Moments8Bit moments = zero_moments_8bit(p);
  EXPECT_EQ(moments.first_scale.numel(), 2);
  EXPECT_THROW(adamw_8bit_step(p, grad, moments, 1, 0.9, 0.9, 1, 0, 0, 1), c10::ValueError);
  moments.second_scale = at::zeros({3});
  EXPECT_THROW(adamw_8bit_step(p, grad, moments, 1, 0.9, 0.9, 1, 0, 1, 1), c10::ValueError);
  moments = zero_moments_8bit(p);
  moments.first = moments.first.to(at::kFloat);
  EXPECT_THROW(adamw_8bit_step(p, grad, moments, 1, 0.9, 0.9, 1, 0, 1, 1), c10::ValueError);
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
