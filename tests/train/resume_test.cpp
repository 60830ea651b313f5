// A loop that goes on from a saved state is the loop that was never interrupted, bit for bit.
#include <gtest/gtest.h>

#include "generate/fake_text.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

constexpr int64_t kSteps = 6;

LoopState copy_of(const LoopState& state) {
  LoopState copy = state;
  for (auto& [name, tensor] : copy.tensors) tensor = tensor.clone();
  return copy;
}

/// Everything that a loop leaves: rows, states after each step, weights.
struct Outcome {
  Log log;
  std::vector<LoopState> states;
  io::TensorMap weights;
};

using Train = std::function<void(model::CausalLM& model, const Callbacks& callbacks)>;

Outcome run(const Train& train, std::unique_ptr<model::CausalLM> model, const LoopState* start = nullptr) {
  Outcome outcome;
  Callbacks callbacks = outcome.log.callbacks();
  callbacks.start = start;
  callbacks.on_step_end = [&](int64_t done, const std::function<LoopState()>& state) {
    outcome.states.push_back(copy_of(state()));
    EXPECT_EQ(outcome.states.back().step, done);
  };
  train(*model, callbacks);
  outcome.weights = copy_of_weights(*model);
  return outcome;
}

void expect_same(const io::TensorMap& a, const io::TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

/// Rows without what a clock gives.
std::vector<Metrics> numbers_of(const Log& log, size_t from) {
  std::vector<Metrics> rows(log.rows.begin() + static_cast<std::ptrdiff_t>(from), log.rows.end());
  for (Metrics& row : rows)
    std::erase_if(row, [](const auto& entry) { return entry.first.find("second") != std::string::npos; });
  return rows;
}

/// Interrupts after every single step, each time with a model made anew.
void expect_exact_resume(const Train& train, const std::function<std::unique_ptr<model::CausalLM>()>& make) {
  const Outcome whole = run(train, make());
  ASSERT_EQ(whole.states.size(), static_cast<size_t>(kSteps));
  ASSERT_FALSE(whole.states.front().tensors.empty());
  for (size_t done = 1; done < static_cast<size_t>(kSteps); ++done) {
    SCOPED_TRACE(done);
    const Outcome rest = run(train, make(), &whole.states[done - 1]);
    expect_same(rest.weights, whole.weights);
    expect_same(rest.states.back().tensors, whole.states.back().tensors);
    EXPECT_EQ(rest.states.back().cursor, whole.states.back().cursor);
    EXPECT_EQ(rest.states.back().recent_losses, whole.states.back().recent_losses);
    EXPECT_EQ(numbers_of(rest.log, 0), numbers_of(whole.log, done));
    EXPECT_EQ(rest.log.steps.front(), static_cast<int64_t>(done));
  }
}

SupervisedConfig supervised(const std::string& more = "") {
  return read<SupervisedConfig>("{max_steps: 6, batch_size: 3, optimizer: {adamw: {learning_rate: 0.01}}" + more + "}");
}

TEST(Resume, CrossEntropyOfAFloatModel) {
  const auto examples = random_examples(7);
  const SupervisedConfig config = supervised(", freeze: []");
  expect_exact_resume(
      [&](model::CausalLM& model, const Callbacks& callbacks) {
        train_supervised(model, nullptr, examples, config, 1, callbacks);
      },
      [] { return float_model(); });
}

TEST(Resume, DistillationWithLearnedScales) {
  const auto examples = random_examples(7);
  const SupervisedConfig config = supervised(", objective: kl_forward, max_tokens_per_micro_batch: 16");
  const auto teacher = float_model(true, 5);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto teacher_of_type = quantized_model(8, "ste", dtype);
    expect_exact_resume(
        [&](model::CausalLM& model, const Callbacks& callbacks) {
          train_supervised(model, teacher_of_type.get(), examples, config, 1, callbacks);
        },
        [&] { return quantized_model(2, "lsq", dtype); });
  }
}

