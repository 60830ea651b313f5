#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "model/plain_model.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

constexpr const char* kGentle =
    "max_steps: 1, batch_size: 6, optimizer: {adamw: {learning_rate: 0.01, adam_epsilon: 0.001}}";

SupervisedConfig settings(const std::string& text) { return read<SupervisedConfig>("{" + text + "}"); }

double largest_difference(const io::TensorMap& a, const io::TensorMap& b) {
  double largest = 0;
  for (const auto& [name, tensor] : a) largest = std::max(largest, model::max_difference(tensor, b.at(name)));
  return largest;
}

TEST(Supervised, AMemorisedBatchLosesItsLoss) {
  const auto model = float_model();
  Log log;
  train_supervised(*model, nullptr, random_examples(4),
                   settings("max_steps: 40, batch_size: 4, optimizer: {adamw: {learning_rate: 0.01}}"), 1,
                   log.callbacks());
  ASSERT_EQ(log.rows.size(), 40u);
  EXPECT_GT(log.rows.front().at("loss"), 2.0);
  EXPECT_LT(log.rows.back().at("loss"), 0.1 * log.rows.front().at("loss"));
  EXPECT_NEAR(log.rows.front().at("loss"), log.rows.front().at("cross_entropy"), 1e-6);
}

// The oracle is the same architecture with ordinary autograd in fp64.
TEST(Supervised, LossAndGradientNormAreThoseOfPlainAutograd) {
  for (const bool tied : {true, false}) {
    const model::ModelConfig config = model::tiny_config("llama", tied);
    const io::TensorMap weights = model::random_weights(config);
    const auto model = model::tiny_model(config, weights);
    const std::vector<data::Example> examples = random_examples(6);
    Log log;
    train_supervised(*model, nullptr, examples,
                     settings(std::string(kGentle) + ", freeze: [], max_tokens_per_micro_batch: 20"), 1,
                     log.callbacks());

    model::PlainModel plain(config, weights);
    const at::AutoGradMode grad_mode(true);
    at::Tensor loss = at::zeros({}, at::kDouble);
    int64_t targets = 0;
    for (const data::Example& example : examples) {
      const at::Tensor ids = at::tensor(example.ids, at::kLong), hidden = plain.hidden(ids);
      const at::Tensor logits = at::matmul(hidden, plain.weight(tied ? "model.embed_tokens" : "lm_head").t());
      const at::Tensor log_prob =
          logits.slice(0, 0, -1).log_softmax(1).gather(1, ids.slice(0, 1).unsqueeze(1)).squeeze(1);
      loss = loss - log_prob.slice(0, 2).sum();
      targets += example.num_targets();
    }
    loss = loss / static_cast<double>(targets);
    std::vector<at::Tensor> leaves;
    for (const auto& [name, tensor] : plain.weights()) leaves.push_back(tensor);
    double squares = 0;
    for (const at::Tensor& gradient : torch::autograd::grad({loss}, leaves))
      squares += gradient.square().sum().item<double>();
    EXPECT_NEAR(log.rows[0].at("loss"), loss.item<double>(), 1e-5);
    EXPECT_NEAR(log.rows[0].at("grad_norm"), std::sqrt(squares), 1e-4 * std::sqrt(squares));
    EXPECT_EQ(log.rows[0].at("target_tokens"), static_cast<double>(targets));
  }
}

TEST(Supervised, MicroBatchesEqualOneBatch) {
  const std::vector<data::Example> examples = random_examples(6);
  const auto run = [&](const std::string& limit) {
    auto model = float_model();
    Log log;
    train_supervised(*model, nullptr, examples,
                     settings(std::string(kGentle) + ", freeze: [], max_tokens_per_micro_batch: " + limit), 1,
                     log.callbacks());
    return std::pair{log.rows[0].at("loss"), copy_of_weights(*model)};
  };
  const auto [whole_loss, whole] = run("4096");
  for (const char* limit : {"1", "20"}) {
    const auto [loss, weights] = run(limit);
    EXPECT_NEAR(loss, whole_loss, 1e-5);
    EXPECT_LT(largest_difference(weights, whole), 1e-5);
  }
  EXPECT_GT(largest_difference(copy_of_weights(*float_model()), whole), 1e-3);
}

