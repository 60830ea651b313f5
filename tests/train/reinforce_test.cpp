#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "generate/fake_text.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

/// Looks at the model whenever answers are decoded: that is while rollouts are collected.
class WatchingTokenizer : public generate::CharacterTokenizer {
 public:
  explicit WatchingTokenizer(model::CausalLM& model) : model_(model) {}
  std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const override {
    ++decoded;
    most_bytes = std::max(most_bytes, model_.weight_bytes());
    for (nn::LinearBase* linear : model_.linears())
      all_packed = all_packed && linear->execution() == nn::Execution::kPacked;
    return CharacterTokenizer::decode(ids, skip_special);
  }
  mutable int64_t most_bytes = 0, decoded = 0;
  mutable bool all_packed = true;

 private:
  model::CausalLM& model_;
};

class ReinforceTest : public testing::Test {
 protected:
  /// Problems whose answer is one digit; the last number of a response counts.
  void use_problems(const std::string& answer) {
    records_.clear();
    for (const char* prompt : {"1+2=?", "3+4=?", "2*2", "say it"}) {
      data::Record record;
      record.prompt = prompt;
      record.family = record.problem.family = "chain_sums";
      record.problem.answer = answer;
      records_.push_back(record);
    }
  }
  ReinforceTest() { use_problems("7"); }

  static ReinforceConfig settings(const std::string& more = "") {
    return read<ReinforceConfig>(
        "{prompts_per_step: 4, num_generations: 16, max_completion_length: 6, temperature: 1.5, max_slots: 24, "
        "reward: {correctness: {require_finished: false}}" +
        (more.empty() ? "" : ", " + more) + "}");
  }

  Log train(model::CausalLM& model, const ReinforceConfig& config, model::CausalLM* reference = nullptr,
            const text::Tokenizer* tokenizer = nullptr) {
    Log log;
    train_reinforce(model, reference, tokenizer != nullptr ? *tokenizer : tokenizer_, chat_,
                    {generate::CharacterTokenizer::kStop}, records_, data_, config, 3, log.callbacks());
    return log;
  }

  std::vector<data::Record> records_;
  generate::CharacterTokenizer tokenizer_;
  generate::PlainChat chat_;
  data::DataConfig data_;
};

TEST_F(ReinforceTest, TheRewardOfALearnableAnswerRises) {
  const auto model = quantized_model();
  const std::vector<at::Tensor> codes = codes_of(*model);
  const Log log = train(*model, settings("max_steps: 40, optimizer: {adamw: {learning_rate: 0.01}}"));
  const auto mean = [&](size_t begin) {
    double sum = 0;
    for (size_t i = begin; i < begin + 8; ++i) sum += log.rows.at(i).at("reward") / 8;
    return sum;
  };
  EXPECT_LT(mean(0), 0.4);
  EXPECT_GT(mean(32), mean(0) + 0.4);
  EXPECT_GT(log.rows.front().at("codes_flipped"), 0);
  EXPECT_LE(log.rows.front().at("codes_flipped"), 1);
  EXPECT_GT(codes_that_differ(codes_of(*model), codes), 0);
}

TEST_F(ReinforceTest, NoDenseWeightIsHeldWhileSampling) {
  const auto model = quantized_model();
  int64_t dense = 0;
  for (nn::LinearBase* linear : model->linears()) dense += 4 * linear->spec().in_features * linear->spec().out_features;
  int64_t packed_forwards = 0, dense_forwards = 0, most = 0;
  model->linears()[3]->set_input_observer([&](const at::Tensor&) {
    if (model->linears()[3]->execution() == nn::Execution::kPacked) {
      ++packed_forwards;
      most = std::max(most, model->weight_bytes());
    } else {
      ++dense_forwards;
    }
  });
  const WatchingTokenizer tokenizer(*model);
  train(*model, settings("max_steps: 2"), nullptr, &tokenizer);
  EXPECT_EQ(tokenizer.decoded, 2 * 4 * 16);
  EXPECT_TRUE(tokenizer.all_packed);
  EXPECT_GT(packed_forwards, 2 * 6);
  EXPECT_GT(dense_forwards, 0);
  model->set_execution(nn::Execution::kPacked);
  EXPECT_EQ(tokenizer.most_bytes, model->weight_bytes());
  EXPECT_EQ(most, model->weight_bytes());
  EXPECT_LT(most, dense / 2);
  for (nn::LinearBase* linear : model->linears()) {  // nor any one of them
    EXPECT_LT(linear->weight_bytes(), 4 * linear->spec().in_features * linear->spec().out_features) << linear->name();
  }
}

