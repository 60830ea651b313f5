// Data that a stage writes: what is in it, who reads it, and runs that are interrupted on the way.
#include <gtest/gtest.h>
#include <signal.h>

#include "pipeline/micro_run.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/pipeline/dry_run.h"
#include "rqat/pipeline/runner.h"

namespace rqat::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRecipe = R"(seed: 3
device: cpu
output_dir: run
models:
  base: {path: tiny}
quant:
  w3: {num_bits: 3, group_size: 16}
data:
  problems: {generators: [chain_sums], num_examples: 5, instruction: Think., system_prompt: Be kind.}
  solved: {generators: [chain_sums], num_examples: 7, seed: 1}
  train: {mixture: {answers: 1, solved: 1}, shuffle_buffer: 3, too_long: drop, max_length: 2048}
stages:
  - id: answers
    type: synthesize
    model: base
    data: problems
    sampling: {temperature: 1.0, max_new_tokens: 12}
    num_generations: 2
    prompts_per_part: 2
  - {id: gptq, type: quantize, model: base, quant: w3, initializer: gptq, calibration: {data: answers, num_samples: 3, sequence_length: 40}}
  - {id: kd, type: train, model: gptq, teacher: base, data: train, objective: kl_forward, max_steps: 6, batch_size: 2, save_steps: 1}
  - {id: scores, type: evaluate, models: [base, kd], tasks: [answers], sampling: {max_new_tokens: 4}}
)";

class Synthesize : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    base::set_log_level(base::LogLevel::kError);
    base::Progress::set_enabled(false);
  }
  static void TearDownTestSuite() {
    base::set_log_level(base::LogLevel::kInfo);
    base::Progress::set_enabled(true);
  }

  Synthesize() {
    write_micro_run(folder_);
    folder_.write("recipe.yaml", kRecipe);
  }
  ~Synthesize() override { base::request_stop(0); }

  fs::path out(const std::string& name = "run") const { return folder_.path() / name; }
  Recipe recipe(const std::vector<std::string>& more = {}, const std::string& name = "run") const {
    std::vector<std::string> overrides{"models.base.path=" + (folder_.path() / "tiny").string(),
                                       "output_dir=" + out(name).string()};
    overrides.insert(overrides.end(), more.begin(), more.end());
    return load_recipe(folder_.path() / "recipe.yaml", overrides);
  }
  void run(const std::vector<std::string>& more = {}, const std::string& name = "run") {
    run_recipe(recipe(more, name), {});
  }
  std::string fault(const std::vector<std::string>& more) const {
    return test::message_of<base::ConfigError>([&] { recipe(more); });
  }
  std::vector<json> lines() const {
    std::vector<json> all;
    for (const std::string& line : base::split(base::read_file(out() / "answers/examples.jsonl"), '\n')) {
      if (!line.empty()) all.push_back(json::parse(line));
    }
    return all;
  }
  RecipeFolder folder_;
};

TEST_F(Synthesize, WritesConversationsThatLaterStagesRead) {
  run();
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 10u);
  for (size_t i = 0; i < all.size(); ++i) {
    const json& messages = all[i]["messages"];
    ASSERT_EQ(messages.size(), 3u);
    EXPECT_EQ(messages[0], (json{{"role", "system"}, {"content", "Be kind."}}));
    EXPECT_TRUE(messages[1]["content"].get<std::string>().ends_with("\nThink."));
    EXPECT_EQ(messages[2]["role"], "assistant");
    EXPECT_EQ(all[i]["record"], i / 2 + 1);
    EXPECT_EQ(all[i]["family"], "chain_sums");
    EXPECT_FALSE(all[i]["correct"].get<bool>()) << "random weights do not add";
    EXPECT_LE(all[i]["response_tokens"], 12);
    EXPECT_EQ(all[i]["finished"], all[i]["response_tokens"] < 12);
    EXPECT_FALSE(all[i]["reference"].get<std::string>().empty());
  }
  EXPECT_NE(all[0]["messages"], all[1]["messages"]) << "two answers to one problem";
  const json summary = io::read_json(out() / "answers/stage.json")["summary"];
  EXPECT_EQ(summary["problems"], 5);
  EXPECT_EQ(summary["answers"], 10);
  EXPECT_EQ(summary["kept"], 10);
  EXPECT_EQ(summary["correct_share"], 0);
  EXPECT_FALSE(fs::exists(out() / "answers/checkpoints"));
  EXPECT_EQ(io::read_json(out() / "gptq/stage.json")["inputs"].size(), 2u);
  EXPECT_EQ(io::read_json(out() / "kd/stage.json")["inputs"].size(), 3u) << "model, teacher and the data of a part";
}