TEST(Supervised, FrozenRolesStay) {
  const auto role_of = [](const std::string& name) -> std::string {
    if (name.find("norm") != std::string::npos) return "norm";
    if (name.find("embed") != std::string::npos) return "embedding";
    return name == "lm_head.weight" ? "head" : "weight";
  };
  for (const std::string& frozen : {std::string("weight"), std::string("norm"), std::string("embedding"),
                                    std::string("head"), std::string("embedding, head")}) {
    const auto model = float_model(/*tied=*/false);
    const io::TensorMap before = copy_of_weights(*model);
    train_supervised(*model, nullptr, random_examples(6), settings(std::string(kGentle) + ", freeze: [" + frozen + "]"),
                     1, {});
    for (const auto& [name, tensor] : model->weights()) {
      const bool stays = frozen.find(role_of(name)) != std::string::npos;
      EXPECT_EQ(at::equal(tensor, before.at(name)), stays) << name << " with " << frozen;
    }
  }
}

TEST(Supervised, EmbeddingAndHeadStayByDefault) {
  const auto model = float_model(/*tied=*/false);
  const io::TensorMap before = copy_of_weights(*model);
  train_supervised(*model, nullptr, random_examples(6), settings(kGentle), 1, {});
  EXPECT_TRUE(at::equal(model->weights().at("lm_head.weight"), before.at("lm_head.weight")));
  EXPECT_TRUE(at::equal(model->weights().at("model.embed_tokens.weight"), before.at("model.embed_tokens.weight")));
  EXPECT_FALSE(at::equal(model->weights().at("model.norm.weight"), before.at("model.norm.weight")));
}

// Everything else frozen: the loss can only fall when the head that logits are made with is the one that was stepped.
TEST(Supervised, ATiedHeadIsTrainedWithTheEmbedding) {
  const auto model = float_model();
  Log log;
  train_supervised(
      *model, nullptr, random_examples(4),
      settings("max_steps: 30, batch_size: 4, freeze: [weight, norm], optimizer: {adamw: {learning_rate: 0.02}}"), 1,
      log.callbacks());
  EXPECT_LT(log.rows.back().at("loss"), 0.5 * log.rows.front().at("loss"));
  const auto fresh = model::tiny_model(model::tiny_config(), copy_of_weights(*model));
  const nn::TokenBatch batch = nn::make_token_batch({{1, 2, 3, 4}});
  const at::NoGradGuard no_grad;
  EXPECT_EQ(model::max_difference(model->logits(model->hidden(batch)), fresh->logits(fresh->hidden(batch))), 0);
}

TEST(Supervised, ATiedHeadIsNotFrozenWithoutTheEmbedding) {
  for (const char* frozen : {"head", "embedding", "weight, head"}) {
    const auto config = settings(std::string(kGentle) + ", freeze: [" + frozen + "]");
    EXPECT_NE(message_of<base::ConfigError>([&] { StepRunner(*float_model(), config); }).find("both are one tensor"),
              std::string::npos);
    EXPECT_NO_THROW(StepRunner(*float_model(/*tied=*/false), config));
  }
  for (const char* frozen : {"", "head, embedding", "norm"})
    EXPECT_NO_THROW(StepRunner(*float_model(), settings(std::string(kGentle) + ", freeze: [" + frozen + "]")));
}

TEST(Supervised, Bfloat16ModelsKeepFp32Masters) {
  const model::ModelConfig config = model::tiny_config();
  const auto model = model::tiny_model(config, model::random_weights(config), at::kBFloat16);
  Log log;
  train_supervised(*model, nullptr, random_examples(4),
                   settings("max_steps: 30, batch_size: 4, optimizer: {adamw: {learning_rate: 0.01}}"), 1,
                   log.callbacks());
  EXPECT_LT(log.rows.back().at("loss"), 0.3 * log.rows.front().at("loss"));
  for (nn::Parameter* parameter : model->parameters()) {
    if (!parameter->trainable) continue;
    EXPECT_EQ(parameter->master.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(parameter->compute, parameter->master.to(at::kBFloat16))) << parameter->name;
  }
}