// Rollouts run on packed codes with a cache, the update on W_hat with shared prompts: the weights are the same.
TEST_F(ReinforceTest, RolloutAndTrainingLogProbsAgree) {
  for (const int64_t bits : {2, 4}) {
    const auto model = quantized_model(bits);
    const Log log = train(*model, settings("max_steps: 3, optimizer: {adamw: {learning_rate: 0.01}}"));
    for (const Metrics& metrics : log.rows) {
      EXPECT_LT(metrics.at("log_prob_gap"), 1e-4);
      EXPECT_NEAR(metrics.at("importance_weight"), 1, 1e-4);
      EXPECT_NEAR(metrics.at("policy_ratio"), 1, 1e-6);
      EXPECT_EQ(metrics.at("clip_share"), 0);
    }
  }
}

TEST_F(ReinforceTest, EqualRewardsChangeNothing) {
  use_problems("123456789");
  const auto model = quantized_model();
  const std::vector<at::Tensor> codes = codes_of(*model);
  const io::TensorMap before = copy_of_weights(*model);
  const Log log = train(*model, settings("max_steps: 2, optimizer: {adamw: {learning_rate: 0.1, weight_decay: 0.5}}"));
  for (const Metrics& metrics : log.rows) {
    EXPECT_EQ(metrics.at("reward"), 0);
    EXPECT_EQ(metrics.at("trained_groups"), 0);
    EXPECT_EQ(metrics.at("zero_std_groups"), 1);
    EXPECT_EQ(metrics.count("loss"), 0u);
  }
  EXPECT_EQ(codes_that_differ(codes_of(*model), codes), 0);
  for (const auto& [name, tensor] : model->weights()) EXPECT_TRUE(at::equal(tensor, before.at(name))) << name;
  EXPECT_EQ(model->linears()[0]->execution(), nn::Execution::kTrain);
}

TEST_F(ReinforceTest, SeveralPassesOverOneBatchLeaveTheOldPolicy) {
  const auto once = quantized_model(), often = quantized_model();
  const char* optimizer = ", optimizer: {adamw: {learning_rate: 0.02}}";
  const Log single = train(*once, settings(std::string("max_steps: 1") + optimizer));
  const Log several =
      train(*often, settings(std::string("max_steps: 1, num_iterations: 2, mini_batches: 2") + optimizer));
  EXPECT_EQ(several.rows[0].at("reward"), single.rows[0].at("reward"));  // the same rollouts
  EXPECT_EQ(single.rows[0].at("policy_ratio"), 1);
  EXPECT_GT(std::abs(several.rows[0].at("policy_ratio") - 1), 1e-3);
  EXPECT_LT(several.rows[0].at("log_prob_gap"), 1e-4);  // old log-probs are taken before the first update
  EXPECT_GT(codes_that_differ(codes_of(*once), codes_of(*often)), 0);
  EXPECT_TRUE(std::isfinite(several.rows[0].at("loss")));
}

TEST_F(ReinforceTest, MicroBatchesEqualOneBatch) {
  const auto run = [&](const std::string& limit) {
    const auto model = quantized_model();
    const Log log =
        train(*model, settings("max_steps: 1, optimizer: {adamw: {learning_rate: 0.01, adam_epsilon: 0.001}}, "
                               "max_tokens_per_micro_batch: " +
                               limit));
    io::TensorMap masters;
    for (nn::LinearBase* linear : model->linears()) masters[linear->name()] = quantized(*linear).master_weight();
    return std::pair{log.rows[0], masters};
  };
  const auto [whole, whole_masters] = run("100000");
  const auto [split, split_masters] = run("1");
  EXPECT_NEAR(split.at("loss"), whole.at("loss"), 1e-5);
  EXPECT_NEAR(split.at("grad_norm"), whole.at("grad_norm"), 1e-4 * whole.at("grad_norm"));
  for (const auto& [name, master] : whole_masters)
    EXPECT_LT(model::max_difference(split_masters.at(name), master), 1e-5) << name;
}

