// Every estimator of the registry against its closed form in fp64, at interior, edge and outside.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quant/quant_support.h"

namespace rqat::quant {
namespace {

struct Problem {
  QuantFormat format;
  QuantParams params;
  at::Tensor weight, gradient;  // [2, 12], groups of 5: the last one short
};

/// Weights in units of the scale around every edge of the range: exactly on the last level, exactly half a step beyond
/// it (ties), just inside and just outside of that, and far away.
Problem make_problem(bool symmetric, int64_t num_bits = 2) {
  at::manual_seed(11);
  Problem problem;
  problem.format = make_format(num_bits, symmetric, 5);
  problem.params.scale = at::tensor({0.5F, 0.25F, 0.125F, 1.0F, 0.75F, 2.0F}, at::kFloat).reshape({2, 3});
  const std::vector<int> zeros =
      symmetric ? std::vector<int>(6, 1 << (num_bits - 1)) : std::vector<int>{0, 1, 2, 3, 1, 2};
  problem.params.zero_point = at::tensor(zeros, at::kInt).to(at::kByte).reshape({2, 3});
  const at::Tensor ratio =
      at::tensor({0.0F,  0.3F,  3.0F,   3.5F, -0.5F, 2.5F, -1.0F, -1.49F, -1.5F, 1.0F, 100.0F, -100.0F,
                  -3.0F, 0.51F, -3.51F, 0.5F, 7.0F,  2.5F, 2.49F, -2.0F,  1.9F,  1.5F, -2.5F,  -7.0F},
                 at::kFloat)
          .reshape({2, 12});
  problem.weight = ratio * spread(problem.params.scale, problem.format, 12);
  problem.gradient = at::randn({2, 12});
  return problem;
}

struct Expected {
  at::Tensor inside;             ///< bool [2, 12]
  at::Tensor scale, zero_point;  ///< fp64 [2, 3], without a gradient scale
};

/// inside: 0 <= rint(w/s) + z <= q_max;  ds = sum G (q - z - (inside ? w/s : 0));  dz = sum -s G outside.
Expected closed_form(const Problem& problem) {
  Expected expected{at::zeros({2, 12}, at::kBool), at::zeros({2, 3}, at::kDouble), at::zeros({2, 3}, at::kDouble)};
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t k = 0; k < 12; ++k) {
      const double s = problem.params.scale[n][k / 5].item<double>(),
                   z = problem.params.zero_point[n][k / 5].item<double>();
      const double ratio = problem.weight[n][k].item<double>() / s, gradient = problem.gradient[n][k].item<double>();
      const double raw = std::nearbyint(ratio) + z, top = static_cast<double>(problem.format.max_code());
      const bool inside = raw >= 0 && raw <= top;
      const double level = std::min(std::max(raw, 0.0), top) - z;
      expected.inside[n][k] = inside;
      expected.scale[n][k / 5] += gradient * (level - (inside ? ratio : 0));
      expected.zero_point[n][k / 5] += inside ? 0 : -s * gradient;
    }
  }
  return expected;
}

EstimatorGradients reduce(const std::string& name, const std::string& settings, const Problem& problem) {
  return estimators()
      .make(component(estimators(), name, settings))
      ->reduce({problem.gradient.clone(), problem.weight, problem.params, &problem.format});
}

at::Tensor clipped(const Problem& problem, const Expected& expected) {
  return problem.gradient * expected.inside.to(at::kFloat);
}

TEST(EstimatorsTest, TheProblemHasInsideEdgeAndOutside) {
  const int64_t inside = closed_form(make_problem(false)).inside.sum().item<int64_t>();
  EXPECT_GT(inside, 6);
  EXPECT_LT(inside, 18);
}

TEST(EstimatorsTest, SteIsTheIdentity) {
  const Problem problem = make_problem(false);
  const EstimatorGradients gradients = reduce("ste", "{}", problem);
  EXPECT_TRUE(at::equal(gradients.weight, problem.gradient));
  EXPECT_FALSE(gradients.scale.defined());
  EXPECT_FALSE(gradients.zero_point.defined());
}

TEST(EstimatorsTest, ClippedSteIsZeroOutside) {
  for (const bool symmetric : {false, true}) {
    const Problem problem = make_problem(symmetric);
    const EstimatorGradients gradients = reduce("clipped_ste", "{}", problem);
    EXPECT_TRUE(at::equal(gradients.weight, clipped(problem, closed_form(problem))));
    EXPECT_FALSE(gradients.scale.defined());
    EXPECT_FALSE(gradients.zero_point.defined());
  }
}