TEST(Supervised, QuantizedWeightsAreRefreshedOncePerStep) {
  const auto model = quantized_model();
  nn::LinearBase& linear = *model->linears()[4];
  std::vector<at::Tensor> seen;  // W_hat of each forward
  linear.set_input_observer([&](const at::Tensor&) { seen.push_back(linear.dense_weight().clone()); });
  const std::vector<at::Tensor> before = codes_of(*model);
  // Two examples of 5 tokens or more in each of three micro-batches.
  std::vector<data::Example> examples(6, random_examples(1)[0]);
  const int64_t length = static_cast<int64_t>(examples[0].ids.size());
  train_supervised(
      *model, nullptr, examples,
      settings("max_steps: 3, batch_size: 6, optimizer: {adamw: {learning_rate: 0.02}}, max_tokens_per_micro_batch: " +
               std::to_string(2 * length)),
      1, {});
  ASSERT_EQ(seen.size(), 9u);
  for (size_t i = 0; i < 9; ++i) EXPECT_TRUE(at::equal(seen[i], seen[i / 3 * 3])) << i;
  EXPECT_FALSE(at::equal(seen[3], seen[0]));
  EXPECT_FALSE(at::equal(seen[6], seen[3]));
  EXPECT_GT(codes_that_differ(codes_of(*model), before), 0);
  // What the forward multiplies with is the codes, dequantized: scale * (code - zero_point).
  for (nn::LinearBase* layer : model->linears()) {
    const quant::FakeQuantLinear& quantized_layer = quantized(*layer);
    const quant::QuantParams params = quantized_layer.params();
    const auto spread = [&](const at::Tensor& grouped) { return grouped.to(at::kFloat).repeat_interleave(16, 1); };
    const at::Tensor wanted =
        spread(params.scale) * (quantized_layer.codes().to(at::kFloat) - spread(params.zero_point));
    EXPECT_TRUE(at::equal(layer->dense_weight(), wanted)) << layer->name();
  }
}

TEST(Supervised, ADistilledModelStartsFromTheCodesOfPtq) {
  const auto model = quantized_model(2);
  const std::vector<at::Tensor> codes = codes_of(*model);
  // As a folder after PTQ is read: scales and codes, no master.
  for (nn::LinearBase* linear : model->linears()) {
    quant::FakeQuantLinear& layer = quantized(*linear);
    layer.restore(layer.scale_master().clone(), layer.zero_point_master().clone(), layer.codes(), {});
  }
  const io::TensorMap weights = copy_of_weights(*model);
  const SupervisedConfig config =
      settings("objective: kl_forward, max_steps: 1, batch_size: 4, optimizer: {adamw: {learning_rate: 0.3}}");
  {
    const StepRunner runner(*model, config);
    EXPECT_EQ(codes_that_differ(codes_of(*model), codes), 0);
  }
  const auto teacher = float_model();
  std::vector<at::Tensor> first;
  nn::LinearBase& linear = *model->linears().back();
  linear.set_input_observer([&](const at::Tensor&) { first.push_back(linear.dense_weight().clone()); });
  Log log;
  train_supervised(*model, teacher.get(), random_examples(4), config, 1, log.callbacks());
  EXPECT_TRUE(at::equal(first.at(0), weights.at(linear.name() + ".weight")));
  EXPECT_GT(log.rows[0].at("kl_forward"), 0.01);
  EXPECT_GT(codes_that_differ(codes_of(*model), codes), 0);
}

