// zero: 1 in several processes: the same numbers as without, from a part of the memory.
#include "train/optimizer_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dist/ranks.h"
#include "generate/fake_text.h"
#include "rqat/base/strings.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

constexpr int64_t kSteps = 4;

std::unique_ptr<dist::Communicator> join() {
  dist::ConnectOptions options;
  options.version = "test";
  options.connect_timeout_seconds = 60;
  return dist::connect(dist::world_from_environment(), options);
}

struct Outcome {
  std::vector<Metrics> rows;
  std::vector<LoopState> states;  ///< of the main rank
  io::TensorMap weights;
  std::vector<at::Tensor> codes, masters;
};

using Train = std::function<void(model::CausalLM& model, int64_t zero, const Callbacks& callbacks)>;

Outcome run(dist::Communicator& world, const Train& train, std::unique_ptr<model::CausalLM> model, int64_t zero,
            const LoopState* start = nullptr) {
  Outcome outcome;
  Log log;
  Callbacks callbacks = log.callbacks();
  callbacks.world = &world;
  callbacks.start = start;
  callbacks.on_step_end = [&](int64_t, const std::function<LoopState()>& state) {
    LoopState now = state();
    for (auto& [name, tensor] : now.tensors) tensor = tensor.clone();
    outcome.states.push_back(std::move(now));
  };
  train(*model, zero, callbacks);
  outcome.rows = log.rows;
  for (Metrics& row : outcome.rows)
    std::erase_if(row, [](const auto& entry) { return entry.first.find("second") != std::string::npos; });
  outcome.weights = copy_of_weights(*model);
  outcome.codes = codes_of(*model);
  for (nn::LinearBase* linear : model->linears()) outcome.masters.push_back(quantized(*linear).master_weight());
  return outcome;
}

void expect_same(const io::TensorMap& a, const io::TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

void expect_same(const Outcome& a, const Outcome& b, bool main) {
  EXPECT_EQ(a.rows, b.rows);
  expect_same(a.weights, b.weights);
  EXPECT_EQ(codes_that_differ(a.codes, b.codes), 0);
  if (!main) return;
  expect_same(a.states.back().tensors, b.states.back().tensors);
  for (size_t i = 0; i < a.masters.size(); ++i) EXPECT_TRUE(at::equal(a.masters[i], b.masters[i])) << i;
}

/// zero: 1 gives what zero: 0 gives, and each goes on from the other's state.
void expect_same_as_unsharded(dist::Communicator& world, const Train& train,
                              const std::function<std::unique_ptr<model::CausalLM>()>& make) {
  const Outcome plain = run(world, train, make(), 0), sharded = run(world, train, make(), 1);
  EXPECT_TRUE(std::any_of(plain.rows.begin(), plain.rows.end(),
                          [](const Metrics& row) { return row.contains("loss") && row.at("loss") != 0; }));
  expect_same(plain, sharded, world.is_main());
  for (const int64_t zero : {0, 1}) {
    LoopState start = (zero == 0 ? sharded : plain).states[1];
    // As a checkpoint on disk: every rank reads what the main rank wrote.
    std::map<std::string, at::Tensor> whole;
    const std::vector<std::string> names = base::split(world.broadcast_text([&] {
      std::vector<std::string> list;
      for (const auto& [name, tensor] : start.tensors) list.push_back(name);
      return base::join(list, "\n");
    }()),
                                                       '\n');
    for (const std::string& name : names) {
      if (name == "optimizer.step") {
        whole[name] = start.tensors.at(name);
        continue;
      }
      const LoopState& shapes = plain.states[1];  // complete on every rank
      whole[name] = world.is_main() ? start.tensors.at(name).contiguous() : at::empty_like(shapes.tensors.at(name));
      world.broadcast(whole[name]);
    }
    start.tensors = {whole.begin(), whole.end()};
    Outcome rest = run(world, train, make(), zero, &start);
    const auto skipped = plain.rows.size() - rest.rows.size();
    rest.rows.insert(rest.rows.begin(), plain.rows.begin(), plain.rows.begin() + static_cast<std::ptrdiff_t>(skipped));
    expect_same(plain, rest, world.is_main());
  }
}

TEST(ShardsRank, DISABLED_Supervised) {
  const std::string estimator = std::getenv("ESTIMATOR");
  const auto world = join();
  const auto examples = random_examples(7);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto teacher = quantized_model(8, "ste", dtype);
    for (const char* freeze : {"[]", "[embedding, head, norm]", "[weight, embedding, head]"}) {
      if (estimator != "lsq" && freeze[1] == 'w') continue;  // held_codes: the frozen master is not in the state
      SCOPED_TRACE(base::cat(estimator, " ", freeze, " ", c10::toString(dtype)));
      const Train train = [&](model::CausalLM& model, int64_t zero, const Callbacks& callbacks) {
        const auto config = read<SupervisedConfig>(base::cat(
            "{max_steps: ", kSteps, ", batch_size: 4, objective: kl_forward, max_grad_norm: 0.01, freeze: ", freeze,
            ", zero: ", zero, ", optimizer: {adamw: {learning_rate: 0.01}}}"));
        train_supervised(model, teacher.get(), examples, config, 1, callbacks);
      };
      expect_same_as_unsharded(*world, train, [&] { return quantized_model(2, estimator, dtype); });
    }
  }
  world->finish();
}