TEST_F(ReinforceTest, TheReferenceHoldsThePolicy) {
  const auto model = quantized_model(), reference = quantized_model();
  const Log log =
      train(*model, settings("max_steps: 6, objective: {grpo: {beta: 0.1}}, optimizer: {adamw: {learning_rate: 0.01}}"),
            reference.get());
  EXPECT_NEAR(log.rows.front().at("reference_kl"), 0, 1e-6);
  EXPECT_GT(log.rows.back().at("reference_kl"), 1e-4);
}

TEST_F(ReinforceTest, TheReferencePullsWithoutAnyReward) {
  use_problems("123456789");
  const auto model = float_model(), reference = float_model(true, 5);
  const Log log =
      train(*model, settings("max_steps: 8, objective: {grpo: {beta: 1}}, optimizer: {adamw: {learning_rate: 0.003}}"),
            reference.get());
  EXPECT_EQ(log.rows.front().at("reward"), 0);
  EXPECT_EQ(log.rows.front().at("trained_groups"), 4);
  EXPECT_LT(log.rows.back().at("reference_kl"), 0.9 * log.rows.front().at("reference_kl"));
}

TEST_F(ReinforceTest, SeedDecidesEverything) {
  const auto first = quantized_model(), again = quantized_model();
  train(*first, settings("max_steps: 2"));
  train(*again, settings("max_steps: 2"));
  EXPECT_EQ(codes_that_differ(codes_of(*first), codes_of(*again)), 0);
  const io::TensorMap weights = again->weights();
  for (const auto& [name, tensor] : first->weights()) EXPECT_TRUE(at::equal(tensor, weights.at(name))) << name;
}

TEST_F(ReinforceTest, CallbacksComeAtTheirSteps) {
  const auto model = quantized_model();
  const Log log = train(*model, settings("max_steps: 4, eval_steps: 2, logging_steps: 3"));
  EXPECT_EQ(log.evaluations, (std::vector<int64_t>{2}));
  EXPECT_EQ(log.steps, (std::vector<int64_t>{0, 3}));
  for (const char* key : {"reward", "trained_groups", "loss", "entropy", "grad_norm", "learning_rate", "codes_flipped",
                          "rollout_seconds", "update_seconds", "step_seconds"}) {
    EXPECT_EQ(log.rows[0].count(key), 1u) << key;
  }
}

TEST_F(ReinforceTest, ALossThatIsNotFiniteNamesTheStep) {
  const auto model = quantized_model(), reference = quantized_model();
  reference->embedding().compute.fill_(std::numeric_limits<float>::quiet_NaN());
  const std::string text =
      message_of<base::DataError>([&] { train(*model, settings("objective: {grpo: {beta: 0.1}}"), reference.get()); });
  EXPECT_NE(text.find("step 0: the policy loss is not finite"), std::string::npos) << text;
}

TEST_F(ReinforceTest, FaultsOfTheSettings) {
  const auto model = quantized_model();
  EXPECT_THROW(train(*model, settings("objective: cross_entropy")), base::ConfigError);
  EXPECT_THROW(train(*model, settings("objective: {mix: {parts: [grpo, kl_forward]}}")), base::ConfigError);
  EXPECT_THROW(train(*model, settings("objective: {grpo: {beta: 0.1}}")), base::ConfigError);  // no reference
  EXPECT_THROW(settings("num_iterations: 0"), base::ConfigError);
  EXPECT_THROW(read<ReinforceConfig>("{num_generations: 1}"), base::ConfigError);
  records_.clear();
  EXPECT_THROW(train(*model, settings()), base::DataError);
}

}  // namespace
}  // namespace rqat::train
