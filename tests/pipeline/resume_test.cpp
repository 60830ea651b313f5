// Runs that are interrupted, fail or find other settings, inside this process.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/fault_point.h"
#include "pipeline/micro_run.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/runner.h"

namespace rqat::pipeline {
namespace {

namespace fs = std::filesystem;
using Results = std::map<std::string, std::string>;

class Resume : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    base::set_log_level(base::LogLevel::kError);
    base::Progress::set_enabled(false);
  }
  static void TearDownTestSuite() {
    base::set_log_level(base::LogLevel::kInfo);
    base::Progress::set_enabled(true);
  }

  Resume() { write_micro_run(folder_); }
  ~Resume() override {
    base::request_stop(0);
    base::set_disk_full_at(0);
  }

  fs::path out(const std::string& name = "run") const { return folder_.path() / name; }
  void run(const std::vector<std::string>& more = {}, const RunOptions& options = {}, const std::string& name = "run") {
    std::vector<std::string> overrides{"models.base.path=" + (folder_.path() / "tiny").string(),
                                       "output_dir=" + out(name).string()};
    overrides.insert(overrides.end(), more.begin(), more.end());
    run_recipe(load_recipe(folder_.path() / "recipe.yaml", overrides), options);
  }
  /// Runs until the first place that notices a stop: one step, one block, or the end of a stage.
  std::string run_a_little(const std::vector<std::string>& more = {}, const RunOptions& options = {}) {
    base::request_stop(SIGTERM);
    std::string message;
    try {
      run(more, options);
    } catch (const base::Interrupted& stopped) {
      EXPECT_EQ(stopped.signal(), SIGTERM);
      message = stopped.what();
    }
    base::request_stop(0);
    return message;
  }
  Results uninterrupted(const std::vector<std::string>& more = {}) {
    run(more, {}, "whole");
    return results_of(out("whole"));
  }
  std::vector<int64_t> saved(const std::string& stage, const std::string& prefix = "step") const {
    std::vector<int64_t> numbers;
    for (const auto& place : io::list_checkpoints(out() / stage / "checkpoints", prefix))
      numbers.push_back(place.number);
    return numbers;
  }
  std::string log() const { return base::read_file(out() / "log.txt"); }

  RecipeFolder folder_;
};

TEST_F(Resume, StoppedAfterEveryStepAndBlockItEndsLikeTheWhole) {
  std::vector<std::string> messages;
  RunOptions options;
  options.command = "rqat train --config recipe.yaml";
  for (std::string message; !(message = run_a_little({}, options)).empty();) {
    expect_readable(out());
    messages.push_back(message);
    ASSERT_LE(messages.size(), 40u);
  }
  // 2 steps and the end of sft, 2 blocks and the end of gptq, 3 and the end of kd, 1 and the end of rl.
  ASSERT_EQ(messages.size(), 12u);
  expect_contains(messages[0], "stage sft: stopped after step 1 of 3, saved in ");
  expect_contains(messages[0], "; go on with:\n  rqat train --config recipe.yaml");
  expect_contains(messages[2], "stopped after stage sft, which is finished; go on with:");
  expect_contains(messages[3], "stage gptq: stopped after block 1, saved in ");
  run();
  expect_same_results(results_of(out()), uninterrupted());
}

/// Quantization block by block, training, rollouts on packed codes.
TEST_F(Resume, LayersKeepTheirInputOrder) {
  const std::vector<std::string> spread{"stages.gptq.initializer.gptq.static_groups=false", "quant.w3.group_size=8"};
  for (int stops = 0; !run_a_little(spread).empty(); ++stops) ASSERT_LE(stops, 40);
  run(spread);
  expect_same_results(results_of(out()), uninterrupted(spread));
  const std::string order = "model.layers.1.mlp.down_proj.weight_input_order";
  const io::SafetensorsReader first(out() / "gptq/rqat_state.safetensors"), last(out() / "rl/rqat_state.safetensors");
  EXPECT_TRUE(at::equal(first.read(order), last.read(order)));
  EXPECT_FALSE(at::equal(first.read(order), at::arange(32, at::kInt)));
  EXPECT_EQ(base::read_file(out() / "gptq/rqat_quant.json"), base::read_file(out() / "rl/rqat_quant.json"));
  const std::string codes = "model.layers.1.mlp.down_proj.weight_packed";
  EXPECT_FALSE(at::equal(first.read(codes), last.read(codes)));
}

TEST_F(Resume, MetricsHaveEachStepOnce) {
  run_a_little();
  run_a_little();
  base::LineWriter(out() / "sft/metrics.jsonl").line(R"({"step": 2, "loss": 1})");
  base::LineWriter(out() / "sft/metrics.jsonl").line(R"({"step": 3, "lo)");
  run({}, {false, {"sft"}});
  std::vector<int> steps;
  for (const std::string& line : base::split(base::read_file(out() / "sft/metrics.jsonl"), '\n')) {
    if (!line.empty()) steps.push_back(nlohmann::json::parse(line).at("step"));
  }
  EXPECT_EQ(steps, (std::vector<int>{0, 1, 2}));
}