TEST(ShardsRank, DISABLED_Policy) {
  const auto world = join();
  std::vector<data::Record> records(4);
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].prompt = std::to_string(i) + "+2=?";
    records[i].family = records[i].problem.family = "chain_sums";
    records[i].problem.answer = "7";
  }
  const generate::CharacterTokenizer tokenizer;
  const generate::PlainChat chat;
  const data::DataConfig data;
  const Train train = [&](model::CausalLM& model, int64_t zero, const Callbacks& callbacks) {
    const auto config = read<ReinforceConfig>(base::cat(
        "{max_steps: ", kSteps, ", zero: ", zero,
        ", prompts_per_step: 3, num_generations: 8, max_completion_length: 5, temperature: 1.5, num_iterations: 2, "
        "mini_batches: 2, max_slots: 16, optimizer: {adamw: {learning_rate: 0.01}}, "
        "reward: {correctness: {require_finished: false}}}"));
    train_reinforce(model, nullptr, tokenizer, chat, {generate::CharacterTokenizer::kStop}, records, data, config, 3,
                    callbacks);
  };
  expect_same_as_unsharded(*world, train, [] { return quantized_model(); });
  world->finish();
}

/// Masters and moments of one step, and which layers have a master.
std::pair<int64_t, int64_t> held(dist::Communicator& world, int64_t zero) {
  const auto model = quantized_model(4, "lsq", at::kBFloat16);
  const auto config = read<SupervisedConfig>(base::cat("{freeze: [embedding, head], zero: ", zero, "}"));
  StepRunner runner(*model, config, world);
  for (nn::LinearBase* linear : model->linears()) {
    for (const at::Tensor& gradient : linear->accumulated_gradients()) gradient.fill_(1e-3);
  }
  runner.finish_step(0);
  int64_t masters = 0;
  for (nn::LinearBase* linear : model->linears()) masters += quantized(*linear).master_weight().defined() ? 1 : 0;
  return {runner.held_bytes(), masters};
}

TEST(ShardsRank, DISABLED_Memory) {
  const auto world = join();
  const auto [all_bytes, all_masters] = held(*world, 0);
  const auto [own_bytes, own_masters] = held(*world, 1);
  std::cout << world->who() << ": " << own_bytes << " of " << all_bytes << " bytes, " << own_masters << " of "
            << all_masters << " masters\n";
  EXPECT_LT(static_cast<double>(own_bytes), 1.3 * static_cast<double>(all_bytes) / world->size());
  EXPECT_EQ(world->sum({{"masters", static_cast<double>(own_masters)}}).at("masters"), all_masters);
  world->finish();
}

TEST(ShardsRank, DISABLED_OtherWeights) {
  const auto world = join();
  const auto model = float_model(true, static_cast<uint64_t>(world->rank()) + 1);
  const auto config = read<SupervisedConfig>("{max_steps: 2, batch_size: 4}");
  Callbacks callbacks;
  callbacks.world = world.get();
  const std::string fault =
      message_of<base::DataError>([&] { train_supervised(*model, nullptr, random_examples(7), config, 1, callbacks); });
  EXPECT_THAT(fault, testing::HasSubstr("step 0: the weights of rank 1 on " + dist::host_name() + " differ"));
  world->finish();
}

void expect_ranks_pass(const std::string& name, int ranks, const std::map<std::string, std::string>& more = {}) {
  for (const test::Ended& ended : test::run_ranks("ShardsRank.DISABLED_" + name, ranks, more))
    EXPECT_EQ(ended.code, 0) << ended.output;
}

TEST(OptimizerShardsMultiProcess, TwoAndThreeRanksGiveWhatTheyGiveWithout) {
  for (const char* estimator : {"clipped_ste", "lsq", "held_codes"}) {
    for (const int ranks : {2, 3}) expect_ranks_pass("Supervised", ranks, {{"ESTIMATOR", estimator}});
  }
}
TEST(OptimizerShardsMultiProcess, PolicyGivesWhatItGivesWithout) { expect_ranks_pass("Policy", 2); }
TEST(OptimizerShardsMultiProcess, MastersAndMomentsAreSharedOut) { expect_ranks_pass("Memory", 3); }
TEST(OptimizerShardsMultiProcess, WeightsThatDifferAreAFault) { expect_ranks_pass("OtherWeights", 2); }

}  // namespace
}  // namespace rqat::train