TEST(Supervised, DistillationBringsAQuantizedModelNearItsTeacher) {
  for (const char* estimator : {"ste", "clipped_ste", "lsq"}) {
    const auto teacher = float_model(), model = quantized_model(2, estimator);
    Log log;
    train_supervised(
        *model, teacher.get(), random_examples(8),
        settings("objective: kl_forward, max_steps: 40, batch_size: 8, optimizer: {adamw: {learning_rate: 0.01, "
                 "scale_learning_rate: 0.001}}"),
        1, log.callbacks());
    EXPECT_LT(log.rows.back().at("loss"), 0.4 * log.rows.front().at("loss")) << estimator;
  }
}

TEST(Supervised, AModelThatEqualsItsTeacherHasNoLoss) {
  for (const char* objective : {"kl_forward", "kl_reverse", "jsd"}) {
    const auto teacher = float_model(), model = float_model();
    Log log;
    train_supervised(*model, teacher.get(), random_examples(6),
                     settings(std::string(kGentle) + ", objective: " + objective), 1, log.callbacks());
    EXPECT_NEAR(log.rows[0].at("loss"), 0, 1e-6) << objective;
    EXPECT_LT(log.rows[0].at("grad_norm"), 1e-5) << objective;
  }
}

TEST(Supervised, SeedDecidesTheOrder) {
  const std::vector<data::Example> examples = random_examples(20);
  const auto run = [&](uint64_t seed) {
    const auto model = quantized_model();
    train_supervised(*model, nullptr, examples, settings("max_steps: 4, batch_size: 3"), seed, {});
    return copy_of_weights(*model);
  };
  const io::TensorMap first = run(1), again = run(1), other = run(2);
  EXPECT_EQ(largest_difference(first, again), 0);
  EXPECT_GT(largest_difference(first, other), 0);
}

