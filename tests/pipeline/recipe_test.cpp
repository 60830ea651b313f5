#include "rqat/pipeline/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/recipe_text.h"
#include "rqat/pipeline/stage.h"

namespace rqat::pipeline {
namespace {

using base::cat;
using base::ConfigError;

constexpr const char* kNouns = R"(models:
  base: {path: models/somewhere}
quant:
  w2: {num_bits: 2, group_size: 64}
data:
  train: {generators: [chain_sums]}
)";

std::string faults_of(const RecipeFolder& folder, const std::string& text,
                      const std::vector<std::string>& overrides = {}) {
  const auto file = folder.write("faulty.yaml", text);
  return message_of<ConfigError>([&] { load_recipe(file, overrides); });
}

std::vector<std::string> ids_of(const Recipe& recipe) {
  std::vector<std::string> ids;
  for (const StageEntry& entry : recipe.stages) ids.push_back(entry.id);
  return ids;
}

TEST(Recipe, NamesAndDefaults) {
  const RecipeFolder folder;
  const Recipe recipe = load_recipe(folder.write(
      "plain.yaml", cat(kNouns, "stages:\n  - {id: rtn, type: quantize, model: base, quant: w2, initializer: rtn}\n")));
  EXPECT_EQ(recipe.name, "plain");
  EXPECT_EQ(recipe.output_dir, "runs/plain");
  EXPECT_EQ(recipe.seed, 42);
  EXPECT_EQ(recipe.models.at("base").path, "models/somewhere");
  EXPECT_EQ(recipe.models.at("base").dtype, "auto");
  EXPECT_EQ(recipe.quant.at("w2").num_bits, 2);
  ASSERT_EQ(recipe.stages.size(), 1u);
  EXPECT_EQ(recipe.stages[0].stage->uses().quant, std::vector<std::string>{"w2"});
}

TEST(Recipe, StagesAreSortedBehindWhatTheyReadElseAsWritten) {
  const RecipeFolder folder;
  const Recipe recipe = load_recipe(folder.write("order.yaml", cat(kNouns, R"(stages:
  - {id: scores, type: evaluate, models: [b, a], tasks: train}
  - {id: c, type: train, model: a, data: train}
  - {id: a, type: quantize, model: base, quant: w2, initializer: rtn}
  - {id: b, type: train, model: base, data: train}
)")));
  EXPECT_THAT(ids_of(recipe), testing::ElementsAre("a", "c", "b", "scores"));
}

TEST(Recipe, AllFaultsAtOnceWithPlaceValueRangeAndSuggestion) {
  const RecipeFolder folder;
  const std::string text = faults_of(folder, R"(sede: 3
models:
  base: {path: m, dtype: bf16}
quant:
  w2: {num_bits: 5, group_size: 64}
data:
  train: {generators: [chain_sum]}
  both: {generators: [chain_sums], file: x.jsonl}
stages:
  - {id: kd, type: train, model: bsae, data: trian, max_stpes: 3}
  - {id: sft, type: trian, model: base, data: train}
  - {id: rl, type: reinforce, model: base, data: train, num_generations: 1, objective: grop}
  - {id: ce, type: train, model: base, data: train, objective: kl_forward}
  - {id: gptq, type: quantize, model: base, quant: w3, max_steps: many}
  - {id: scores, type: evaluate, models: [base, kd], tasks: train, compare: ["base->sft"]}
  - {id: steps, type: train, model: base, data: train, max_steps: many}
  - {type: train}
stagess: []
)");
  const auto expect = [&](int line, const std::string& message) {
    expect_contains(text, cat("faulty.yaml:", line, ": ", message));
  };
  expect_contains(text, "faulty.yaml cannot be run");
  expect(1, "sede: unknown key; did you mean 'seed'?");
  expect(3, "models.base.dtype: unknown value 'bf16' (one of auto, bfloat16, float32)");
  expect(5, "quant.w2: num_bits must be 2, 3, 4 or 8, found 5");
  expect(7, "data.train: unknown task 'chain_sum'; did you mean 'chain_sums'?");
  expect(8, "data.both: give one of `generators` (task families), `file` and `mixture`, not several");
  expect(10, "stages.kd: unknown model 'bsae'; did you mean 'base'? (known: base, kd, rl, ce, gptq, steps)");
  expect(10, "stages.kd: unknown data 'trian'; did you mean 'train'?");
  expect(10, "stages.kd.max_stpes: unknown key; did you mean 'max_steps'?");
  expect(11, "stages.sft.type: unknown stage 'trian'; did you mean 'train'?");
  expect(12, "stages.rl.num_generations: 1 is out of range; allowed: 2..10000");
  expect(12, "stages.rl.objective: unknown objective 'grop'; did you mean 'grpo'?");
  expect(13, "stages.ce: objective kl_forward needs `teacher: <model>`");
  expect(14, "stages.gptq: unknown quant 'w3'; did you mean 'w2'? (known: w2)");
  expect(15, "stages.scores: compare: 'sft' is not among `models`");
  expect(16, "stages.steps.max_steps: expected an integer, found the text 'many'");
  expect(17, "stages[7]: `id` and `type` are required");
  expect(18, "stagess: unknown key; did you mean 'stages'?");
}

TEST(Recipe, RootOfTheWrongKind) {
  const RecipeFolder folder;
  expect_contains(faults_of(folder, "- a\n"), "faulty.yaml: must be a map of keys, found a list");
  expect_contains(faults_of(folder, "a: [\n"), "not valid YAML");
  expect_contains(faults_of(folder, "models: [a]\nstages: {}\n"), "models: a map of names is expected, found a list");
  expect_contains(faults_of(folder, "name: x\n"), "stages: a list of at least one stage is required");
  expect_contains(message_of<ConfigError>([&] { load_recipe(folder.path() / "none.yaml"); }),
                  "none.yaml: no such recipe");
}

TEST(Recipe, DuplicateAndUnfitIds) {
  const RecipeFolder folder;
  const std::string text = faults_of(folder, cat(kNouns, R"(stages:
  - {id: a, type: train, model: base, data: train}
  - {id: a, type: train, model: base, data: train}
  - {id: base, type: train, model: base, data: train}
  - {id: ../../etc, type: train, model: base, data: train}
)"));
  expect_contains(text, "faulty.yaml:9: stages.a: the id is used twice");
  expect_contains(text, "faulty.yaml:10: stages.base: the id is used twice");
  expect_contains(text, "faulty.yaml:11: stages[3].id: '../../etc' may hold letters, digits, '_' and '-' only");
  expect_contains(faults_of(folder, "models: {a/b: {path: m}}\nstages: [{id: s, type: train}]\n"),
                  "models.a/b: an id may hold letters");
}

TEST(Recipe, ModelsThatStagesWouldOverwrite) {
  const RecipeFolder folder;
  const auto recipe = [](const char* path, const char* output, const char* dtype) {
    return cat("output_dir: ", output, "\nmodels: {base: {path: ", path, ", dtype: ", dtype,
               "}}\ndata: {d: {generators: [chain_sums]}}\nstages:\n"
               "  - {id: sft, type: train, model: base, data: d, max_steps: 1}\n");
  };
  const auto faults = [&](const char* path, const char* output, const char* dtype = "auto") {
    return faults_of(folder, recipe(path, output, dtype));
  };
  expect_contains(faults("models/base", "models", "float32"),
                  "models.base.path: 'models/base' would be overwritten: 'base' writes 'models/base'");
  expect_contains(faults("runs/sft", "runs"), "'runs/sft' would be overwritten: 'sft' writes 'runs/sft'");
  expect_contains(faults("runs/sft/old", "./runs/x/.."), "would be overwritten: 'sft'");
  // Read where it is, and nothing written there.
  EXPECT_NO_THROW(load_recipe(folder.write("fine.yaml", recipe("models/base", "models", "auto"))));
}

TEST(Recipe, CyclesAreNamed) {
  const RecipeFolder folder;
  const std::string text = faults_of(folder, cat(kNouns, R"(stages:
  - {id: fine, type: train, model: base, data: train}
  - {id: a, type: train, model: b, data: train}
  - {id: b, type: train, model: a, data: train}
)"));
  expect_contains(text, "faulty.yaml:9: stages read each other in a circle: a, b");
  EXPECT_EQ(text.find("fine"), std::string::npos);
}

TEST(Recipe, RulesOfStages) {
  const RecipeFolder folder;
  const std::string text = faults_of(folder, cat(kNouns, R"(stages:
  - {id: a, type: train, model: base, data: train, objective: grpo}
  - {id: b, type: train, model: base, data: train, teacher: base}
  - {id: c, type: reinforce, model: base, data: train, objective: cross_entropy}
  - {id: d, type: quantize, model: base, quant: w2}
  - {id: e, type: evaluate, models: [base, a], tasks: train, compare: [a->x]}
  - {id: f, type: train, model: base, data: train, eval_steps: 5, freeze: [heads]}
  - {id: g, type: reinforce, model: base, data: train, eval_steps: 5}
  - {id: h, type: train, model: base, data: train, eval_steps: 5}
)"));
  expect_contains(text, ":8: stages.a: objective grpo belongs in a `reinforce` stage");
  expect_contains(text, ":9: stages.b: `teacher` has no effect: objective cross_entropy uses none");
  expect_contains(text, ":10: stages.c: objective cross_entropy is not a policy objective");
  expect_contains(text, ":11: stages.d: initializer gptq needs `calibration: {data: ...}`");
  expect_contains(text, ":12: stages.e: compare: 'x' is not among `models`");
  expect_contains(text, ":13: stages.f: freeze: unknown role 'heads'");
  expect_contains(text, ":14: stages.g: eval_steps needs `evaluation: {data: ...}`");
  expect_contains(text, ":15: stages.h: eval_steps needs `evaluation: {data: ...}`");
}

TEST(Recipe, IncludesMergeInOrderAndTheRecipeItselfWins) {
  const RecipeFolder folder;
  folder.write("configs/quant/a.yaml", "quant: {w: {num_bits: 2, group_size: 32}}\nseed: 1\n");
  folder.write("recipes/deep/b.yaml", "quant: {w: {num_bits: 3}}\nseed: 2\nstages: [{id: q, initializer: rtn}]\n");
  const auto file = folder.write("recipes/deep/main.yaml", R"(include: [quant/a.yaml, b.yaml]
models: {base: {path: m}}
quant: {w: {symmetric: true}}
stages:
  - {id: q, type: quantize, model: base, quant: w}
)");
  const Recipe recipe = load_recipe(file);
  EXPECT_EQ(recipe.seed, 2);
  EXPECT_EQ(recipe.quant.at("w").num_bits, 3);
  EXPECT_EQ(recipe.quant.at("w").group_size, 32);
  EXPECT_TRUE(recipe.quant.at("w").symmetric);
  EXPECT_EQ(recipe.resolved.find("include"), nullptr);
  ASSERT_EQ(recipe.stages.size(), 1u);
  EXPECT_TRUE(recipe.stages[0].stage->check(recipe).empty()) << "the initializer of the included stage is lost";
}

TEST(Recipe, OneFileMayBeIncludedTwiceButNotInACircle) {
  const RecipeFolder folder;
  folder.write("base.yaml", "seed: 5\n");
  folder.write("left.yaml", "include: base.yaml\n");
  folder.write("right.yaml", "include: base.yaml\n");
  const auto file = folder.write("main.yaml", cat("include: [left.yaml, right.yaml]\n", kNouns,
                                                  "stages: [{id: t, type: train, model: base, data: train}]\n"));
  EXPECT_EQ(load_recipe(file).seed, 5);
  folder.write("base.yaml", "seed: 5\ninclude: left.yaml\n");
  expect_contains(message_of<ConfigError>([&] { load_recipe(file); }), "base.yaml:2: include '");
  expect_contains(message_of<ConfigError>([&] { load_recipe(file); }), "leads back to itself");
}

TEST(Recipe, BadIncludes) {
  const RecipeFolder folder;
  expect_contains(faults_of(folder, "name: x\ninclude: [quant/none.yaml]\n"),
                  "faulty.yaml:2: include 'quant/none.yaml' not found");
  expect_contains(faults_of(folder, "include: [{a: b}]\n"), "faulty.yaml:1: include: a file name is expected");
  folder.write("list.yaml", "[1, 2]\n");
  expect_contains(faults_of(folder, "include: list.yaml\n"), "list.yaml: must be a map of keys");
}

TEST(Recipe, FaultsOfAnIncludedFileNameThatFile) {
  const RecipeFolder folder;
  folder.write("more.yaml", "data:\n  train: {num_exmaples: 3}\n");
  expect_contains(faults_of(folder, cat("include: more.yaml\n", kNouns,
                                        "stages: [{id: t, type: train, model: base, data: train}]\n")),
                  "more.yaml:2: data.train.num_exmaples: unknown key; did you mean 'num_examples'?");
}

TEST(Recipe, ReferencesAreReplaced) {
  const RecipeFolder folder;
  const auto file = folder.write("refs.yaml", cat(kNouns, R"(name: one-${seed}
seed: 7
output_dir: out/${name}/${stages.t.max_steps}
stages:
  - {id: t, type: train, model: base, data: train, max_steps: 11, batch_size: "${stages.t.max_steps}"}
)"));
  const std::string quoted = message_of<ConfigError>([&] { load_recipe(file); });
  expect_contains(quoted, "stages.t.batch_size: expected an integer, found the text '11' in quotes");
  const auto plain = folder.write(
      "plain.yaml", cat(kNouns, "name: one-${seed}\nseed: 7\noutput_dir: out/${name}/${stages.t.max_steps}\n",
                        "stages:\n  - {id: t, type: train, model: base, data: train, max_steps: 11}\n"));
  const Recipe recipe = load_recipe(plain, {"seed=9", "stages.t.max_steps=3"});
  EXPECT_EQ(recipe.name, "one-9");
  EXPECT_EQ(recipe.output_dir, "out/one-9/3") << "overrides count before references are replaced";
}

TEST(Recipe, BadReferencesAreAllShown) {
  const RecipeFolder folder;
  const std::string text = faults_of(
      folder, cat(kNouns, "name: ${nmae}\noutput_dir: ${output_dir}\ndevice: ${models}\nstages: [\"${name\"]\n"));
  expect_contains(text, "faulty.yaml:7: ${nmae} names no single value of this recipe");
  expect_contains(text, "faulty.yaml:8: ${...} refers to itself");
  expect_contains(text, "faulty.yaml:9: ${models} names no single value of this recipe");
  expect_contains(text, "faulty.yaml:10: '${' without '}'");
}

TEST(Recipe, ResolvedRecipeLoadsToTheSame) {
  const RecipeFolder folder;
  folder.write("part.yaml",
               "quant: {w4: {num_bits: 4, overrides: {\"*.down_proj\": {num_bits: 8}, \"model.layers.0.*\": none}}}\n");
  const auto file = folder.write("main.yaml", cat("include: part.yaml\n", kNouns, R"(stages:
  - {id: q, type: quantize, model: base, quant: w4, initializer: {gptq: {act_order: true}}, calibration: {data: train}}
  - {id: scores, type: evaluate, models: [base, q], tasks: train, compare: ["base->q"]}
)"));
  const Recipe first = load_recipe(file, {"stages.q.calibration.num_samples=5"});
  const Recipe again = load_recipe(folder.write("resolved/recipe.yaml", first.resolved.dump()));
  EXPECT_EQ(again.resolved.dump(), first.resolved.dump());
  EXPECT_EQ(again.output_dir, first.output_dir);
  ASSERT_EQ(again.stages.size(), first.stages.size());
  for (size_t i = 0; i < first.stages.size(); ++i) {
    EXPECT_EQ(base::write_config(*again.stages[i].config).dump(), base::write_config(*first.stages[i].config).dump());
  }
}

}  // namespace
}  // namespace rqat::pipeline
