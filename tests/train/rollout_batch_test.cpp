#include "train/rollout_batch.h"

#include <gtest/gtest.h>

#include "rqat/base/rng.h"
#include "train/backpropagate.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

rl::Rollout rollout(int64_t group, std::vector<int64_t> prompt, std::vector<int64_t> answer, double advantage) {
  rl::Rollout made;
  made.group = group;
  made.prompt = std::move(prompt);
  made.completion.log_probs.assign(answer.size(), -0.5f);
  for (size_t i = 0; i < answer.size(); ++i) made.completion.log_probs[i] -= static_cast<float>(i);
  made.completion.ids = std::move(answer);
  made.advantage = advantage;
  return made;
}

rl::RolloutBatch random_rollouts(const std::vector<int64_t>& prompt_lengths, int64_t answers) {
  base::Rng rng(11);
  const auto draw = [&](int64_t length) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < length; ++i) ids.push_back(rng.integer(0, 49));
    return ids;
  };
  rl::RolloutBatch batch;
  for (size_t group = 0; group < prompt_lengths.size(); ++group) {
    const std::vector<int64_t> prompt = draw(prompt_lengths[group]);
    for (int64_t i = 0; i < answers; ++i) {
      batch.rollouts.push_back(rollout(static_cast<int64_t>(group), prompt, draw(rng.integer(1, 6)), rng.normal()));
    }
  }
  return batch;
}

TEST(RolloutBatch, PromptsAreLaidOutOnce) {
  rl::RolloutBatch batch;
  batch.rollouts = {rollout(0, {1, 2, 3}, {10, 11}, 0.5), rollout(0, {1, 2, 3}, {}, -1),
                    rollout(0, {1, 2, 3}, {20}, -0.5), rollout(1, {4}, {30, 31}, 2)};
  const std::vector<PolicyBatch> made = make_policy_batches(groups_of(batch), 1, 100);
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(made[0].num_rows, 5);
  EXPECT_EQ(made[0].num_sequences, 3);
  ASSERT_EQ(made[0].micro_batches.size(), 1u);
  const PolicyMicroBatch& micro_batch = made[0].micro_batches[0];
  ASSERT_EQ(micro_batch.tokens.size(), kTokenMultiple);
  EXPECT_EQ(numbers(micro_batch.tokens.ids.slice(0, 0, 7)), (std::vector<int64_t>{1, 2, 3, 10, 3, 4, 30}));
  EXPECT_EQ(numbers(micro_batch.tokens.positions.slice(0, 0, 7)), (std::vector<int64_t>{0, 1, 2, 3, 2, 0, 1}));
  EXPECT_EQ(numbers(micro_batch.rows), (std::vector<int64_t>{2, 3, 4, 5, 6}));
  EXPECT_EQ(numbers(micro_batch.targets), (std::vector<int64_t>{10, 11, 20, 30, 31}));
  EXPECT_EQ(numbers(micro_batch.sequence), (std::vector<int64_t>{0, 0, 1, 2, 2}));
  EXPECT_TRUE(at::equal(micro_batch.advantage, at::tensor({0.5, 0.5, -0.5, 2.0, 2.0}, at::kFloat)));
  EXPECT_TRUE(at::equal(micro_batch.rollout_log_prob, at::tensor({-0.5, -1.5, -0.5, -0.5, -1.5}, at::kFloat)));
  std::vector<int64_t> parents;
  for (const nn::Segment& segment : micro_batch.tokens.segments) parents.push_back(segment.parent);
  EXPECT_EQ(parents, (std::vector<int64_t>{-1, 0, 0, -1, -1}));  // the last fills up
  EXPECT_NO_THROW(nn::check_token_batch(micro_batch.tokens));
}

