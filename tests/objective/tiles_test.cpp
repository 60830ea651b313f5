#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "objective/objective_support.h"

namespace rqat::objective {
namespace {

TEST(Tiles, RowsAreBoundedBothWays) {
  EXPECT_EQ(tile_rows(1), 1024);
  EXPECT_EQ(tile_rows(8192), 1024);
  EXPECT_EQ(tile_rows(49152), 170);
  EXPECT_EQ(tile_rows(151936), 55);
  EXPECT_EQ(tile_rows(1 << 22), 16);
  for (const int64_t vocab : {32000, 49152, 151936, 256000}) {
    EXPECT_LE(tile_rows(vocab) * vocab * 4, 32 << 20);
    EXPECT_GT((tile_rows(vocab) + 1) * vocab * 4, 32 << 20);
  }
}

// Vocabularies at which a tile holds few rows.
TEST(Tiles, LogProbsOfAWideVocabulary) {
  const Problem problem = random_problem(2 * 27 + 5, 300000, 4, 8);
  ASSERT_EQ(tile_rows(300000), 27);
  const at::Tensor logits = at::mm(problem.hidden.to(at::kDouble), problem.head.plain.to(at::kDouble).t());
  const at::Tensor all = logits.log_softmax(1);
  const LogProbs actual = log_probs(problem.hidden, {&problem.head, nullptr}, problem.targets);
  EXPECT_LT(relative_difference(actual.log_prob, all.gather(1, problem.targets.unsqueeze(1)).squeeze(1)), 1e-6);
  EXPECT_LT(relative_difference(actual.entropy, -(all.exp() * all).sum(1)), 1e-5);
}

TEST(Tiles, LogProbsAtATemperature) {
  const Problem problem = random_problem(1100);
  const at::Tensor logits = at::mm(problem.hidden.to(at::kDouble), problem.head.plain.to(at::kDouble).t());
  for (const double temperature : {0.6, 1.0, 2.5}) {
    const at::Tensor all = (logits / temperature).log_softmax(1);
    const LogProbs actual = log_probs(problem.hidden, {&problem.head, nullptr}, problem.targets, temperature);
    EXPECT_LT(relative_difference(actual.log_prob, log_probs64(problem, logits, temperature)), 1e-6);
    EXPECT_LT(relative_difference(actual.entropy, -(all.exp() * all).sum(1)), 1e-5);
  }
}

TEST(Tiles, LogProbsOfCappedLogits) {
  const Problem problem = random_problem(20);
  const at::Tensor logits =
      2 * at::tanh(at::mm(problem.hidden.to(at::kDouble), problem.head.plain.to(at::kDouble).t()) / 2);
  const LogProbs actual = log_probs(problem.hidden, {&problem.head, nullptr, 2}, problem.targets, 0.7);
  EXPECT_LT(relative_difference(actual.log_prob, log_probs64(problem, logits, 0.7)), 1e-6);
}

TEST(Tiles, ScoresSumOverRows) {
  for (const int64_t teacher_vocab : {53, 50, 60}) {
    const Problem problem = random_problem(1100, 53, 16, teacher_vocab);
    const at::Tensor logits = at::mm(problem.hidden.to(at::kDouble), problem.head.plain.to(at::kDouble).t());
    const TeacherTargets teacher{problem.teacher_hidden, {&problem.teacher_head, nullptr}};
    const DistillationScores scores = score(problem.hidden, {&problem.head, nullptr}, problem.targets, &teacher);
    const double kl = divergence64(problem, logits, 0, 1).sum().item<double>();
    const double nll = cross_entropy64(problem, logits).sum().item<double>();
    EXPECT_EQ(scores.rows, 1100);
    EXPECT_NEAR(scores.kl_sum, kl, 1e-5 * kl);
    EXPECT_NEAR(scores.nll_sum, nll, 1e-5 * nll);
    EXPECT_EQ(score(problem.hidden, {&problem.head, nullptr}, problem.targets, nullptr).kl_sum, 0);
  }
}

}  // namespace
}  // namespace rqat::objective
