#include "rqat/pipeline/metrics.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "cli/tiny_model.h"
#include "pipeline/recipe_text.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/objective/objective.h"
#include "rqat/pipeline/runner.h"

namespace rqat::pipeline {
namespace {

TEST(Metrics, EveryEntrySaysWhatItIs) {
  for (const MetricTable& table : metric_tables()) {
    std::set<std::string> names;
    for (const MetricInfo& info : table.metrics) {
      EXPECT_TRUE(names.insert(info.name).second) << info.name << " stands twice in " << table.title;
      EXPECT_FALSE(info.unit.empty() || info.meaning.empty()) << info.name;
      EXPECT_TRUE(info.better.empty() || info.better == "lower" || info.better == "higher") << info.name;
    }
  }
}

/// A recipe with a stage for every objective there is.
std::string recipe_of_all_objectives(const std::filesystem::path& model) {
  std::string text = base::cat("device: cpu\nmodels: {base: {path: ", model.string(),
                               "}}\nquant: {w4: {num_bits: 4, group_size: 16}}\n"
                               "data: {train: {generators: [comparison], num_examples: 8}}\nstages:\n"
                               "  - {id: rtn, type: quantize, model: base, quant: w4, initializer: rtn}\n");
  for (const base::EntryInfo* info : objective::objectives().infos()) {
    if (info->name == "mix") {
      text +=
          "  - {id: mix, type: train, model: rtn, teacher: base, data: train, max_steps: 2, batch_size: 2, "
          "objective: {mix: {parts: [kl_forward, cross_entropy]}}, eval_steps: 1, "
          "evaluation: {data: train, num_problems: 1, max_new_tokens: 2}}\n";
      continue;
    }
    const auto objective = objective::objectives().make(info->name);
    if (objective->needs_policy()) {
      text += base::cat(
          "  - {id: ", info->name, ", type: reinforce, model: rtn, reference: base, data: train, max_steps: 1, ",
          "prompts_per_step: 2, num_generations: 4, max_completion_length: 12, ",
          "reward: {format: {marker: e, require_finished: false}}, objective: {", info->name, ": {beta: 0.1}}}\n");
    } else {
      text +=
          base::cat("  - {id: ", info->name, ", type: train, model: rtn, data: train, max_steps: 1, batch_size: 2, ",
                    objective->needs_teacher() ? "teacher: base, " : "", "objective: ", info->name, "}\n");
    }
  }
  return text;
}

TEST(Metrics, EveryMetricOfAStepIsInTheTable) {
  base::set_log_level(base::LogLevel::kError);
  const RecipeFolder folder;
  cli::TinyModelConfig tiny;
  tiny.out = (folder.path() / "tiny").string();
  tiny.hidden_size = 16;
  tiny.intermediate_size = 32;
  tiny.num_layers = 1;
  tiny.num_heads = 2;
  tiny.num_key_value_heads = 1;
  cli::write_tiny_model(tiny);
  const auto file = folder.write("r.yaml", recipe_of_all_objectives(tiny.out));
  run_recipe(load_recipe(file, {base::cat("output_dir=", (folder.path() / "run").string())}), {});
  base::set_log_level(base::LogLevel::kInfo);
  std::set<std::string> seen;
  for (const std::string& objective : objective::objectives().names()) {
    const std::string rows = base::read_file(folder.path() / "run" / objective / "metrics.jsonl");
    EXPECT_FALSE(rows.empty()) << objective;
    for (const std::string& line : base::split(rows, '\n')) {
      if (line.empty()) continue;
      const nlohmann::json row = nlohmann::json::parse(line);
      for (const auto& [name, value] : row.items()) {
        seen.insert(name);
        EXPECT_NE(find_step_metric(name), nullptr)
            << "metric '" << name << "' of objective " << objective << " is not described in src/pipeline/metrics.cpp";
      }
    }
  }
  for (const char* name : {"loss", "eval_accuracy", "reward", "grad_norm"}) EXPECT_EQ(seen.count(name), 1u) << name;
}

}  // namespace
}  // namespace rqat::pipeline