TEST(RolloutBatch, GroupsWithoutAdvantagesAreLeftOut) {
  rl::RolloutBatch batch;
  batch.rollouts = {rollout(0, {1}, {2}, 0), rollout(0, {1}, {3}, 0), rollout(1, {1}, {2}, 0), rollout(1, {1}, {3}, 1)};
  std::vector<RolloutGroup> groups = groups_of(batch);
  ASSERT_EQ(groups.size(), 2u);
  keep_informative(groups);
  ASSERT_EQ(groups.size(), 1u);
  ASSERT_EQ(groups[0].rollouts.size(), 2u);
  EXPECT_EQ(groups[0].rollouts[0], &batch.rollouts[2]);
  EXPECT_TRUE(make_policy_batches({}, 2, 10).empty());
}

TEST(RolloutBatch, StepsAndMicroBatchesShareTheGroups) {
  const rl::RolloutBatch batch = random_rollouts({4, 5, 6, 4, 5}, 3);
  const std::vector<RolloutGroup> groups = groups_of(batch);
  for (const int64_t mini_batches : {1, 2, 5, 9}) {
    for (const int64_t limit : {1, 30, 1000}) {
      const std::vector<PolicyBatch> made = make_policy_batches(groups, mini_batches, limit);
      ASSERT_EQ(made.size(), static_cast<size_t>(std::min<int64_t>(mini_batches, 5)));
      int64_t rows = 0, sequences = 0, wanted = 0, fewest = 99;
      for (const PolicyBatch& step : made) {
        int64_t step_rows = 0;
        for (const PolicyMicroBatch& micro_batch : step.micro_batches) {
          step_rows += micro_batch.rows.numel();
          EXPECT_EQ(micro_batch.tokens.size() % kTokenMultiple, 0);
          // Filling aside, only an answer that is alone with its prompt may be longer than the limit.
          const auto answers = micro_batch.sequence[-1].item<int64_t>() + 1;
          EXPECT_TRUE(answers == 1 || micro_batch.rows[-1].item<int64_t>() < limit);
          fewest = std::min(fewest, answers);
          EXPECT_TRUE(limit > 1 || answers == 1);
        }
        EXPECT_EQ(step.num_rows, step_rows);
        rows += step.num_rows;
        sequences += step.num_sequences;
      }
      for (const rl::Rollout& each : batch.rollouts) wanted += static_cast<int64_t>(each.completion.ids.size());
      EXPECT_EQ(rows, wanted);
      EXPECT_EQ(sequences, 15);
      EXPECT_TRUE(limit < 1000 || fewest % 3 == 0) << "a group was cut without need";
    }
  }
}

struct Gradients {
  at::Tensor log_prob;  ///< of the answers' tokens, in the order of the rollouts
  double loss = 0;
  io::TensorMap by_name;
};

io::TensorMap gradients_of(model::CausalLM& model) {
  io::TensorMap gradients;
  for (nn::Parameter* parameter : model.parameters()) {
    if (parameter->grad.defined()) gradients[parameter->name] = parameter->grad.clone();
  }
  return gradients;
}

/// Each rollout as a whole sequence of its own.
Gradients separately(const rl::RolloutBatch& batch, const objective::Objective& objective, const LoopConfig& config) {
  const auto model = float_model();
  StepRunner runner(*model, config);
  Gradients result;
  std::vector<at::Tensor> log_probs;
  int64_t rows = 0;
  for (const rl::Rollout& each : batch.rollouts) rows += static_cast<int64_t>(each.completion.ids.size());
  for (const rl::Rollout& each : batch.rollouts) {
    data::Example example;
    example.ids = each.prompt;
    example.loss_mask.assign(each.prompt.size(), 0);
    example.ids.insert(example.ids.end(), each.completion.ids.begin(), each.completion.ids.end());
    example.loss_mask.resize(example.ids.size(), 1);
    const nn::TargetBatch collated = collate({&example}, at::kCPU);
    log_probs.push_back(
        objective::log_probs(hidden_rows(*model, collated.tokens, collated.rows), runner.head(), collated.targets)
            .log_prob);
    const int64_t length = collated.rows.numel();
    objective::PolicyTargets policy;
    policy.advantage = at::full({length}, each.advantage, at::kFloat);
    policy.sequence = at::zeros({length}, at::kLong);
    policy.num_sequences = static_cast<int64_t>(batch.rollouts.size());
    objective::ObjectiveInput input;
    input.targets = collated.targets;
    input.head = runner.head();
    input.policy = &policy;
    input.normalizer = static_cast<double>(rows);
    result.loss += backpropagate(*model, collated.tokens, collated.rows, objective, std::move(input)).loss;
  }
  result.log_prob = at::cat(log_probs);
  result.by_name = gradients_of(*model);
  return result;
}

