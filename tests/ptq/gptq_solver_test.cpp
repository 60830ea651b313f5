#include "ptq/gptq_solver.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ptq/layers.h"
#include "ptq/plain_gptq.h"
#include "rqat/ops/quantize.h"
#include "rqat/quant/quantizer.h"

namespace rqat::ptq {
namespace {

struct Problem {
  at::Tensor weight, inputs, hessian;  // [N, K], [T, K], [K, K]
  quant::QuantFormat format;
  quant::QuantParams params;
};

/// Strongly correlated inputs of very different energy: what makes second-order rounding worth it.
Problem make_problem(int64_t rows, int64_t columns, int64_t num_bits, bool symmetric, int64_t group_size,
                     int64_t seed = 1) {
  at::manual_seed(seed);
  Problem problem;
  problem.format.num_bits = num_bits;
  problem.format.symmetric = symmetric;
  problem.format.group_size = group_size;
  problem.weight = at::randn({rows, columns}) * 0.1;
  problem.inputs =
      at::randn({4 * columns, columns}).matmul(at::randn({columns, columns})) * at::rand({columns}).add(0.1);
  problem.hessian = problem.inputs.t().matmul(problem.inputs) * (2.0 / static_cast<double>(problem.inputs.size(0)));
  problem.params = quant::quantizers().make("int_affine")->search(problem.weight, problem.format, {});
  return problem;
}

at::Tensor round_to_nearest(const Problem& p) {
  return ops::fake_quant(p.weight, p.params.scale, p.params.zero_point, p.format.num_bits,
                         p.format.resolved_group(p.weight.size(1)), at::kFloat);
}

at::Tensor codes_of(const Problem& p, const at::Tensor& w_hat) {
  return ops::quantize(w_hat, p.params.scale, p.params.zero_point, p.format.num_bits,
                       p.format.resolved_group(p.weight.size(1)));
}

at::Tensor solve(const Problem& p, const GptqOptions& options) {
  return gptq_solve(p.weight, factorize(p.hessian, options), p.params, p.format, options.block_size);
}

struct Case {
  int64_t num_bits;
  bool symmetric;
  int64_t group_size;
  bool act_order;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "w" << c.num_bits << (c.symmetric ? " sym" : " asym") << " g" << c.group_size
             << (c.act_order ? " act_order" : "");
}

class GptqCases : public testing::TestWithParam<Case> {};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      for (const int64_t group : {16, 20, -1}) {  // 20: a short last group
        for (const bool act_order : {false, true}) all.push_back({bits, symmetric, group, act_order});
      }
    }
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Formats, GptqCases, testing::ValuesIn(cases()));

TEST_P(GptqCases, GivesTheCodesOfThePlainAlgorithm) {
  const Case c = GetParam();
  int64_t compared = 0;
  for (int64_t seed = 1; seed <= 3; ++seed) {
    const Problem p = make_problem(6, 48, c.num_bits, c.symmetric, c.group_size, seed);
    GptqOptions options;
    options.act_order = c.act_order;
    options.block_size = 16;
    const at::Tensor w_hat = solve(p, options);
    const PlainResult plain = plain_gptq(p.weight, p.hessian, p.params, p.format, options.damping, c.act_order);
    const at::Tensor plain_w_hat =
        ops::dequantize(plain.codes, p.params.scale, p.params.zero_point, p.format.resolved_group(48), at::kFloat);
    const double error = relative_error(w_hat, p.weight, p.hessian),
                 plain_error = relative_error(plain_w_hat, p.weight, p.hessian);
    EXPECT_NEAR(error, plain_error, plain_error * 0.05);
    if (plain.nearest_tie < 1e-4) continue;  // fp32 may round to the other side, and all later columns differ then
    ++compared;
    EXPECT_TRUE(at::equal(codes_of(p, w_hat), plain.codes)) << "seed " << seed << ", nearest tie " << plain.nearest_tie;
  }
  EXPECT_GE(compared, 1);
}

TEST_P(GptqCases, ResultLiesOnTheGrid) {
  const Case c = GetParam();
  Problem p = make_problem(6, 48, c.num_bits, c.symmetric, c.group_size);
  for (const char* dtype : {"float16", "bfloat16"}) {
    p.format.scale_dtype = dtype;
    p.params = quant::quantizers().make("int_affine")->search(p.weight, p.format, {});
    GptqOptions options;
    options.act_order = c.act_order;
    const at::Tensor w_hat = solve(p, options);
    const at::Tensor again = ops::fake_quant(w_hat, p.params.scale, p.params.zero_point, c.num_bits,
                                             p.format.resolved_group(48), at::kFloat);
    EXPECT_TRUE(at::equal(again, w_hat)) << dtype;
  }
}

TEST_P(GptqCases, IsBetterThanRoundToNearestOnCorrelatedInputs) {
  const Case c = GetParam();
  const Problem p = make_problem(32, 48, c.num_bits, c.symmetric, c.group_size);
  GptqOptions options;
  options.act_order = c.act_order;
  // The outputs themselves, not the Hessian.
  const auto output_error = [&](const at::Tensor& w_hat) {
    return (p.inputs.to(at::kDouble).matmul((w_hat - p.weight).t().to(at::kDouble))).square().sum().item<double>();
  };
  EXPECT_LT(output_error(solve(p, options)), 0.8 * output_error(round_to_nearest(p)));
}