TEST(Supervised, CallbacksComeAtTheirSteps) {
  const auto model = float_model();
  Log log;
  train_supervised(*model, nullptr, random_examples(4),
                   settings("max_steps: 6, batch_size: 2, eval_steps: 2, logging_steps: 2"), 1, log.callbacks());
  EXPECT_EQ(log.evaluations, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(log.steps, (std::vector<int64_t>{0, 2, 4, 5}));
  for (const char* key :
       {"loss", "cross_entropy", "entropy", "grad_norm", "learning_rate", "step_seconds", "tokens_per_second"}) {
    EXPECT_EQ(log.rows[0].count(key), 1u) << key;
  }
  EXPECT_NO_THROW(
      train_supervised(*model, nullptr, random_examples(4), settings("max_steps: 3, eval_steps: 1"), 1, {}));
}

TEST(Supervised, ALossThatIsNotFiniteNamesStepAndRecords) {
  const auto model = float_model();
  std::vector<data::Example> examples = random_examples(3);
  for (data::Example& example : examples)
    std::replace(example.ids.begin(), example.ids.end(), int64_t{13}, int64_t{14});
  examples[1].ids[1] = 13;
  model->embedding().compute.select(0, 13).fill_(std::numeric_limits<float>::quiet_NaN());
  const io::TensorMap before = copy_of_weights(*model);
  const std::string text = message_of<base::DataError>(
      [&] { train_supervised(*model, nullptr, examples, settings("max_steps: 1, batch_size: 3"), 1, {}); });
  EXPECT_NE(text.find("step 0"), std::string::npos) << text;
  const size_t records = text.find("records of the batch: ");
  ASSERT_NE(records, std::string::npos) << text;
  for (const char* record : {"1", "2", "3"}) EXPECT_NE(text.find(record, records), std::string::npos) << text;
  EXPECT_TRUE(at::equal(model->weights().at("model.norm.weight"), before.at("model.norm.weight")));
}

TEST(Supervised, ALossFarAboveTheOthersStopsAndItsBatchIsSaved) {
  const auto model = float_model();
  SupervisedConfig config = settings("max_steps: 30, batch_size: 2, divergence_factor: 3, divergence_window: 12");
  std::vector<BatchItem> saved;
  int64_t last = -1, at_step = -1;
  Callbacks callbacks;
  callbacks.on_metrics = [&](int64_t step, const Metrics&) {
    last = step;
    if (step == 14) model->embedding().compute.mul_(300);  // the next losses are those of another model
  };
  callbacks.save_batch = [&](int64_t step, const std::vector<BatchItem>& items) {
    at_step = step;
    saved = items;
    return std::string("the file");
  };
  const std::vector<data::Example> examples = random_examples(3);
  const std::string text =
      message_of<base::DataError>([&] { train_supervised(*model, nullptr, examples, config, 1, callbacks); });
  EXPECT_NE(text.find("more than 3 times the median"), std::string::npos) << text;
  EXPECT_NE(text.find("saved with their losses in the file"), std::string::npos) << text;
  EXPECT_EQ(last, 14);
  EXPECT_EQ(at_step, 15);
  ASSERT_EQ(saved.size(), 2u);
  for (const BatchItem& item : saved) {
    ASSERT_TRUE(item.record >= 1 && item.record <= 3);
    EXPECT_EQ(item.ids, examples[static_cast<size_t>(item.record - 1)].ids);
    EXPECT_GT(item.value, 3);
  }
}

TEST(Supervised, AGradientThatIsNotFiniteNamesStepAndTensor) {
  const auto model = float_model();
  const SupervisedConfig config = settings("max_steps: 10");
  StepRunner runner(*model, config);
  for (nn::Parameter* parameter : model->parameters()) {
    if (parameter->name == "model.norm.weight") parameter->grad_buffer().fill_(std::numeric_limits<float>::infinity());
  }
  const std::string text = message_of<base::DataError>([&] { runner.finish_step(7); });
  EXPECT_NE(text.find("step 7"), std::string::npos) << text;
  EXPECT_NE(text.find("model.norm.weight"), std::string::npos) << text;
}

TEST(Supervised, ABatchWithoutTargetsIsAnError) {
  const auto model = float_model();
  const std::vector<data::Example> silent{{{1, 2, 3}, {1, 0, 0}}};
  EXPECT_NE(message_of<base::DataError>([&] {
              train_supervised(*model, nullptr, silent, settings("batch_size: 2"), 1, {});
            }).find("step 0"),
            std::string::npos);
}

TEST(Supervised, AMicroBatchWithoutTargetsIsNone) {
  const auto model = float_model();
  const std::vector<data::Example> examples{{{1, 2, 3}, {0, 0, 0}}, {{4, 5, 6}, {0, 1, 1}}};
  Log log;
  train_supervised(*model, nullptr, examples, settings("max_steps: 1, batch_size: 2, max_tokens_per_micro_batch: 3"), 1,
                   log.callbacks());
  EXPECT_EQ(log.rows.at(0).at("target_tokens"), 2);
  EXPECT_TRUE(std::isfinite(log.rows[0].at("loss")));
}

TEST(Supervised, FaultsOfTheObjective) {
  const auto model = float_model();
  const auto run = [&](const std::string& objective) {
    train_supervised(*model, nullptr, random_examples(2),
                     settings("max_steps: 1, batch_size: 2, objective: " + objective), 1, {});
  };
  EXPECT_THROW(run("kl_forward"), base::ConfigError);
  EXPECT_THROW(run("{mix: {parts: [cross_entropy, jsd]}}"), base::ConfigError);
  EXPECT_THROW(run("grpo"), base::ConfigError);
}

TEST(Supervised, FaultsOfTheSettings) {
  const auto model = float_model();
  const SupervisedConfig all_frozen = settings("freeze: [weight, norm, embedding, head]");
  EXPECT_THROW(train_supervised(*model, nullptr, random_examples(2), all_frozen, 1, {}), base::ConfigError);
  EXPECT_NE(message_of<base::ConfigError>([] { settings("freeze: [wieght]"); }).find("wieght"), std::string::npos);
  EXPECT_THROW(settings("batch_size: 0"), base::ConfigError);
  EXPECT_THROW(settings("max_steps: 0"), base::ConfigError);
  EXPECT_THROW(settings("objective: cross"), base::ConfigError);
  EXPECT_THROW(train_supervised(*model, nullptr, {}, settings("max_steps: 1"), 1, {}), base::DataError);
}

}  // namespace
}  // namespace rqat::train
