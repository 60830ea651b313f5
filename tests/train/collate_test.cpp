#include <gtest/gtest.h>

#include "train/backpropagate.h"
#include "train/train_support.h"

namespace rqat::train {
namespace {

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

TEST(Collate, RowsPredictTheNextCountedToken) {
  const data::Example first{{10, 11, 12, 13}, {0, 0, 1, 1}}, second{{20, 21, 22}, {1, 0, 1}}, silent{{30, 31}, {0, 0}};
  const nn::TargetBatch collated = collate({&first, &silent, &second}, at::kCPU);
  ASSERT_EQ(collated.tokens.size(), 64);  // filled up, and no row looks at the filling
  EXPECT_EQ(numbers(collated.tokens.ids.slice(0, 0, 9)), (std::vector<int64_t>{10, 11, 12, 13, 30, 31, 20, 21, 22}));
  EXPECT_EQ(numbers(collated.tokens.positions.slice(0, 0, 9)), (std::vector<int64_t>{0, 1, 2, 3, 0, 1, 0, 1, 2}));
  EXPECT_EQ(numbers(collated.rows), (std::vector<int64_t>{1, 2, 7}));  // a first token is never predicted
  EXPECT_EQ(numbers(collated.targets), (std::vector<int64_t>{12, 13, 22}));
  ASSERT_EQ(collated.tokens.segments.size(), 4u);
  EXPECT_EQ(collated.tokens.segments[1].begin, 4);
  EXPECT_EQ(collated.tokens.segments[1].end, 6);
  EXPECT_EQ(collated.tokens.segments[3].begin, 9);
  EXPECT_EQ(collated.tokens.segments[3].parent, -1);
}

TEST(Collate, RowsAgreeWithTheCountOfTargets) {
  const std::vector<data::Example> examples = random_examples(5);
  std::vector<const data::Example*> pointers;
  int64_t targets = 0;
  for (const data::Example& example : examples) {
    pointers.push_back(&example);
    targets += example.num_targets();
  }
  EXPECT_EQ(collate(pointers, at::kCPU).rows.numel(), targets);
}

TEST(Collate, SharedBeginningsChangeNoGradient) {
  std::vector<data::Example> examples = random_examples(4);
  const data::Example system{std::vector<int64_t>(18, 5), std::vector<uint8_t>(18, 0)};
  std::vector<const data::Example*> pointers;
  for (data::Example& example : examples) {
    example.ids.insert(example.ids.begin(), system.ids.begin(), system.ids.end());
    example.loss_mask.insert(example.loss_mask.begin(), system.loss_mask.begin(), system.loss_mask.end());
    pointers.push_back(&example);
  }
  const auto gradients = [](const std::vector<std::vector<const data::Example*>>& batches) {
    const auto model = float_model();
    const auto objective = objective::objectives().make("cross_entropy");
    StepRunner runner(*model, LoopConfig());
    int64_t tokens = 0;
    for (const auto& examples : batches) {
      const nn::TargetBatch batch = collate(examples, at::kCPU);
      objective::ObjectiveInput input;
      input.targets = batch.targets;
      input.head = runner.head();
      input.normalizer = 10;
      backpropagate(*model, batch.tokens, batch.rows, *objective, std::move(input));
      tokens += batch.tokens.segments.back().begin;
    }
    io::TensorMap found{{"tokens", at::scalar_tensor(tokens)}};
    for (nn::Parameter* parameter : model->parameters()) {
      if (parameter->grad.defined()) found[parameter->name] = parameter->grad.clone();
    }
    return found;
  };
  io::TensorMap together = gradients({pointers}), apart;
  apart = gradients({{pointers[0]}, {pointers[1]}, {pointers[2]}, {pointers[3]}});
  EXPECT_LT(together.at("tokens").item<int64_t>(), apart.at("tokens").item<int64_t>() - 3 * 17);
  together.erase("tokens");
  ASSERT_GT(together.size(), 5u);
  for (const auto& [name, gradient] : together) {
    const double scale = apart.at(name).abs().max().item<double>();
    EXPECT_LT((gradient - apart.at(name)).abs().max().item<double>(), 1e-5 * (1 + scale)) << name;
  }
}

}  // namespace
}  // namespace rqat::train
