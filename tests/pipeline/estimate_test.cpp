#include "rqat/pipeline/estimate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <new>

#include "cli/tiny_model.h"
#include "pipeline/recipe_text.h"
#include "rqat/pipeline/dry_run.h"

namespace rqat::pipeline {
namespace {

constexpr const char* kRecipe = R"(name: r
device: cpu
models: {base: {path: MODEL}}
quant: {w2: {num_bits: 2, group_size: 16}}
data: {train: {generators: [comparison], num_examples: 8}}
stages:
  - {id: rtn, type: quantize, model: base, quant: w2, initializer: rtn}
  - {id: kd, type: train, model: rtn, data: train, max_steps: 3, batch_size: 2}
  - {id: rl, type: reinforce, model: kd, data: train, max_steps: 2, prompts_per_step: 2, num_generations: 2, max_completion_length: 8}
  - {id: scores, type: evaluate, models: [base, rl], tasks: train, sampling: {max_new_tokens: 4}}
  - {id: files, type: export, model: rl, formats: [hf_dequantized]}
)";

class Estimates : public testing::Test {
 protected:
  Estimates() {
    cli::TinyModelConfig tiny;
    tiny.out = (folder_.path() / "tiny").string();
    tiny.hidden_size = 16;
    tiny.intermediate_size = 32;
    tiny.num_layers = 3;
    tiny.num_heads = 2;
    tiny.num_key_value_heads = 1;
    cli::write_tiny_model(tiny);
    file_ = folder_.write("r.yaml", base::replace_all(kRecipe, "MODEL", tiny.out));
  }
  Recipe recipe(std::vector<std::string> overrides = {}) const {
    overrides.push_back("output_dir=" + (folder_.path() / "run").string());
    return load_recipe(file_, overrides);
  }
  RecipeFolder folder_;
  std::filesystem::path file_;
};

TEST_F(Estimates, MemoryByHand) {
  const Recipe plain = recipe();
  const auto kd = estimate_stage(plain, *plain.find_stage("kd"));
  ASSERT_TRUE(kd);
  // Per block: q 16x16, k and v 16x8 each, o 16x16, gate, up, down 16x32 each = 2304 weights; embedding 259 x 16.
  const double linears = 3 * 2304, table = 259 * 16;
  // bf16 weights, embedding twice; masters, gradients and two moments in fp32; and what any stage needs.
  EXPECT_NEAR(kd->fixed_bytes, 2 * (linears + 2 * table) + 16 * linears + 300e6 + 64 * 1024 * 1024, 1);
  ASSERT_EQ(kd->knobs.size(), 1u);
  EXPECT_EQ(kd->knobs[0].key, "max_tokens_per_micro_batch");
  EXPECT_EQ(kd->knobs[0].value, 4096);
  // Per block 2 x 16 (residual stream), 16 + 8 + 8 + 16 (q, k, v, output), 2 x 32 (MLP) values of two bytes, 15 % more.
  EXPECT_NEAR(kd->knobs[0].bytes_per_unit, 1.15 * 2 * 3 * (32 + 48 + 64), 1e-6);
}

TEST_F(Estimates, NothingIsSaidOfAModelThatIsNotThere) {
  const Recipe other = recipe({"models.base.path=nowhere"});
  EXPECT_FALSE(estimate_stage(other, *other.find_stage("kd")));
  EXPECT_EQ(memory_warning(other, *other.find_stage("kd"), 1), "");
}

TEST_F(Estimates, WarningsNameTheSettingAndAValueThatFits) {
  const Recipe plain = recipe({"stages.kd.max_tokens_per_micro_batch=4000000"});
  const StageEntry& kd = *plain.find_stage("kd");
  EXPECT_EQ(memory_warning(plain, kd, int64_t{1} << 40), "");
  const std::string text = memory_warning(plain, kd, 1000000000);
  // (1e9 - fixed 367.3e6) / 993.6 = 636800 tokens: the power of two below
  expect_contains(text, "set stages.kd.max_tokens_per_micro_batch=524288 (now 4000000");
  expect_contains(text, "are free");
  // Of 432 values a token 3 x 16 inputs and one block's 144 would be left: 240 x 2.3 bytes x 4e6 tokens = 2.1 GiB.
  expect_contains(text, "; or set stages.kd.gradient_checkpointing=true (about 2.1 GiB less)");
}

TEST_F(Estimates, WhatSavesMemoryIsCountedWhereItIsSet) {
  const Recipe saving = recipe({"stages.kd.gradient_checkpointing=true", "stages.kd.optimizer=adamw_8bit"});
  const Recipe plain = recipe();
  const auto with = estimate_stage(saving, *saving.find_stage("kd")),
             without = estimate_stage(plain, *plain.find_stage("kd"));
  ASSERT_TRUE(with && without);
  EXPECT_TRUE(with->savings.empty());
  ASSERT_EQ(without->savings.size(), 2u);
  EXPECT_NEAR(without->fixed_bytes - with->fixed_bytes, 6 * 3 * 2304, 1);
  EXPECT_NEAR(with->knobs[0].bytes_per_unit, 1.15 * 2 * (3 * 16 + 144), 1e-6);
  EXPECT_STREQ(without->savings[0].setting, "gradient_checkpointing=true");
  EXPECT_NEAR(without->savings[0].bytes, 4096 * (without->knobs[0].bytes_per_unit - with->knobs[0].bytes_per_unit), 1);
}

TEST_F(Estimates, OutOfMemoryIsRecognized) {
  EXPECT_TRUE(is_out_of_memory(std::bad_alloc()));
  EXPECT_FALSE(is_out_of_memory(std::runtime_error("no")));
  try {
    at::empty({int64_t{1} << 50}, at::kFloat);
    FAIL() << "four petabytes were given";
  } catch (const std::exception& error) {
    ASSERT_TRUE(is_out_of_memory(error)) << error.what();
    const Recipe plain = recipe();
    const std::string text = out_of_memory_text(plain, *plain.find_stage("kd"), error);
    expect_contains(text, "stage kd: out of memory");
    expect_contains(text, "set stages.kd.max_tokens_per_micro_batch=256 (now 4096");
    expect_contains(out_of_memory_text(plain, *plain.find_stage("rl"), error), "set stages.rl.");
  }
}

TEST_F(Estimates, DryRunTellsAllAndWritesNothing) {
  const std::string text = dry_run(recipe());
  expect_contains(text, "max_steps: 3");
  expect_contains(text, "  kd (train): rtn -> model   with train\n");
  expect_contains(text, "3 steps x 2 examples of ");
  expect_contains(text, "2 steps x 4 answers of about 8 tokens");
  expect_contains(text, "2 models x 8 answers of about 4 tokens");
  expect_contains(text, "memory: at most ");
  expect_contains(text, "time: about ");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run"));
}

}  // namespace
}  // namespace rqat::pipeline