TEST(EstimatorsTest, LsqFollowsTheClosedForm) {
  for (const bool symmetric : {false, true}) {
    for (const int64_t num_bits : {2, 3, 4, 8}) {
      const Problem problem = make_problem(symmetric, num_bits);
      const Expected expected = closed_form(problem);
      const EstimatorGradients plain = reduce("lsq", "{grad_scale: none}", problem);
      EXPECT_TRUE(at::equal(plain.weight, clipped(problem, expected)));
      EXPECT_TRUE(plain.scale.to(at::kDouble).allclose(expected.scale, 1e-5, 1e-5));
      EXPECT_FALSE(plain.zero_point.defined());
      const EstimatorGradients scaled = reduce("lsq", "{}", problem);
      const double factor = 1 / std::sqrt(5.0 * static_cast<double>(problem.format.max_code()));
      EXPECT_TRUE(scaled.scale.to(at::kDouble).allclose(expected.scale * factor, 1e-5, 1e-5));
    }
  }
}

TEST(EstimatorsTest, LsqLearnsTheZeroPointOfAsymmetricFormatsOnly) {
  const Problem problem = make_problem(false);
  const Expected expected = closed_form(problem);
  EXPECT_GT(expected.zero_point.abs().max().item<double>(), 0.1);
  const EstimatorGradients gradients = reduce("lsq", "{learn_zero_point: true, grad_scale: none}", problem);
  EXPECT_TRUE(gradients.zero_point.to(at::kDouble).allclose(expected.zero_point, 1e-5, 1e-5));
  const double factor = 1 / std::sqrt(5.0 * 3);
  EXPECT_TRUE(reduce("lsq", "{learn_zero_point: true}", problem)
                  .zero_point.to(at::kDouble)
                  .allclose(expected.zero_point * factor, 1e-5, 1e-5));
  EXPECT_FALSE(reduce("lsq", "{learn_zero_point: true}", make_problem(true)).zero_point.defined());
}

TEST(EstimatorsTest, HeldCodesGivesTheScaleItsLevels) {
  for (const bool symmetric : {false, true}) {
    const Problem problem = make_problem(symmetric);
    at::Tensor expected = at::zeros({2, 3}, at::kDouble);  // ds = sum G (q - z), inside the range and outside
    for (int64_t n = 0; n < 2; ++n) {
      for (int64_t k = 0; k < 12; ++k) {
        const double s = problem.params.scale[n][k / 5].item<double>(),
                     z = problem.params.zero_point[n][k / 5].item<double>();
        const double code = std::nearbyint(problem.weight[n][k].item<double>() / s) + z;
        const double level = std::min(std::max(code, 0.0), static_cast<double>(problem.format.max_code())) - z;
        expected[n][k / 5] += problem.gradient[n][k].item<double>() * level;
      }
    }
    const EstimatorGradients gradients = reduce("held_codes", "{}", problem);
    EXPECT_TRUE(at::equal(gradients.weight, clipped(problem, closed_form(problem))));
    EXPECT_TRUE(gradients.scale.to(at::kDouble).allclose(expected, 1e-5, 1e-5));
    EXPECT_FALSE(gradients.zero_point.defined());
  }
}

class EstimatorContract : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registry, EstimatorContract, testing::ValuesIn(estimators().names()));

// Architecture 1.2: G may be summed over micro-batches before it is reduced.
TEST_P(EstimatorContract, IsLinearInTheGradient) {
  const Problem problem = make_problem(false);
  Problem first = problem, second = problem;
  second.gradient = at::randn({2, 12});
  Problem both = problem;
  both.gradient = first.gradient + second.gradient;
  const auto a = reduce(GetParam(), "{}", first), b = reduce(GetParam(), "{}", second),
             sum = reduce(GetParam(), "{}", both);
  EXPECT_TRUE(sum.weight.allclose(a.weight + b.weight, 1e-5, 1e-5));
  EXPECT_EQ(sum.scale.defined(), a.scale.defined());
  if (sum.scale.defined()) {
    EXPECT_TRUE(sum.scale.allclose(a.scale + b.scale, 1e-5, 1e-5));
  }
}

TEST_P(EstimatorContract, ReportsWhatItTrains) {
  const auto estimator = estimators().make(GetParam());
  const EstimatorGradients gradients = reduce(GetParam(), "{}", make_problem(false));
  EXPECT_EQ(gradients.scale.defined(), estimator->trains_scale());
  EXPECT_EQ(gradients.zero_point.defined(), estimator->trains_zero_point());
  EXPECT_EQ(gradients.weight.scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace rqat::quant