Gradients together(const rl::RolloutBatch& batch, const objective::Objective& objective, const LoopConfig& config,
                   int64_t limit) {
  const auto model = float_model();
  StepRunner runner(*model, config);
  Gradients result;
  std::vector<at::Tensor> log_probs;
  const std::vector<PolicyBatch> made = make_policy_batches(groups_of(batch), 1, limit);
  for (const PolicyMicroBatch& micro_batch : made.at(0).micro_batches) {
    log_probs.push_back(objective::log_probs(hidden_rows(*model, micro_batch.tokens, micro_batch.rows), runner.head(),
                                             micro_batch.targets)
                            .log_prob);
    objective::PolicyTargets policy;
    policy.advantage = micro_batch.advantage;
    policy.sequence = micro_batch.sequence;
    policy.num_sequences = made[0].num_sequences;
    objective::ObjectiveInput input;
    input.targets = micro_batch.targets;
    input.head = runner.head();
    input.policy = &policy;
    input.normalizer = static_cast<double>(made[0].num_rows);
    result.loss += backpropagate(*model, micro_batch.tokens, micro_batch.rows, objective, std::move(input)).loss;
  }
  result.log_prob = at::cat(log_probs);
  result.by_name = gradients_of(*model);
  return result;
}

class SharedPrompts : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(SystemPrompt, SharedPrompts, testing::Values(0, 18));  // tokens all prompts begin with

TEST_P(SharedPrompts, GiveTheGradientsOfWholeSequences) {
  rl::RolloutBatch batch = random_rollouts({6, 1, 2, 9}, 3);
  for (rl::Rollout& each : batch.rollouts) each.prompt.insert(each.prompt.begin(), static_cast<size_t>(GetParam()), 5);
  if (GetParam() > 0) {
    const std::vector<PolicyBatch> made = make_policy_batches(groups_of(batch), 1, 1000);
    EXPECT_EQ(made[0].micro_batches[0].tokens.segments[0].end, 18);
    EXPECT_NO_THROW(nn::check_token_batch(made[0].micro_batches[0].tokens));
  }
  const auto config = read<LoopConfig>("{freeze: []}");
  auto by_sequence = objective::objectives().find_info("grpo")->make_config();
  base::Faults faults;
  base::read_config(*by_sequence, base::Node::parse("{loss_type: sequence}", "test"), "grpo", faults);
  base::Component sequence_mean("grpo");
  sequence_mean.config = by_sequence;
  for (const base::Component& component : {base::Component("grpo"), sequence_mean}) {
    const auto objective = objective::objectives().make(component);
    const Gradients wanted = separately(batch, *objective, config);
    for (const int64_t limit : {1, 40, 1000}) {
      const Gradients actual = together(batch, *objective, config, limit);
      EXPECT_LT(model::max_difference(actual.log_prob, wanted.log_prob), 1e-5);
      EXPECT_NEAR(actual.loss, wanted.loss, 1e-5);
      ASSERT_EQ(actual.by_name.size(), wanted.by_name.size());
      ASSERT_GT(wanted.by_name.size(), 15u);
      for (const auto& [name, gradient] : wanted.by_name) {
        EXPECT_LT(model::max_difference(actual.by_name.at(name), gradient),
                  1e-5 * gradient.abs().max().item<double>() + 1e-6)
            << name;
      }
    }
  }
}

}  // namespace
}  // namespace rqat::train