TEST(Resume, ScalesWithTheirCodesHeld) {
  const auto examples = random_examples(7);
  for (const char* freeze : {"[embedding, head]", "[weight, embedding, head]"}) {
    const SupervisedConfig config = supervised(base::cat(", freeze: ", freeze));
    expect_exact_resume(
        [&](model::CausalLM& model, const Callbacks& callbacks) {
          train_supervised(model, nullptr, examples, config, 1, callbacks);
        },
        [] { return quantized_model(3, "held_codes"); });
  }
}

TEST(Resume, PolicyWithSeveralUpdatesPerBatch) {
  std::vector<data::Record> records(4);
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].prompt = std::to_string(i) + "+2=?";
    records[i].family = records[i].problem.family = "chain_sums";
    records[i].problem.answer = "7";
  }
  const generate::CharacterTokenizer tokenizer;
  const generate::PlainChat chat;
  const data::DataConfig data;
  const auto config = read<ReinforceConfig>(
      "{max_steps: 6, prompts_per_step: 3, num_generations: 8, max_completion_length: 5, temperature: 1.5, "
      "num_iterations: 2, mini_batches: 2, max_slots: 16, optimizer: {adamw: {learning_rate: 0.01}}, "
      "reward: {correctness: {require_finished: false}}}");
  expect_exact_resume(
      [&](model::CausalLM& model, const Callbacks& callbacks) {
        train_reinforce(model, nullptr, tokenizer, chat, {generate::CharacterTokenizer::kStop}, records, data, config,
                        3, callbacks);
      },
      [] { return quantized_model(); });
}

TEST(Resume, EvaluationsAndRowsComeWhenTheyWouldHave) {
  const auto examples = random_examples(7);
  const SupervisedConfig config = supervised(", eval_steps: 2, logging_steps: 4");
  const Train train = [&](model::CausalLM& model, const Callbacks& callbacks) {
    train_supervised(model, nullptr, examples, config, 1, callbacks);
  };
  const Outcome whole = run(train, float_model());
  EXPECT_EQ(whole.log.evaluations, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(whole.log.steps, (std::vector<int64_t>{0, 4, 5}));
  const Outcome rest = run(train, float_model(), &whole.states[3]);
  EXPECT_EQ(rest.log.evaluations, (std::vector<int64_t>{4})) << "it was not yet made when step 4 was done";
  EXPECT_EQ(rest.log.steps, (std::vector<int64_t>{4, 5}));
}

TEST(Resume, AStateOfAnotherModelIsRefused) {
  const auto examples = random_examples(7);
  const SupervisedConfig config = supervised();
  const Train train = [&](model::CausalLM& model, const Callbacks& callbacks) {
    train_supervised(model, nullptr, examples, config, 1, callbacks);
  };
  const LoopState good = run(train, float_model()).states.front();
  const std::string norm = "master.model.layers.0.input_layernorm.weight";
  ASSERT_TRUE(good.tensors.contains(norm));
  const auto message_with = [&](const std::function<void(io::TensorMap&)>& change) {
    LoopState state = copy_of(good);
    change(state.tensors);
    return message_of<base::IoError>([&] { run(train, float_model(), &state); });
  };
  EXPECT_NE(message_with([&](io::TensorMap& t) { t.erase(norm); }).find("lacks " + norm), std::string::npos);
  EXPECT_NE(message_with([&](io::TensorMap& t) { t[norm] = at::zeros({3}); }).find("another shape"), std::string::npos);
  EXPECT_NE(message_with([&](io::TensorMap& t) { t["master.other"] = at::zeros({3}); }).find("not trained here"),
            std::string::npos);
  EXPECT_NE(message_with([&](io::TensorMap& t) { t.erase("optimizer.step"); }).find("lacks step"), std::string::npos);
}

}  // namespace
}  // namespace rqat::train
