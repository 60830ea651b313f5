#include "rqat/nn/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "rqat/base/error.h"
#include "rqat/nn/layer_factory.h"

namespace rqat::nn {
namespace {

class FloatLinearTest : public testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(1);
    weight_ = at::randn({5, 8});
    bias_ = at::randn({5});
    layer_.load(weight_, bias_);
    x_ = at::randn({3, 2, 8}).set_requires_grad(true);
    dy_ = at::randn({3, 2, 5});
  }
  void backward(const at::Tensor& y) { y.backward(dy_); }

  FloatLinear layer_{{"layer", 8, 5, true}};
  at::Tensor weight_, bias_, x_, dy_;
};

TEST_F(FloatLinearTest, GradientsAreThoseOfAtLinear) {
  backward(layer_.forward(x_));
  at::Tensor w = weight_.clone().set_requires_grad(true), b = bias_.clone().set_requires_grad(true);
  at::Tensor x = x_.detach().clone().set_requires_grad(true);
  const at::Tensor expected = at::linear(x, w, b);
  expected.backward(dy_);
  EXPECT_TRUE(layer_.forward(x_).allclose(expected, 1e-5, 1e-5));
  EXPECT_TRUE(x_.grad().allclose(x.grad(), 1e-5, 1e-5));
  EXPECT_TRUE(layer_.parameters()[0]->grad.allclose(w.grad(), 1e-5, 1e-5));
  EXPECT_TRUE(layer_.parameters()[1]->grad.allclose(b.grad(), 1e-5, 1e-5));
}

TEST_F(FloatLinearTest, GradientsAddUpOverMicroBatches) {
  backward(layer_.forward(x_));
  const at::Tensor once = layer_.parameters()[0]->grad.clone();
  backward(layer_.forward(x_));
  EXPECT_TRUE(layer_.parameters()[0]->grad.allclose(2 * once, 1e-6, 1e-6));
}

TEST_F(FloatLinearTest, FrozenParametersGetNone) {
  layer_.parameters()[0]->trainable = false;
  backward(layer_.forward(x_));
  EXPECT_FALSE(layer_.parameters()[0]->grad.defined());
  EXPECT_TRUE(layer_.parameters()[1]->grad.defined());
  EXPECT_TRUE(x_.grad().defined());
  layer_.prepare_training();
  EXPECT_FALSE(layer_.parameters()[0]->master.defined());
  EXPECT_TRUE(layer_.parameters()[1]->master.defined());
}

TEST_F(FloatLinearTest, Bf16GradientIsAccumulatedInFp32) {
  FloatLinear layer({"layer", 8, 5, false});
  layer.load(weight_.to(at::kBFloat16), {});
  const at::Tensor x = at::ones({1, 8}, at::kBFloat16).set_requires_grad(true);
  layer.forward(x).backward(at::full({1, 5}, 256.0, at::kBFloat16));
  layer.forward(x).backward(at::ones({1, 5}, at::kBFloat16));
  EXPECT_TRUE(layer.parameters()[0]->grad.equal(at::full({5, 8}, 257.0f)));  // 257 is no bf16 number
}

TEST_F(FloatLinearTest, PackedExecutionHasNoGradient) {
  layer_.set_execution(Execution::kPacked);
  EXPECT_EQ(layer_.execution(), Execution::kPacked);
  EXPECT_THROW(layer_.forward(x_), std::logic_error);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(layer_.forward(x_).allclose(at::linear(x_, weight_, bias_), 1e-5, 1e-5));
}

TEST_F(FloatLinearTest, ObserverSeesEveryInput) {
  int calls = 0;
  layer_.set_input_observer([&](const at::Tensor& x) { calls += x.is_same(x_) ? 1 : 100; });
  layer_.forward(x_);
  layer_.set_execution(Execution::kPacked);
  const at::NoGradGuard no_grad;
  layer_.forward(x_);
  EXPECT_EQ(calls, 2);
  layer_.set_input_observer({});
  layer_.forward(x_);
  EXPECT_EQ(calls, 2);
}

TEST_F(FloatLinearTest, RefreshRoundsTheMaster) {
  FloatLinear layer({"layer", 8, 5, false});
  layer.load(weight_.to(at::kBFloat16), {});
  EXPECT_EQ(layer.weight_bytes(), 80);
  layer.prepare_training();
  layer.parameters()[0]->master.fill_(1.003);
  layer.refresh();
  EXPECT_TRUE(layer.dense_weight().equal(at::ones({5, 8}, at::kBFloat16)));
}

TEST_F(FloatLinearTest, LoadRefusesOtherShapes) {
  EXPECT_THROW(layer_.load(at::ones({8, 5}), bias_), base::DataError);
  EXPECT_THROW(layer_.load(weight_, at::Tensor()), base::DataError);
  EXPECT_THROW(layer_.load(weight_, at::ones({8})), base::DataError);
  FloatLinear without({"layer", 8, 5, false});
  EXPECT_THROW(without.load(weight_, bias_), base::DataError);
}

TEST(FloatLayerFactory, MakesFloatLinearsAndNoTransforms) {
  FloatLayerFactory factory;
  EXPECT_EQ(factory.linear({"a.b", 4, 2, false})->name(), "a.b");
  EXPECT_EQ(factory.activation("model.layers.0.mlp_input"), nullptr);
}

}  // namespace
}  // namespace rqat::nn
