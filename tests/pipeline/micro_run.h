// A pipeline of all stages that can be gone on with, on a tiny model with random weights; and what two runs of it
// differ in.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/tiny_model.h"
#include "pipeline/recipe_text.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/checkpoint.h"
#include "rqat/io/json_file.h"

namespace rqat::pipeline {

constexpr const char* kMicroRecipe = R"(seed: 3
device: cpu
output_dir: run
models:
  base: {path: tiny}
quant:
  w3: {num_bits: 3, group_size: 16}
data:
  train: {generators: [chain_sums], num_examples: 6, max_length: 1024}
stages:
  - {id: sft, type: train, model: base, data: train, max_steps: 3, batch_size: 2, freeze: [], save_steps: 1}
  - {id: gptq, type: quantize, model: sft, quant: w3, initializer: gptq, calibration: {data: train, num_samples: 3}}
  - id: kd
    type: train
    model: gptq
    teacher: sft
    data: train
    objective: kl_forward
    estimator: lsq
    optimizer: {adamw: {learning_rate: 1.0e-2, scale_learning_rate: 1.0e-3}}
    max_steps: 4
    batch_size: 2
    save_steps: 2
    eval_steps: 2
    logging_steps: 3
    evaluation: {data: train, num_problems: 2, max_new_tokens: 4}
  - id: rl
    type: reinforce
    model: kd
    data: train
    objective: grpo
    reward: {format: {weight: 1, marker: e, require_finished: false}}
    optimizer: {adamw: {learning_rate: 1.0e-2}}
    max_steps: 2
    prompts_per_step: 2
    num_generations: 6
    max_completion_length: 12
    save_steps: 1
)";

/// Writes recipe.yaml and the model "tiny" into `folder`.
inline void write_micro_run(const RecipeFolder& folder) {
  cli::TinyModelConfig tiny;
  tiny.out = (folder.path() / "tiny").string();
  tiny.dtype = "float32";
  tiny.hidden_size = 16;
  tiny.intermediate_size = 32;
  tiny.num_layers = 2;
  tiny.num_heads = 2;
  tiny.num_key_value_heads = 1;
  cli::write_tiny_model(tiny);
  folder.write("recipe.yaml", kMicroRecipe);
}

/// JSON without what a clock gives.
inline nlohmann::json without_times(const nlohmann::json& value) {
  if (!value.is_structured()) return value;
  nlohmann::json kept = value.is_array() ? nlohmann::json::array() : nlohmann::json::object();
  for (const auto& [key, item] : value.items()) {
    if (value.is_array()) {
      kept.push_back(without_times(item));
    } else if (key.find("second") == std::string::npos) {
      kept[key] = without_times(item);
    }
  }
  return kept;
}

/// Every file of the stages of a run, by path; JSON files without times.
inline std::map<std::string, std::string> results_of(const std::filesystem::path& run) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run)) {
    const std::string name = entry.path().lexically_relative(run).string();
    const bool of_stage = name.find('/') != std::string::npos,
               has_times = name.find("tensorboard") != std::string::npos;
    if (!entry.is_regular_file() || !of_stage || has_times) continue;
    std::string text = base::read_file(entry.path());
    if (entry.path().extension() == ".json") text = without_times(nlohmann::json::parse(text)).dump();
    if (entry.path().extension() == ".jsonl") {
      std::string rows;
      for (const std::string& line : base::split(text, '\n')) {
        if (!line.empty()) rows += without_times(nlohmann::json::parse(line)).dump() + "\n";
      }
      text = rows;
    }
    files[name] = text;
  }
  return files;
}

inline void expect_same_results(const std::map<std::string, std::string>& found,
                                const std::map<std::string, std::string>& expected) {
  for (const auto& [name, content] : expected) {
    ASSERT_TRUE(found.contains(name)) << name << " is missing";
    EXPECT_TRUE(found.at(name) == content) << name << " differs";
  }
  for (const auto& [name, content] : found) EXPECT_TRUE(expected.contains(name)) << name << " is left over";
}

/// Whatever stands under its own name can be read: JSON, safetensors, checkpoints with all their hashes.
inline void expect_readable(const std::filesystem::path& run) {
  if (!std::filesystem::exists(run)) return;
  auto walk = std::filesystem::recursive_directory_iterator(run);
  for (const auto& entry : walk) {
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(entry.path().string());
    if (entry.is_directory()) {
      if (name.ends_with(".partial") || name.ends_with(".removed")) walk.disable_recursion_pending();
      if (entry.path().parent_path().filename() == "checkpoints" && name.find('.') == std::string::npos) {
        EXPECT_NO_THROW(io::read_checkpoint(entry.path()));
      }
    } else if (entry.path().extension() == ".safetensors") {
      EXPECT_NO_THROW(io::SafetensorsReader(entry.path()));
    } else if (entry.path().extension() == ".json") {
      EXPECT_NO_THROW(io::read_json(entry.path()));
    }
  }
}

}  // namespace rqat::pipeline
