#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "generate/fake_text.h"
#include "model/tiny_model.h"
#include "rqat/base/error.h"
#include "rqat/rl/rollout.h"

namespace rqat::rl {
namespace {

/// Counts digits; nothing for records whose family is "hard".
class DigitReward : public Reward {
 public:
  double score(const data::Record& record, const std::string& response, bool finished) const override {
    if (record.family == "hard") return 0;
    double digits = finished ? 0.5 : 0;
    for (const char character : response) digits += character >= '0' && character <= '9' ? 1 : 0;
    return digits;
  }
};

class RolloutTest : public testing::Test {
 protected:
  RolloutTest() {
    const model::ModelConfig config = model::tiny_config();
    model_ = model::tiny_model(config, model::random_weights(config));
    for (const auto& [prompt, family] : {std::pair{"1+2=?", "easy"}, {"9*9", "hard"}, {"say 7", "easy"}}) {
      data::Record record;
      record.prompt = prompt;
      record.family = family;
      records_.push_back(record);
    }
    sampling_.temperature = 2;
    sampling_.max_new_tokens = 24;
  }

  RolloutBatch run(bool scale = true, uint64_t seed = 1, int64_t slots = 5) {
    generate::Engine engine(*model_, {generate::CharacterTokenizer::kStop}, slots, 64);
    return collect(engine, records_, data_, tokenizer_, chat_, DigitReward(), 6, sampling_, scale, seed);
  }

  std::unique_ptr<model::CausalLM> model_;
  generate::CharacterTokenizer tokenizer_;
  generate::PlainChat chat_;
  std::vector<data::Record> records_;
  data::DataConfig data_;
  generate::SamplingConfig sampling_;
};

TEST_F(RolloutTest, GroupsComeInOrderWithTheirRewards) {
  const RolloutBatch batch = run();
  ASSERT_EQ(batch.rollouts.size(), 18u);
  for (size_t i = 0; i < batch.rollouts.size(); ++i) {
    const Rollout& rollout = batch.rollouts[i];
    const data::Record& record = records_[i / 6];
    EXPECT_EQ(rollout.group, static_cast<int64_t>(i / 6));
    EXPECT_EQ(rollout.prompt, tokenizer_.encode(record.prompt));
    EXPECT_EQ(rollout.response, tokenizer_.decode(rollout.completion.ids, true));
    EXPECT_EQ(rollout.reward, DigitReward().score(record, rollout.response, rollout.completion.finished));
    EXPECT_EQ(rollout.completion.log_probs.size(), rollout.completion.ids.size());
  }
}

TEST_F(RolloutTest, AdvantagesAreThoseOfEachGroup) {
  for (const bool scale : {true, false}) {
    const RolloutBatch batch = run(scale);
    for (size_t group = 0; group < 3; ++group) {
      std::vector<double> rewards;
      for (size_t i = 0; i < 6; ++i) rewards.push_back(batch.rollouts[group * 6 + i].reward);
      const std::vector<double> wanted = group_advantages(rewards, scale);
      for (size_t i = 0; i < 6; ++i) EXPECT_EQ(batch.rollouts[group * 6 + i].advantage, wanted[i]);
    }
    EXPECT_EQ(batch.rollouts[7].advantage, 0);
    EXPECT_NE(batch.rollouts[0].advantage, 0);
  }
}

TEST_F(RolloutTest, MetricsDescribeTheBatch) {
  const RolloutBatch batch = run();
  double reward = 0, length = 0, cut = 0, deviations = 0;
  for (size_t group = 0; group < 3; ++group) {
    double sum = 0, squares = 0;
    for (size_t i = group * 6; i < group * 6 + 6; ++i) {
      const Rollout& rollout = batch.rollouts[i];
      sum += rollout.reward;
      squares += rollout.reward * rollout.reward;
      length += static_cast<double>(rollout.completion.ids.size());
      cut += rollout.completion.finished ? 0 : 1;
    }
    reward += sum;
    deviations += std::sqrt(squares / 6 - sum * sum / 36);
  }
  EXPECT_NEAR(batch.metrics.at("reward"), reward / 18, 1e-12);
  EXPECT_NEAR(batch.metrics.at("reward_std"), deviations / 3, 1e-9);
  EXPECT_NEAR(batch.metrics.at("mean_length"), length / 18, 1e-12);
  EXPECT_NEAR(batch.metrics.at("cut_share"), cut / 18, 1e-12);
  EXPECT_NEAR(batch.metrics.at("zero_std_groups"), 1.0 / 3, 1e-12);
  EXPECT_NEAR(batch.metrics.at("nonzero_advantage_groups"), 2.0 / 3, 1e-12);
  EXPECT_GT(batch.metrics.at("tokens_per_second"), 0);
  EXPECT_GT(batch.metrics.at("seconds"), 0);
}

TEST_F(RolloutTest, SeedDecidesTheSamplesAndSlotsDoNot) {
  const RolloutBatch first = run(true, 1, 5), again = run(true, 1, 2), other = run(true, 2, 5);
  size_t different = 0;
  for (size_t i = 0; i < first.rollouts.size(); ++i) {
    EXPECT_EQ(first.rollouts[i].completion.ids, again.rollouts[i].completion.ids);
    different += first.rollouts[i].completion.ids != other.rollouts[i].completion.ids ? 1 : 0;
  }
  EXPECT_GT(different, 15u);
}

TEST_F(RolloutTest, NoProblemsIsAnError) {
  records_.clear();
  EXPECT_THROW(run(), base::DataError);
}

}  // namespace
}  // namespace rqat::rl
