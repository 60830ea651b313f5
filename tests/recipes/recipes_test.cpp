// Every YAML under recipes/ and configs/ must load; the numbers make sure that none is overlooked.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "rqat/base/strings.h"
#include "rqat/model/causal_lm.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/stage.h"
#include "rqat/quant/policy.h"

namespace rqat::pipeline {
namespace {

namespace fs = std::filesystem;
using base::cat;

constexpr size_t kRecipes = 8, kConfigs = 7;

const fs::path kRoot = RQAT_SOURCE_DIR;

std::vector<fs::path> yaml_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
    EXPECT_NE(entry.path().extension(), ".yml") << entry.path() << ": files end in .yaml";
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string first_line(const fs::path& file) {
  std::string line;
  std::ifstream in(file);
  std::getline(in, line);
  return line;
}

/// The config and what it includes, as far as `include:` tells.
void collect_configs(const fs::path& file, std::set<fs::path>& found) {
  const base::Node tree = base::Node::read(file);
  const base::Node* includes = tree.find("include");
  if (includes == nullptr) return;
  for (const base::Node& name : includes->is_list() ? includes->items() : std::vector<base::Node>{*includes}) {
    const fs::path config = kRoot / "configs" / name.value();
    if (fs::exists(config) && found.insert(config).second) collect_configs(config, found);
  }
}

TEST(Recipes, EachLoadsAndStartsWithTheCommandThatRunsIt) {
  const std::vector<fs::path> files = yaml_files(kRoot / "recipes");
  EXPECT_EQ(files.size(), kRecipes)
      << "recipes came or went: change the number here, and say so in recipes/'s documentation";
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.string());
    const std::string command = cat("# rqat train --config ", file.lexically_relative(kRoot).string());
    EXPECT_EQ(first_line(file).substr(0, command.size()), command);
    EXPECT_NO_THROW({
      const Recipe recipe = load_recipe(file);
      const Recipe again = read_recipe(base::Node::parse(recipe.resolved.dump(), "resolved"), "resolved");
      EXPECT_EQ(again.resolved.dump(), recipe.resolved.dump());
    });
  }
}

TEST(Recipes, EachConfigIsIncludedBySomeRecipe) {
  std::set<fs::path> included;
  for (const fs::path& file : yaml_files(kRoot / "recipes")) collect_configs(file, included);
  const std::vector<fs::path> files = yaml_files(kRoot / "configs");
  EXPECT_EQ(files.size(), kConfigs) << "configs came or went: change the number here";
  for (const fs::path& file : files) EXPECT_EQ(included.count(file), 1u) << file << " is included by no recipe";
}

/// Sizes of the models that the recipes for real use name, from their published config.json.
model::ModelConfig published_config(const std::string& path) {
  model::ModelConfig config;
  config.num_hidden_layers = 2;  // all alike
  config.vocab_size = 151936;
  if (path.find("Qwen3-0.6B") != std::string::npos) {
    config.model_type = "qwen3";
    config.hidden_size = 1024;
    config.intermediate_size = 3072;
    config.num_attention_heads = 16;
    config.num_key_value_heads = 8;
    config.head_dim = 128;
  } else if (path.find("DeepSeek-R1-Distill-Qwen-1.5B") != std::string::npos) {
    config.model_type = "qwen2";
    config.hidden_size = 1536;
    config.intermediate_size = 8960;
    config.num_attention_heads = 12;
    config.num_key_value_heads = 2;
    config.head_dim = 128;
  } else {
    config.model_type = "llama";  // SmolLM2-135M
    config.vocab_size = 49152;
    config.hidden_size = 576;
    config.intermediate_size = 1536;
    config.num_attention_heads = 9;
    config.num_key_value_heads = 3;
    config.head_dim = 64;
  }
  return config;
}

TEST(Recipes, EachBuildsOnTheMetaDevice) {
  size_t built = 0;
  for (const fs::path& file : yaml_files(kRoot / "recipes")) {
    if (file.parent_path().filename() == "debug") continue;  // run whole, as tests of their own
    SCOPED_TRACE(file.string());
    const Recipe recipe = load_recipe(file);
    for (const auto& [name, policy] : recipe.quant) {
      quant::QuantLayerFactory factory(policy, base::Component("clipped_ste"));
      model::CausalLM model(published_config(recipe.models.at("base").path), factory, at::kBFloat16, at::kMeta);
      std::vector<nn::LinearSpec> specs;
      for (nn::LinearBase* linear : model.linears()) specs.push_back(linear->spec());
      EXPECT_EQ(specs.size(), 14u);
      EXPECT_THAT(policy.faults(specs), testing::IsEmpty());
      ++built;
    }
  }
  EXPECT_EQ(built, 5u);
}

/// The settings that reference material on Reasoning-QAT gives.
TEST(Recipes, ReasoningQatSettings) {
  for (const auto& [name, bits, rate] : {std::tuple{"qwen3_0.6b_w3g128", 3, "1e-05"},
                                         {"qwen3_0.6b_w2g128", 2, "2e-05"},
                                         {"r1_distill_qwen_1.5b_w3g128", 3, "1e-05"},
                                         {"r1_distill_qwen_1.5b_w2g128", 2, "2e-05"}}) {
    SCOPED_TRACE(name);
    const Recipe recipe = load_recipe(kRoot / cat("recipes/reasoning_qat_", name, ".yaml"));
    ASSERT_EQ(recipe.quant.size(), 1u);
    const quant::QuantPolicy& format = recipe.quant.begin()->second;
    EXPECT_EQ(format.num_bits, bits);
    EXPECT_EQ(format.group_size, 128);
    EXPECT_FALSE(format.symmetric);
    const auto settings = [&](const char* id) { return base::write_config(*recipe.find_stage(id)->config); };
    const base::Node gptq = settings("gptq"), kd = settings("kd"), rl = settings("rl");
    EXPECT_EQ(gptq.find("initializer")->find("gptq")->find("act_order")->value(), "true");
    EXPECT_EQ(gptq.find("initializer")->find("gptq")->find("search")->value(), "mse");
    EXPECT_EQ(gptq.find("calibration")->find("num_samples")->value(), "128");
    EXPECT_EQ(gptq.find("calibration")->find("sequence_length")->value(), "2048");
    ASSERT_EQ(gptq.find("calibration")->find("data")->value(), "traces");
    const base::Node traces = settings("traces");  // what QRM calibrates on
    EXPECT_EQ(traces.find("model")->value(), "base");
    EXPECT_EQ(traces.find("keep")->value(), "all");
    EXPECT_EQ(traces.find("sampling")->find("temperature")->value(), "0.6");
    EXPECT_EQ(traces.find("sampling")->find("top_p")->value(), "0.95");
    EXPECT_EQ(recipe.data.at("calibration_problems").num_examples, 256);
    EXPECT_EQ(kd.find("teacher")->value(), "base");
    EXPECT_DOUBLE_EQ(std::stod(kd.find("optimizer")->find("adamw")->find("learning_rate")->value()), std::stod(rate));
    EXPECT_EQ(std::stod(kd.find("max_grad_norm")->value()), 1.0);
    EXPECT_EQ(std::stod(rl.find("optimizer")->find("adamw")->find("learning_rate")->value()), 1e-6);
    EXPECT_EQ(recipe.find_stage("rl")->stage->uses().models.front(), "kd");
  }
}

}  // namespace
}  // namespace rqat::pipeline
