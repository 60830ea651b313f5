#include "quant/clip_error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "quant/quant_support.h"

namespace rqat::quant {
namespace {

struct Problem {
  at::Tensor weight, importance;
  QuantFormat format;
  QuantParams params;
};

Problem make_problem(int64_t columns, int64_t group_size) {
  at::manual_seed(5);
  Problem problem;
  problem.format = make_format(2, false, group_size);
  problem.weight = at::randn({7, columns}) * 0.05;
  problem.weight[0] = 0;
  problem.importance = at::rand({columns}) * 10;
  problem.params =
      quantizers().make("int_affine")->search(problem.weight * 0.6, problem.format, {});  // some are clipped
  return problem;
}

/// The formula in fp64.
at::Tensor oracle(const Problem& problem, double power, bool weighted) {
  const int64_t columns = problem.weight.size(1), group = problem.format.resolved_group(columns);
  const at::Tensor w_hat =
      quantizers().make("int_affine")->fake_quant(problem.weight, problem.params, problem.format, at::kFloat);
  at::Tensor error = (w_hat.to(at::kDouble) - problem.weight.to(at::kDouble)).abs().pow(power);
  if (weighted) error = error * problem.importance;
  std::vector<at::Tensor> sums;
  for (int64_t k = 0; k < columns; k += group) sums.push_back(error.slice(1, k, std::min(k + group, columns)).sum(1));
  return at::stack(sums, 1);
}

TEST(ClipErrorTest, AgreesWithTheFormula) {
  for (const auto& [columns, group] : {std::pair<int64_t, int64_t>{64, 16}, {100, 64}, {37, 5}, {40, -1}, {1, 16}}) {
    const Problem problem = make_problem(columns, group);
    for (const double power : {0.5, 1.0, 2.0, 2.4, 4.0}) {
      for (const bool weighted : {false, true}) {
        const at::Tensor importance = weighted ? problem.importance : at::Tensor();
        const at::Tensor expected = oracle(problem, power, weighted);
        // Each zero error counts as (2^-30 s)^power, which at power 1/2 is 3e-5 of the largest.
        const double floor = expected.max().item<double>() * (power < 1 ? 1e-3 : 1e-6);
        const at::Tensor fused = clip_error(problem.weight, problem.params, problem.format, power, importance);
        const at::Tensor composed =
            composed_clip_error(problem.weight, problem.params, problem.format, power, importance);
        EXPECT_TRUE(fused.to(at::kDouble).allclose(expected, 2e-5, floor)) << columns << " " << power;
        EXPECT_TRUE(composed.to(at::kDouble).allclose(expected, 2e-5, floor)) << columns << " " << power;
      }
    }
  }
}

TEST(ClipErrorTest, AllKernelLevelsGiveTheSameBits) {
  const ops::CpuKernels best = ops::cpu_kernels();
  if (best == ops::CpuKernels::kPortable) GTEST_SKIP() << "only the portable kernels are available";
  for (const auto& [columns, group] : {std::pair<int64_t, int64_t>{64, 16}, {100, 64}, {37, 5}}) {
    const Problem problem = make_problem(columns, group);
    for (const at::Tensor& importance : {at::Tensor(), problem.importance}) {
      const auto at_level = [&](ops::CpuKernels level) {
        return clip_error_at(level, problem.weight, problem.params, problem.format, 2.4, importance);
      };
      EXPECT_TRUE(at::equal(at_level(ops::CpuKernels::kPortable), at_level(ops::CpuKernels::kAvx2)));
      EXPECT_TRUE(at::equal(at_level(ops::CpuKernels::kPortable), at_level(best)));
    }
  }
}

}  // namespace
}  // namespace rqat::quant
