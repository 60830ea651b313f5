// The batch that a run fails on is kept for whoever looks into it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/micro_run.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/pipeline/runner.h"

namespace rqat::pipeline {
namespace {

using nlohmann::json;

constexpr const char* kData = R"(seed: 3
device: cpu
models:
  base: {path: tiny}
quant:
  w3: {num_bits: 3, group_size: 16}
data:
  train: {generators: [chain_sums], num_examples: 6, max_length: 1024}
stages:
)";

class BadBatch : public testing::Test {
 protected:
  BadBatch() {
    write_micro_run(folder_);
    base::set_log_level(base::LogLevel::kError);
    base::Progress::set_enabled(false);
  }
  ~BadBatch() override {
    base::set_log_level(base::LogLevel::kInfo);
    base::Progress::set_enabled(true);
  }

  std::string fault_of(const std::string& stages) {
    folder_.write("recipe.yaml", kData + stages);
    const Recipe recipe = load_recipe(
        folder_.path() / "recipe.yaml",
        {"models.base.path=" + (folder_.path() / "tiny").string(), "output_dir=" + (folder_.path() / "run").string()});
    return message_of<base::DataError>([&] { run_recipe(recipe, {}); });
  }
  std::vector<json> rows_of(const std::string& file) const {
    std::vector<json> rows;
    for (const std::string& line : base::split(base::read_file(folder_.path() / "run" / file), '\n')) {
      if (!line.empty()) rows.push_back(json::parse(line));
    }
    return rows;
  }
  RecipeFolder folder_;
};

TEST_F(BadBatch, OfSupervisedTrainingWithItsLosses) {
  const std::string fault = fault_of(
      "  - {id: sft, type: train, model: base, data: train, max_steps: 5, batch_size: 3, freeze: [],\n"
      "     optimizer: {adamw: {learning_rate: 1.0e+39}}}\n");
  expect_contains(fault, "step 1: the loss is not finite");
  expect_contains(fault, (folder_.path() / "run/sft/bad_batch_step_1.jsonl").string());
  const auto rows = rows_of("sft/bad_batch_step_1.jsonl");
  ASSERT_EQ(rows.size(), 3u);
  for (const json& row : rows) {
    EXPECT_EQ(row["step"], 1);
    EXPECT_TRUE(row["value"].is_null()) << "JSON has no word for what is not finite";
    EXPECT_FALSE(row["ids"].empty());
    EXPECT_FALSE(row["text"].get<std::string>().empty());
    EXPECT_GE(row["record"], 1);
    EXPECT_LE(row["record"], 6);
  }
}

TEST_F(BadBatch, OfReinforcementTheAnswersWithTheirRewards) {
  // The second pass over the answers meets the weights that the first one has broken.
  const std::string fault = fault_of(
      "  - {id: rtn, type: quantize, model: base, quant: w3, initializer: rtn}\n"
      "  - {id: rl, type: reinforce, model: rtn, data: train, objective: grpo, max_steps: 3, prompts_per_step: 2,\n"
      "     num_generations: 6, max_completion_length: 96, num_iterations: 2, freeze: [],\n"
      "     reward: {format: {weight: 1, marker: e, require_finished: false}},\n"
      "     optimizer: {adamw: {learning_rate: 1.0e+39}}}\n");
  expect_contains(fault, "finite");
  const size_t begin = fault.find("bad_batch_step_");
  ASSERT_NE(begin, std::string::npos) << fault;
  const std::string name = fault.substr(begin, fault.find(".jsonl", begin) + 6 - begin);
  const auto rows = rows_of("rl/" + name);
  ASSERT_EQ(rows.size(), 12u);
  double rewards = 0;
  for (const json& row : rows) {
    EXPECT_TRUE(row["value"] == 0 || row["value"] == 1) << row;
    rewards += row["value"].get<double>();
    EXPECT_FALSE(row["ids"].empty());
  }
  EXPECT_GT(rewards, 0);
  EXPECT_LT(rewards, 12);
}

}  // namespace
}  // namespace rqat::pipeline