TEST(GptqSolverTest, TheBlockSizeChangesNothing) {
  const Problem p = make_problem(6, 48, 3, false, 16);
  GptqOptions options;
  options.block_size = 1;
  const at::Tensor codes = codes_of(p, solve(p, options));
  for (const int64_t size : {5, 48, 128}) {
    options.block_size = size;
    EXPECT_TRUE(at::equal(codes_of(p, solve(p, options)), codes)) << size;
  }
}

TEST(GptqSolverTest, UncorrelatedInputsGiveRoundToNearest) {
  Problem p = make_problem(6, 48, 3, false, 16);
  p.hessian = at::diag(at::rand({48}) + 0.1);
  EXPECT_TRUE(at::equal(solve(p, {}), round_to_nearest(p)));
}

TEST(GptqSolverTest, TheFactorBelongsToTheDampedHessianInOrder) {
  const Problem p = make_problem(6, 48, 3, false, 16);
  const InverseFactor factor = factorize(p.hessian, {});
  EXPECT_EQ(factor.damping, 0.01);
  EXPECT_EQ(factor.failure, "");
  const at::Tensor diagonal = p.hessian.diagonal().index_select(0, factor.order);
  EXPECT_TRUE((diagonal.slice(0, 1) <= diagonal.slice(0, 0, -1)).all().item<bool>());
  const at::Tensor upper = factor.upper.to(at::kDouble);
  EXPECT_TRUE(at::equal(at::triu(upper), upper));
  at::Tensor damped = p.hessian.index_select(0, factor.order).index_select(1, factor.order).to(at::kDouble);
  damped.diagonal().add_(0.01 * p.hessian.diagonal().mean().item<double>());
  // U^T U H = 1
  EXPECT_TRUE(upper.t().matmul(upper).matmul(damped).allclose(at::eye(48, at::kDouble), 1e-3, 1e-3));
}

TEST(GptqSolverTest, DeadColumnsAreJustRounded) {
  Problem p = make_problem(6, 48, 3, false, 16);
  for (const int64_t dead : {0, 20, 47}) p.inputs.select(1, dead).zero_();
  p.hessian = p.inputs.t().matmul(p.inputs) * (2.0 / static_cast<double>(p.inputs.size(0)));
  const at::Tensor nearest = round_to_nearest(p);
  for (const bool act_order : {false, true}) {
    GptqOptions options;
    options.act_order = act_order;
    EXPECT_EQ(factorize(p.hessian, options).dead_columns, 3);
    const at::Tensor w_hat = solve(p, options);
    for (const int64_t dead : {0, 20, 47}) EXPECT_TRUE(at::equal(w_hat.select(1, dead), nearest.select(1, dead)));
    EXPECT_TRUE(
        at::equal(codes_of(p, w_hat), plain_gptq(p.weight, p.hessian, p.params, p.format, 0.01, act_order).codes));
    EXPECT_LT(relative_error(w_hat, p.weight, p.hessian), relative_error(nearest, p.weight, p.hessian));
  }
}

TEST(GptqSolverTest, DampingGrowsUntilTheFactorExists) {
  Problem p = make_problem(6, 48, 3, false, 16);
  // Smallest eigenvalue -0.1 of a mean diagonal of 1: damping 0.01 ... 0.08 cannot do, 0.16 does.
  p.hessian = at::eye(48);
  p.hessian[0][0] = p.hessian[1][1] = 0.5;
  p.hessian[0][1] = p.hessian[1][0] = 0.6;
  const InverseFactor factor = factorize(p.hessian, {});
  EXPECT_DOUBLE_EQ(factor.damping, 0.16);
  EXPECT_TRUE(factor.upper.defined());
  GptqOptions none;
  none.damping = 0;
  EXPECT_GT(factorize(p.hessian, none).damping, 0.1);  // the ladder leaves 0, too
}

TEST(GptqSolverTest, FailuresAreTold) {
  at::Tensor hessian = at::eye(8);
  hessian[0][1] = hessian[1][0] = 100;
  EXPECT_NE(factorize(hessian, {}).failure.find("Cholesky"), std::string::npos);
  EXPECT_FALSE(factorize(hessian, {}).upper.defined());
  hessian[0][1] = std::numeric_limits<float>::infinity();
  EXPECT_NE(factorize(hessian, {}).failure.find("not finite"), std::string::npos);
}

TEST(GptqSolverTest, FewSamplesStillWork) {
  Problem p = make_problem(6, 48, 2, false, 16);
  const at::Tensor few = p.inputs.slice(0, 0, 5);  // rank 5
  p.hessian = few.t().matmul(few) * 0.4;
  const at::Tensor w_hat = solve(p, {});
  EXPECT_LT(relative_error(w_hat, p.weight, p.hessian), 0.2 * relative_error(round_to_nearest(p), p.weight, p.hessian));
}

}  // namespace
}  // namespace rqat::ptq
