// Single rows whose ratio, importance weight and reference gap are set by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "objective/objective_support.h"
#include "rqat/base/error.h"

namespace rqat::objective {
namespace {

constexpr double kTolerance = 1e-5;

class GrpoTest : public testing::Test {
 protected:
  GrpoTest() : problem_(random_problem(1)) {
    problem_.policy.temperature = 1;
    now_ = log_probs(problem_.hidden, {&problem_.head, nullptr}, problem_.targets).log_prob;
    problem_.policy.old_log_prob = now_;
    problem_.policy.rollout_log_prob = at::Tensor();
    problem_.policy.reference_log_prob = at::Tensor();
    // d(-log_prob)/dhidden, from another objective.
    log_prob_grad_ = -compute(*make_objective("cross_entropy"), problem_).output.grad_hidden;
  }

  void set_ratio(double ratio) { problem_.policy.old_log_prob = now_ - std::log(ratio); }
  void set_advantage(double advantage) { problem_.policy.advantage = at::full({1}, advantage, at::kFloat); }

  /// Expects this loss, and dL/dlog_prob = coefficient.
  void expect(double loss, double coefficient, const std::string& yaml = "{}") {
    output_ = compute(*make_objective("grpo", yaml), problem_).output;
    EXPECT_NEAR(output_.loss, loss, kTolerance);
    if (coefficient == 0) {
      EXPECT_EQ(output_.grad_hidden.abs().max().item<double>(), 0.0);
    } else {
      EXPECT_LT(relative_difference(output_.grad_hidden, coefficient * log_prob_grad_), kTolerance);
    }
  }

  Problem problem_;
  at::Tensor now_, log_prob_grad_;
  ObjectiveOutput output_;
};

TEST_F(GrpoTest, InsideTheClipTheRatioCounts) {
  set_ratio(1.1);
  set_advantage(2);
  expect(-2.2, -2.2);
  EXPECT_EQ(output_.sums.at("clip_share"), 0);
  EXPECT_NEAR(output_.sums.at("policy_ratio"), 1.1, kTolerance);
  set_advantage(-2);
  expect(2.2, 2.2);
}

TEST_F(GrpoTest, AGoodTokenIsClippedAbove) {
  set_ratio(1.5);
  set_advantage(2);
  expect(-2 * 1.28, 0);
  EXPECT_EQ(output_.sums.at("clip_share"), 1);
  expect(-2 * 1.4, 0, "{epsilon_high: 0.4}");
  set_ratio(0.5);
  expect(-1.0, -1.0);  // below the clip the minimum is the plain term
}

TEST_F(GrpoTest, ABadTokenIsClippedBelow) {
  set_ratio(0.5);
  set_advantage(-2);
  expect(2 * 0.8, 0);
  EXPECT_EQ(output_.sums.at("clip_share"), 1);
  expect(2 * 0.7, 0, "{epsilon: 0.3}");
  set_ratio(1.5);
  expect(3.0, 3.0);
}

TEST_F(GrpoTest, WithoutOldLogProbTheStepIsOnPolicy) {
  problem_.policy.old_log_prob = at::Tensor();
  set_advantage(1.5);
  expect(-1.5, -1.5);
  EXPECT_EQ(output_.sums.at("policy_ratio"), 1);
}

TEST_F(GrpoTest, ImportanceWeightsAreCapped) {
  set_advantage(1);
  problem_.policy.rollout_log_prob = now_ - std::log(3.0);
  expect(-2, -2);
  EXPECT_NEAR(output_.sums.at("importance_weight"), 2, kTolerance);
  expect(-3, -3, "{importance_cap: 5}");
  expect(-1, -1, "{importance_cap: 0}");
  EXPECT_EQ(output_.sums.count("importance_weight"), 0u);
  EXPECT_NEAR(output_.sums.at("log_prob_gap"), std::log(3.0), kTolerance);
  EXPECT_NEAR(output_.sums.at("rollout_kl"), 1.0 / 3 + std::log(3.0) - 1, kTolerance);
  problem_.policy.rollout_log_prob = now_ + std::log(2.0);
  expect(-0.5, -0.5);
  EXPECT_NEAR(output_.sums.at("log_prob_gap"), std::log(2.0), kTolerance);
}

TEST_F(GrpoTest, KlTermIsTheThirdEstimator) {
  set_advantage(0);
  for (const double gap : {0.3, -0.7}) {
    problem_.policy.reference_log_prob = now_ + gap;
    const double k3 = std::exp(gap) - gap - 1;
    expect(0.2 * k3, 0.2 * (1 - std::exp(gap)), "{beta: 0.2}");
    EXPECT_NEAR(output_.sums.at("reference_kl"), k3, kTolerance);
  }
  problem_.policy.reference_log_prob = now_;
  set_advantage(1);
  expect(-1, -1, "{beta: 0.2}");
}

TEST_F(GrpoTest, BetaWithoutAReferenceIsAFault) {
  EXPECT_THROW(compute(*make_objective("grpo", "{beta: 0.1}"), problem_), base::ConfigError);
  EXPECT_NO_THROW(compute(*make_objective("grpo"), problem_));
}

TEST_F(GrpoTest, TemperatureDividesTheLogits) {
  problem_.policy.temperature = 2;
  problem_.policy.old_log_prob = at::Tensor();
  set_advantage(1);
  output_ = compute(*make_objective("grpo"), problem_).output;
  // The gradient of log softmax(z / 2) is that of log softmax at half the head, through hidden.
  Problem halved = problem_;
  halved.head = ops::prepare_weight(problem_.head.plain / 2);
  const at::Tensor wanted = compute(*make_objective("cross_entropy"), halved).output.grad_hidden;
  EXPECT_LT(relative_difference(output_.grad_hidden, wanted), kTolerance);
}

// Two sequences of 1 and 3 tokens: "token" counts all alike, "sequence" gives each sequence one half.
TEST(GrpoNormalization, TokensOrSequences) {
  Problem problem = random_problem(4);
  problem.policy.temperature = 1;
  problem.policy.old_log_prob = at::Tensor();
  problem.policy.rollout_log_prob = at::Tensor();
  problem.policy.sequence = at::tensor({0, 1, 1, 1}, at::kLong);
  problem.policy.num_sequences = 2;
  problem.policy.advantage = at::tensor({1.0, 2.0, 3.0, 4.0}, at::kFloat);
  EXPECT_NEAR(compute(*make_objective("grpo"), problem).output.loss, -10.0 / 4, kTolerance);
  EXPECT_NEAR(compute(*make_objective("grpo", "{loss_type: sequence}"), problem).output.loss, -(1.0 / 2 + 9.0 / 6),
              kTolerance);
  // Masked tokens do not lengthen a sequence.
  problem.row_weight = at::tensor({1.0, 1.0, 0.0, 1.0}, at::kFloat);
  EXPECT_NEAR(compute(*make_objective("grpo", "{loss_type: sequence}"), problem).output.loss, -(1.0 / 2 + 6.0 / 4),
              kTolerance);
}

}  // namespace
}  // namespace rqat::objective
