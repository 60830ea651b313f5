// What holds for every entry of the registry.
#include "rqat/objective/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "objective/objective_support.h"
#include "rqat/base/error.h"
#include "rqat/base/progress.h"
#include "support/sanitizers.h"

namespace rqat::objective {
namespace {

class ObjectiveContract : public testing::TestWithParam<ObjectiveCase> {
 protected:
  void expect_reference(const Problem& problem, double tolerance = 1e-5) {
    const Computed computed = compute(*objective_, problem);
    const Reference wanted = reference(GetParam(), problem);
    EXPECT_NEAR(computed.output.loss, wanted.loss, tolerance * std::max(1.0, std::abs(wanted.loss)));
    EXPECT_LT(relative_difference(computed.output.grad_hidden, wanted.hidden_grad), tolerance);
    EXPECT_LT(relative_difference(computed.head_grad, wanted.head_grad), tolerance);
  }

  std::unique_ptr<Objective> objective_ = make_objective(GetParam().name, GetParam().yaml);
};

INSTANTIATE_TEST_SUITE_P(Objectives, ObjectiveContract, testing::ValuesIn(objective_cases()),
                         [](const auto& info) { return info.param.label; });

TEST(Objectives, EveryEntryHasACase) {
  std::set<std::string> names, tested;
  for (const std::string& name : objectives().names()) names.insert(name);
  for (const ObjectiveCase& objective : objective_cases()) tested.insert(objective.name);
  EXPECT_EQ(names, tested);
  EXPECT_GE(names.size(), 6u);
}

TEST_P(ObjectiveContract, LossAndGradientsAreThoseOfTheFormula) { expect_reference(random_problem()); }

TEST_P(ObjectiveContract, TilesMeetWithoutASeam) {
  ASSERT_EQ(tile_rows(53), 1024);
  expect_reference(random_problem(2 * 1024 + 37));
  expect_reference(random_problem(1024));
}

TEST_P(ObjectiveContract, VocabulariesMayDifferByPadding) {
  expect_reference(random_problem(7, 53, 16, 50));
  expect_reference(random_problem(7, 50, 16, 53));
}

TEST_P(ObjectiveContract, CappedLogits) {
  Problem problem = random_problem(7, 53, 16, 50);
  problem.softcap = 1.5;
  expect_reference(problem);
}

TEST_P(ObjectiveContract, RowWeightsCount) {
  Problem problem = random_problem();
  problem.row_weight = at::rand({7}) + 0.5;
  expect_reference(problem);
}

TEST_P(ObjectiveContract, MaskedRowsGiveExactlyNoGradient) {
  Problem problem = random_problem(1024 + 11);
  problem.row_weight = (at::arange(problem.rows()) % 4 != 1).to(at::kFloat);
  const at::Tensor masked = problem.row_weight == 0;
  problem.targets.masked_fill_(masked, -100);
  problem.normalizer = problem.row_weight.sum().item<double>();
  expect_reference(problem);
  const Computed computed = compute(*objective_, problem);
  EXPECT_EQ(computed.output.grad_hidden.index({masked}).abs().max().item<double>(), 0.0);
  EXPECT_GT(computed.output.grad_hidden.abs().max().item<double>(), 0.0);
  EXPECT_NEAR(computed.output.sums.at("rows"), problem.normalizer, 1e-3);

  // What stands in a masked row changes nothing at all.
  Problem other = problem;
  other.hidden = problem.hidden.masked_fill(masked.unsqueeze(1), 0.25);
  const Computed again = compute(*objective_, other);
  EXPECT_EQ(again.output.loss, computed.output.loss);
  EXPECT_TRUE(at::equal(again.head_grad, computed.head_grad));
}

TEST_P(ObjectiveContract, MicroBatchesAddUpToTheBatch) {
  const Problem problem = random_problem(33);
  const Computed whole = compute(*objective_, problem);
  Computed parts;
  parts.head_grad = at::zeros_like(whole.head_grad);
  std::vector<at::Tensor> hidden_grads;
  std::map<std::string, double> sums;
  const std::vector<int64_t> cuts{0, 6, 21, 33};  // between sequences
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const auto cut = [&](const at::Tensor& rows) { return rows.slice(0, cuts[i], cuts[i + 1]); };
    Problem part = problem;
    part.hidden = cut(problem.hidden);
    part.targets = cut(problem.targets);
    part.teacher_hidden = cut(problem.teacher_hidden);
    PolicyTargets& policy = part.policy;
    for (at::Tensor* rows :
         {&policy.advantage, &policy.old_log_prob, &policy.rollout_log_prob, &policy.reference_log_prob}) {
      *rows = cut(*rows);
    }
    policy.sequence = cut(policy.sequence) - cuts[i] / 3;
    const Computed computed = compute(*objective_, part);
    parts.output.loss += computed.output.loss;
    parts.head_grad += computed.head_grad;
    hidden_grads.push_back(computed.output.grad_hidden);
    for (const auto& [key, value] : computed.output.sums) sums[key] += value;
  }
  EXPECT_NEAR(parts.output.loss, whole.output.loss, 1e-6 * std::max(1.0, std::abs(whole.output.loss)));
  EXPECT_LT(relative_difference(at::cat(hidden_grads), whole.output.grad_hidden), 1e-5);
  EXPECT_LT(relative_difference(parts.head_grad, whole.head_grad), 1e-5);
  ASSERT_EQ(sums.size(), whole.output.sums.size());
  for (const auto& [key, value] : whole.output.sums)
    EXPECT_NEAR(sums.at(key), value, 1e-4 * std::max(1.0, std::abs(value))) << key;
}

TEST_P(ObjectiveContract, HeadGradientIsAddedToWhatIsThere) {
  const Problem problem = random_problem();
  const Computed once = compute(*objective_, problem);
  at::Tensor twice = once.head_grad.clone();
  const TeacherTargets teacher{problem.teacher_hidden, {&problem.teacher_head, nullptr}};
  ObjectiveInput input;
  input.hidden = problem.hidden;
  input.targets = problem.targets;
  input.teacher = &teacher;
  input.policy = &problem.policy;
  input.normalizer = problem.normalizer;
  input.head = {&problem.head, &twice};
  objective_->compute(input);
  EXPECT_LT(relative_difference(twice, 2 * once.head_grad), 1e-6);
}

TEST_P(ObjectiveContract, WithoutGradientTheValuesAreTheSame) {
  const Problem problem = random_problem();
  const Computed with = compute(*objective_, problem), without = compute(*objective_, problem, false);
  EXPECT_NEAR(without.output.loss, with.output.loss, 1e-12);
  EXPECT_EQ(without.output.sums.size(), with.output.sums.size());
  EXPECT_FALSE(without.output.grad_hidden.defined());
  EXPECT_EQ(without.head_grad.abs().max().item<double>(), 0.0);
}

TEST_P(ObjectiveContract, NoRowsGiveNothing) {
  Problem problem = random_problem(3);
  for (at::Tensor* rows : {&problem.hidden, &problem.targets, &problem.teacher_hidden, &problem.policy.advantage,
                           &problem.policy.old_log_prob, &problem.policy.rollout_log_prob,
                           &problem.policy.reference_log_prob, &problem.policy.sequence}) {
    *rows = rows->slice(0, 0, 0);
  }
  const Computed computed = compute(*objective_, problem);
  EXPECT_EQ(computed.output.loss, 0.0);
  EXPECT_EQ(computed.output.grad_hidden.size(0), 0);
}

TEST_P(ObjectiveContract, Bfloat16HiddenStatesKeepTheirDtype) {
  Problem problem = random_problem(40);
  problem.hidden = problem.hidden.to(at::kBFloat16);
  problem.teacher_hidden = problem.teacher_hidden.to(at::kBFloat16);
  problem.head = ops::prepare_weight(problem.head.plain.to(at::kBFloat16));
  problem.teacher_head = ops::prepare_weight(problem.teacher_head.plain.to(at::kBFloat16));
  const Reference wanted = reference(GetParam(), problem);
  at::Tensor head_grad = at::zeros({53, 16});
  const TeacherTargets teacher{problem.teacher_hidden, {&problem.teacher_head, nullptr}};
  ObjectiveInput input;
  input.hidden = problem.hidden;
  input.targets = problem.targets;
  input.teacher = &teacher;
  input.policy = &problem.policy;
  input.normalizer = problem.normalizer;
  input.head = {&problem.head, &head_grad};
  const ObjectiveOutput output = objective_->compute(input);
  EXPECT_EQ(output.grad_hidden.scalar_type(), at::kBFloat16);
  EXPECT_NEAR(output.loss, wanted.loss, 1e-4 * std::max(1.0, std::abs(wanted.loss)));  // logits are fp32
  EXPECT_LT(relative_difference(output.grad_hidden, wanted.hidden_grad), 2e-2);
  EXPECT_LT(relative_difference(head_grad, wanted.head_grad), 2e-2);
}

TEST_P(ObjectiveContract, SaysWhatItNeeds) {
  const Problem problem = random_problem();
  ObjectiveInput input;
  input.hidden = problem.hidden;
  input.targets = problem.targets;
  input.head = {&problem.head, nullptr};
  const bool needs = objective_->needs_teacher() || objective_->needs_policy();
  if (needs) {
    EXPECT_THROW(objective_->compute(input), base::ConfigError);
  } else {
    EXPECT_NO_THROW(objective_->compute(input));
  }
}

TEST(Objectives, NeedsFollowTheKind) {
  for (const char* name : {"kl_forward", "kl_reverse", "jsd"}) {
    EXPECT_TRUE(make_objective(name)->needs_teacher());
    EXPECT_FALSE(make_objective(name)->needs_policy());
  }
  EXPECT_FALSE(make_objective("cross_entropy")->needs_teacher() || make_objective("cross_entropy")->needs_policy());
  EXPECT_TRUE(make_objective("grpo")->needs_policy());
  EXPECT_FALSE(make_objective("grpo")->needs_teacher());
  EXPECT_FALSE(make_objective("mix", "{parts: [cross_entropy]}")->needs_teacher());
  EXPECT_TRUE(make_objective("mix", "{parts: [cross_entropy, jsd]}")->needs_teacher());
  EXPECT_TRUE(make_objective("mix", "{parts: [cross_entropy, grpo]}")->needs_policy());
  EXPECT_FALSE(make_objective("mix", "{parts: [cross_entropy, grpo]}")->needs_reference());
  EXPECT_TRUE(make_objective("mix", "{parts: [cross_entropy, {grpo: {beta: 0.1}}]}")->needs_reference());
}

TEST(Objectives, SettingsOutOfRangeAreRefused) {
  for (const auto& [name, yaml] : {std::pair{"kl_forward", "{temperature: 0}"},
                                   {"jsd", "{beta: 1.5}"},
                                   {"grpo", "{epsilon: 2}"},
                                   {"grpo", "{loss_type: word}"},
                                   {"grpo", "{beta: -1}"},
                                   {"mix", "{}"},
                                   {"mix", "{parts: []}"},
                                   {"mix", "{parts: [jsd], weights: [1, 2]}"},
                                   {"mix", "{parts: [jsd, cross_entropy], weights: [0, 0]}"}}) {
    EXPECT_THROW(make_objective(name, yaml), base::ConfigError) << name << " " << yaml;
  }
}

TEST(Objectives, APartOfWeightZeroIsLeftOut) {
  const Problem problem = random_problem();
  const Computed alone = compute(*make_objective("cross_entropy"), problem);
  const Computed mixed =
      compute(*make_objective("mix", "{parts: [kl_forward, cross_entropy], weights: [0, 1]}"), problem);
  EXPECT_EQ(mixed.output.loss, alone.output.loss);
  EXPECT_TRUE(at::equal(mixed.output.grad_hidden, alone.output.grad_hidden));
  EXPECT_EQ(mixed.output.sums.count("kl_forward"), 0u);
}

TEST(Objectives, MixShowsItsPartsUnweighted) {
  const Problem problem = random_problem();
  const Computed kl = compute(*make_objective("kl_forward"), problem),
                 plain = compute(*make_objective("cross_entropy"), problem);
  const auto sums =
      compute(*make_objective("mix", "{parts: [kl_forward, cross_entropy], weights: [3, 0.2]}"), problem).output.sums;
  EXPECT_NEAR(sums.at("kl_forward"), kl.output.sums.at("kl_forward"), 1e-4);
  EXPECT_NEAR(sums.at("cross_entropy"), plain.output.sums.at("cross_entropy"), 1e-4);
  EXPECT_NEAR(sums.at("entropy"), plain.output.sums.at("entropy"), 1e-4);
  EXPECT_NEAR(sums.at("rows"), 7, 1e-5);
}

TEST(Objectives, TeacherAndStudentAlikeGiveNoLossAndNoGradient) {
  Problem problem = random_problem();
  problem.teacher_hidden = problem.hidden;
  problem.teacher_head = problem.head;
  for (const char* name : {"kl_forward", "kl_reverse", "jsd"}) {
    const Computed computed = compute(*make_objective(name), problem);
    EXPECT_NEAR(computed.output.loss, 0, 1e-7) << name;
    EXPECT_LT(computed.output.grad_hidden.abs().max().item<double>(), 1e-7) << name;
  }
}

// A tensor of [rows, vocabulary] would be 805 MB.
TEST(Objectives, MemoryStaysFarBelowTheVocabulary) {
  const int64_t rows = 4096, vocab = 49152, width = 8;
  const Problem problem = random_problem(96, vocab, width, vocab);
  const auto tiled = [&](const at::Tensor& tensor) {
    return tensor.dim() == 1 ? tensor.repeat({43}).slice(0, 0, rows)
                             : tensor.repeat({43, 1}).slice(0, 0, rows).contiguous();
  };
  Problem large = problem;
  for (at::Tensor* tensor :
       {&large.hidden, &large.targets, &large.teacher_hidden, &large.policy.advantage, &large.policy.old_log_prob,
        &large.policy.rollout_log_prob, &large.policy.reference_log_prob}) {
    *tensor = tiled(*tensor);
  }
  large.policy.sequence = at::arange(rows, at::kLong).div(3, "floor");
  for (const char* name : {"cross_entropy", "kl_forward", "grpo"}) {
    const std::unique_ptr<Objective> objective = make_objective(name);
    compute(*objective, problem);  // buffers that exist once
    const int64_t before = base::peak_resident_bytes();
    const Computed computed = compute(*objective, large);
    EXPECT_TRUE(std::isfinite(computed.output.loss));
    EXPECT_LT(base::peak_resident_bytes() - before, (150 << 20) + test::kKeptOfFreed) << name;
  }
}

}  // namespace
}  // namespace rqat::objective