TEST_F(Synthesize, InterruptedAfterEveryPartItEndsLikeTheWhole) {
  int stops = 0;
  std::string first;
  for (bool stopped = true; stopped; ++stops) {
    ASSERT_LE(stops, 30);
    base::request_stop(SIGTERM);
    try {
      run();
      stopped = false;
    } catch (const base::Interrupted& interrupted) {
      if (first.empty()) first = interrupted.what();
    }
    base::request_stop(0);
  }
  test::expect_contains(first, "stage answers: stopped after 2 of 5 problems, saved in ");
  EXPECT_GE(stops, 11) << "two inside answers, the blocks of gptq, the steps of kd, and the ends of stages";
  run({}, "whole");
  expect_same_results(results_of(out()), results_of(out("whole")));
}

TEST_F(Synthesize, WhatReadsItIsStaleWhenItChanges) {
  run();
  const auto fingerprint = [&](const std::string& id) {
    return io::read_json(out() / id / "stage.json")["fingerprint"];
  };
  const json gptq = fingerprint("gptq"), kd = fingerprint("kd"), scores = fingerprint("scores");
  run();
  EXPECT_EQ(fingerprint("kd"), kd);
  run({"stages.answers.sampling.temperature=0.5"});
  EXPECT_NE(fingerprint("gptq"), gptq);
  EXPECT_NE(fingerprint("kd"), kd);
  EXPECT_NE(fingerprint("scores"), scores);
}

TEST_F(Synthesize, FiltersAndTheirFaults) {
  const std::string fault = test::message_of<base::DataError>([&] { run({"stages.answers.keep=correct"}); });
  test::expect_contains(fault, "stage answers: none of 10 answers is kept (keep: correct; ");
  folder_.write("open.jsonl", "{\"prompt\": \"Sing!\", \"completion\": \"La\"}\n{\"q\": \"Sing!\"}\n");
  const std::vector<std::string> open{"data.problems={file: " + (folder_.path() / "open.jsonl").string() +
                                          ", mapping: {question: \"q?\"}, num_examples: 1}",
                                      "stages.answers.keep=correct"};
  test::expect_contains(test::message_of<base::DataError>([&] { run(open); }), "the question is empty");
  folder_.write("open.jsonl", "{\"q\": \"Sing!\"}\n");
  test::expect_contains(test::message_of<base::DataError>([&] { run(open); }),
                        "open.jsonl:1): keep: correct needs a right answer to compare with");
}

TEST_F(Synthesize, DryRunKnowsWhatWillBeWritten) {
  const std::string text = dry_run(recipe());
  test::expect_contains(text, "answers (synthesize): base -> data");
  test::expect_contains(text, "10 answers of about");
  test::expect_contains(text, "6 steps x 2 examples of");
}

TEST_F(Synthesize, FaultsOfDataInRecipes) {
  test::expect_contains(
      fault({"data.train.mixture={answrs: 1}"}),
      "data.train.mixture: unknown data 'answrs'; did you mean 'answers'? (known: answers, problems, ");
  test::expect_contains(fault({"data.train.mixture={train: 1}"}), "data.train.mixture: 'train' is made of itself");
  test::expect_contains(fault({"data.a={mixture: {b: 1}}", "data.b={mixture: {a: 1}}"}), "is made of itself");
  test::expect_contains(fault({"data.answers={generators: [chain_sums]}"}),
                        "stages.answers: data.answers has the same name");
  test::expect_contains(fault({"stages.answers.data=train"}), "stages read each other in a circle: ");
  test::expect_contains(fault({"stages.kd.data=trian"}), "stages.kd: unknown data 'trian'; did you mean 'train'?");
}

}  // namespace
}  // namespace rqat::pipeline