TEST_F(Resume, AFullDiskIsOneClearErrorAndCostsNothing) {
  const Results whole = uninterrupted();
  int64_t failures = 0, place = 1;
  // Each run gets further than the one before: what was saved is kept.
  for (;; place += 7) {
    base::set_disk_full_at(place);
    std::string message;
    try {
      run();
    } catch (const base::IoError& error) {
      message = error.what();
    }
    base::set_disk_full_at(0);
    expect_readable(out());
    if (message.empty()) break;
    ++failures;
    SCOPED_TRACE(place);
    expect_contains(message, "No space left on device (");
    expect_contains(message, " free in ");
    expect_contains(message, out().string());
    ASSERT_LT(failures, 200);
  }
  EXPECT_GT(failures, 5);
  run();
  expect_same_results(results_of(out()), whole);
}

TEST_F(Resume, OtherSettingsStartTheStageAnewAndAreNamed) {
  run_a_little();
  run_a_little();
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{1, 2}));
  RunOptions insist;
  insist.unfinished = Unfinished::kInsist;
  const std::vector<std::string> changed{"stages.sft.max_steps=4", "data.train.seed=9"};
  expect_contains(
      message_of<base::ConfigError>([&] { run(changed, insist); }),
      "stage sft: cannot go on where it was interrupted, because something changed (data.train.seed: 0 -> 9, "
      "max_steps: 3 -> 4); change it back, or leave --resume out");
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{1, 2})) << "nothing was touched";
  run_a_little(changed);
  expect_contains(
      log(), "stage sft: starts anew; changed since it was interrupted: data.train.seed: 0 -> 9, max_steps: 3 -> 4");
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{1}));
  run_a_little(changed, insist);
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{1, 2}));
}

TEST_F(Resume, WhatIsSavedWhenDoesNotDecideWhatComesOut) {
  run_a_little();
  RunOptions insist;
  insist.unfinished = Unfinished::kInsist;
  run_a_little({"stages.sft.save_steps=0", "stages.sft.save_total_limit=1"}, insist);
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{2}));
  run({"stages.sft.keep_checkpoints=true"}, insist);
  EXPECT_EQ(saved("sft"), (std::vector<int64_t>{2}));
  run({"stages.kd.eval_steps=1", "stages.kd.evaluation.max_new_tokens=3", "stages.sft.keep_checkpoints=true"}, insist);
  expect_contains(log(), "stage kd (train): unchanged, kept");
  EXPECT_FALSE(fs::exists(out() / "sft/running.json"));
  EXPECT_FALSE(fs::exists(out() / "kd/checkpoints"));
  run();
  EXPECT_FALSE(fs::exists(out() / "sft/checkpoints")) << "finished, and not to be kept any more";
}

TEST_F(Resume, MetricsThatWereNotFiniteAreNull) {
  run_a_little();
  const fs::path file = out() / "sft/metrics.jsonl";
  std::string rows = base::read_file(file);
  ASSERT_EQ(rows.front(), '{');
  rows.insert(1, "\"broken\":null,");
  base::write_file(file, rows);
  run();
  expect_contains(base::read_file(file), "{\"broken\":null,");
}

TEST_F(Resume, NoResumeAndForceStartTheStageAnew) {
  for (const bool force : {false, true}) {
    run_a_little();
    run_a_little();
    RunOptions options;
    options.force = force;
    if (!force) options.unfinished = Unfinished::kRestart;
    run_a_little({}, options);
    EXPECT_EQ(saved("sft"), (std::vector<int64_t>{1}));
    fs::remove_all(out());
  }
}

TEST_F(Resume, ADamagedCheckpointGivesWayToTheOneBefore) {
  run_a_little();
  run_a_little();
  const fs::path file = out() / "sft/checkpoints/step-2/state-00001-of-00001.safetensors";
  base::write_file(file, base::read_file(file).substr(0, 100));
  run();
  expect_contains(log(), "has 100 bytes, the manifest says ");
  expect_contains(log(), "stage sft: going on after step 1 of 3");
  expect_same_results(results_of(out()), uninterrupted());
}

TEST_F(Resume, TheBestEvaluationIsRemembered) {
  run();
  const nlohmann::json best = io::read_json(out() / "kd/stage.json").at("summary").at("best");
  EXPECT_EQ(best.at("step"), 2);
  EXPECT_TRUE(best.contains("eval_accuracy"));
}

}  // namespace
}  // namespace rqat::pipeline
