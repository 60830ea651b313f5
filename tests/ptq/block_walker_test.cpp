#include "ptq/block_walker.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ptq/tiny_quantized.h"
#include "rqat/base/error.h"

namespace rqat::ptq {
namespace {

std::vector<std::string> names(const InputGroup& group) {
  std::vector<std::string> result;
  for (nn::LinearBase* layer : group) result.push_back(layer->name().substr(layer->name().rfind('.') + 1));
  return result;
}

TEST(BlockWalkerTest, LinearsAreGroupedByTheirInput) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const auto model = quantized_model("{}", family);
    const Calibration calibration = random_calibration();
    BlockWalker walker(*model, calibration);
    const auto groups = walker.input_groups();
    ASSERT_EQ(groups.size(), 4U);
    EXPECT_THAT(names(groups[0]), testing::ElementsAre("q_proj", "k_proj", "v_proj"));
    EXPECT_THAT(names(groups[1]), testing::ElementsAre("o_proj"));
    EXPECT_THAT(names(groups[2]), testing::ElementsAre("gate_proj", "up_proj"));
    EXPECT_THAT(names(groups[3]), testing::ElementsAre("down_proj"));
  }
}

/// Inputs of every linear in a whole forward of the model, [tokens, K].
std::map<std::string, at::Tensor> all_inputs(model::CausalLM& model, const Calibration& calibration) {
  std::map<std::string, std::vector<at::Tensor>> seen;
  for (nn::LinearBase* layer : model.linears()) {
    layer->set_input_observer(
        [&seen, layer](const at::Tensor& x) { seen[layer->name()].push_back(x.to(at::kDouble)); });
  }
  const at::NoGradGuard no_grad;
  for (const nn::TokenBatch& batch : calibration) model.hidden(batch);
  for (nn::LinearBase* layer : model.linears()) layer->set_input_observer({});
  std::map<std::string, at::Tensor> inputs;
  for (const auto& [name, parts] : seen) inputs[name] = at::cat(parts);
  return inputs;
}

TEST(BlockWalkerTest, ExpertsAreGroupedWhetherTheProbeReachesThemOrNot) {
  const auto model = quantized_model("{}", "qwen3_moe");
  const Calibration calibration = random_calibration();
  BlockWalker walker(*model, calibration);
  const auto groups = walker.input_groups();
  ASSERT_EQ(groups.size(), 2U + 2 * 5);
  std::set<nn::LinearBase*> seen;
  for (size_t i = 2; i < groups.size(); ++i) {
    const bool pair = groups[i].size() == 2;
    EXPECT_THAT(names(groups[i]),
                pair ? testing::ElementsAreArray({"gate_proj", "up_proj"}) : testing::ElementsAreArray({"down_proj"}));
    const std::string expert = groups[i][0]->name().substr(0, groups[i][0]->name().rfind('.'));
    for (nn::LinearBase* layer : groups[i]) EXPECT_EQ(layer->name().substr(0, expert.size()), expert);
    seen.insert(groups[i].begin(), groups[i].end());
  }
  EXPECT_EQ(seen.size(), 15U);
}

TEST(BlockWalkerTest, HessiansOfExpertsCountTheTokensSentToThem) {
  const auto model = quantized_model("{num_bits: 4, group_size: 16}", "qwen3_moe");
  const Calibration one_token{nn::make_token_batch({{7}})};  // reaches two of five experts
  for (const Calibration& calibration : {random_calibration(), one_token}) {
    const auto inputs = all_inputs(*model, calibration);
    BlockWalker walker(*model, calibration);
    const auto layers = model->block_linears(0);
    const std::vector<at::Tensor> hessians = walker.hessians(layers);
    int unreached = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto seen = inputs.find(layers[i]->name());
      at::Tensor expected = at::eye(layers[i]->spec().in_features, at::kDouble);
      if (seen != inputs.end()) {
        const at::Tensor& x = seen->second;
        expected = x.t().matmul(x) * (2.0 / static_cast<double>(x.size(0)));
      }
      unreached += seen == inputs.end();
      EXPECT_TRUE(hessians[i].to(at::kDouble).allclose(expected, 1e-4, 1e-5)) << layers[i]->name();
    }
    EXPECT_EQ(unreached, calibration.size() == 1 ? 3 * 3 : 0);
  }
}

TEST(BlockWalkerTest, HessiansAreThoseOfAWholeForward) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = quantized_model("{num_bits: 4, group_size: 16}", "llama", dtype);
    const Calibration calibration = random_calibration();
    const auto inputs = all_inputs(*model, calibration);
    BlockWalker walker(*model, calibration);
    for (; walker.block() < model->num_blocks(); walker.advance()) {
      const auto layers = model->block_linears(walker.block());
      const std::vector<at::Tensor> together = walker.hessians(layers);
      ASSERT_EQ(together.size(), 7U);
      for (size_t i = 0; i < layers.size(); ++i) {
        const at::Tensor& x = inputs.at(layers[i]->name());
        const at::Tensor expected = x.t().matmul(x) * (2.0 / static_cast<double>(x.size(0)));
        ASSERT_EQ(together[i].scalar_type(), at::kFloat);
        EXPECT_TRUE(together[i].to(at::kDouble).allclose(expected, 1e-4, 1e-5)) << layers[i]->name();
        EXPECT_TRUE(at::equal(walker.hessians({layers[i]}).front(), together[i])) << layers[i]->name();
      }
    }
  }
}

TEST(BlockWalkerTest, NoObserverIsLeft) {
  const auto model = quantized_model("{}");
  const Calibration calibration = random_calibration();
  BlockWalker walker(*model, calibration);
  walker.input_groups();
  const auto layers = model->block_linears(0);
  walker.hessians({layers[0]});
  const at::NoGradGuard no_grad;
  EXPECT_NO_THROW(model->hidden(calibration.front()));  // an observer that were left would end the forward
}

TEST(BlockWalkerTest, NoCalibrationIsRefused) {
  const auto model = quantized_model("{}");
  EXPECT_THROW(BlockWalker(*model, {}), base::DataError);
}

}  // namespace
}  // namespace rqat::ptq
