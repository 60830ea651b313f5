#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/recipe_text.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kRecipe = R"(models: {base: {path: MODEL}}
quant: {w2: {num_bits: 2, group_size: 16}}
data: {train: {generators: [chain_sums]}}
stages:
  - {id: rtn, type: quantize, model: base, quant: w2, initializer: rtn}
  - {id: kd, type: train, model: rtn, data: train}
  - {id: rl, type: reinforce, model: kd, data: train}
  - {id: scores, type: evaluate, models: [base, rl], tasks: train}
)";

std::vector<std::string> notes(const std::vector<std::string>& overrides) {
  const RecipeFolder folder;  // a plain folder stands for a model: only rqat_quant.json would matter
  return settings_without_effect(
      load_recipe(folder.write("r.yaml", base::replace_all(kRecipe, "MODEL", folder.path().string())), overrides));
}

TEST(WithoutEffect, NothingToTellOfASoundRecipe) {
  EXPECT_THAT(notes({}), IsEmpty());
  EXPECT_THAT(notes({"stages.kd.estimator=lsq", "stages.kd.optimizer={adamw: {scale_learning_rate: 1e-5}}",
                     "stages.scores.sampling={temperature: 0.7, top_p: 0.9}"}),
              IsEmpty());
}

TEST(WithoutEffect, ScaleRateWithoutTrainedScales) {
  const std::string rate = "stages.kd.optimizer={adamw: {scale_learning_rate: 1e-5}}";
  EXPECT_THAT(notes({rate}), ElementsAre(AllOf(HasSubstr("stages.kd.optimizer.adamw.scale_learning_rate"),
                                               HasSubstr("estimator clipped_ste trains no scales"))));
  EXPECT_THAT(notes({rate, "stages.kd.estimator=lsq", "stages.kd.freeze=[embedding, head, scale]"}),
              ElementsAre(HasSubstr("`freeze` holds scale")));
  EXPECT_THAT(notes({rate, "stages.kd.model=base", "stages.kd.estimator=lsq"}),
              ElementsAre(HasSubstr("stages.kd.estimator has no effect: the model is not quantized"),
                          HasSubstr("it has no scales")));
}

TEST(WithoutEffect, GreedyDecoding) {
  EXPECT_THAT(notes({"stages.scores.sampling.top_k=5"}),
              ElementsAre(AllOf(HasSubstr("stages.scores.sampling.top_k"), HasSubstr("temperature is 0"))));
}

TEST(WithoutEffect, SchedulesAndEvaluations) {
  EXPECT_THAT(notes({"stages.kd.lr_scheduler={kind: constant, min_ratio: 0.1, warmup_steps: 5, warmup_ratio: 0.1}"}),
              ElementsAre(HasSubstr("warmup_steps is set"), HasSubstr("the schedule is constant")));
  EXPECT_THAT(notes({"stages.kd.evaluation={data: train}"}), ElementsAre(HasSubstr("eval_steps is 0")));
  EXPECT_THAT(notes({"stages.kd.evaluation={data: train}", "stages.kd.eval_steps=100", "stages.kd.max_steps=100"}),
              ElementsAre(HasSubstr("not below max_steps")));
}

TEST(WithoutEffect, PolicyObjective) {
  EXPECT_THAT(notes({"stages.rl.reference=base", "stages.rl.objective={grpo: {epsilon: 0.1}}"}),
              ElementsAre(HasSubstr("no KL term"), HasSubstr("probability ratio is 1")));
}

TEST(WithoutEffect, NounsThatNobodyUses) {
  EXPECT_THAT(notes({"+data.more={generators: [chain_sums]}", "+quant.w3={num_bits: 3}"}),
              ElementsAre(HasSubstr("data.more is used by no stage"), HasSubstr("quant.w3 is used by no stage")));
  EXPECT_THAT(notes({"+data.more={file: x.jsonl, split: test}"}),
              ElementsAre(HasSubstr("data.more is used by no stage"), HasSubstr("records come from a file")));
}

TEST(WithoutEffect, LearnedZeroPointOfASymmetricFormat) {
  EXPECT_THAT(notes({"quant.w2.symmetric=true", "stages.kd.estimator={lsq: {learn_zero_point: true}}"}),
              ElementsAre(HasSubstr("quant.w2 is symmetric")));
}

}  // namespace
}  // namespace rqat::pipeline
