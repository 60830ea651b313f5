#include <gtest/gtest.h>

#include <cmath>

#include "optim/optim_support.h"

namespace rqat::optim {
namespace {

constexpr const char* kSettings =
    "{learning_rate: 0.01, scale_learning_rate: 0.002, adam_beta1: 0.8, adam_beta2: 0.9, adam_epsilon: 1.0e-6, "
    "weight_decay: 0.1}";

Parameters make_parameters() {
  at::manual_seed(5);
  Parameters parameters;
  for (const char* group : {"weight", "bias", "norm", "embedding", "head", "scale", "zero_point"}) {
    parameters.add(std::string("model.") + group, group, at::randn({3, 5}));
  }
  return parameters;
}

void draw_gradients(Parameters& parameters) {
  for (size_t i = 0; i < parameters.slots().size(); ++i) parameters.grad(i) = at::randn({3, 5});
}

/// The paper's Algorithm 2 for one tensor in fp64.
struct PlainAdamW {
  at::Tensor parameter, first, second;
  int64_t steps = 0;

  explicit PlainAdamW(const at::Tensor& start)
      : parameter(start.to(at::kDouble)), first(at::zeros_like(parameter)), second(at::zeros_like(parameter)) {}

  void step(const at::Tensor& gradient, double learning_rate, double decay) {
    ++steps;
    first = 0.8 * first + 0.2 * gradient;
    second = 0.9 * second + 0.1 * gradient * gradient;
    const at::Tensor first_hat = first / (1 - std::pow(0.8, steps)), second_hat = second / (1 - std::pow(0.9, steps));
    parameter = parameter - learning_rate * (first_hat / (second_hat.sqrt() + 1e-6) + decay * parameter);
  }
};

TEST(AdamW, FollowsThePaperInEveryGroup) {
  Parameters parameters = make_parameters();
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(parameters, kSettings);
  std::vector<PlainAdamW> plain;
  for (const Slot& slot : parameters.slots()) plain.emplace_back(*slot.master);
  for (int step = 0; step < 6; ++step) {
    draw_gradients(parameters);
    const double factor = 1.0 / (1 + step), scale = step % 2 == 0 ? 1.0 : 0.3;
    for (size_t i = 0; i < plain.size(); ++i) {
      const std::string& group = parameters.slots()[i].group;
      const double rate = group == "scale" || group == "zero_point" ? 0.002 : 0.01;
      plain[i].step(parameters.grad(i).to(at::kDouble) * scale, rate * factor, group == "weight" ? 0.1 : 0.0);
    }
    optimizer->step(factor, scale);
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_LT((parameters.master(i).to(at::kDouble) - plain[i].parameter).abs().max().item<double>(), 1e-6)
        << parameters.slots()[i].group;
  }
}

TEST(AdamW, LearningRatesByGroup) {
  const Parameters parameters = make_parameters();
  const std::unique_ptr<Optimizer> own = make_optimizer(parameters, kSettings);
  EXPECT_EQ(own->learning_rate("weight"), 0.01);
  EXPECT_EQ(own->learning_rate("norm"), 0.01);
  EXPECT_EQ(own->learning_rate("scale"), 0.002);
  EXPECT_EQ(own->learning_rate("zero_point"), 0.002);
  const std::unique_ptr<Optimizer> shared = make_optimizer(parameters, "{learning_rate: 0.03}");
  EXPECT_EQ(shared->learning_rate("scale"), 0.03);
}

TEST(AdamW, ASlotWithoutGradientIsLeftAlone) {
  Parameters parameters = make_parameters();
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(parameters, kSettings);
  draw_gradients(parameters);
  parameters.grad(0) = at::Tensor();
  const at::Tensor weight = parameters.master(0).clone(), bias = parameters.master(1).clone();
  optimizer->step(1, 1);
  EXPECT_TRUE(at::equal(parameters.master(0), weight));
  EXPECT_FALSE(at::equal(parameters.master(1), bias));
  EXPECT_EQ(optimizer->state().count("m.model.weight"), 0u);
  EXPECT_EQ(optimizer->state().count("m.model.bias"), 1u);
}

TEST(AdamW, LearningRateZeroMovesNothing) {
  Parameters parameters = make_parameters();
  const at::Tensor before = parameters.master(0).clone();
  draw_gradients(parameters);
  make_optimizer(parameters, kSettings)->step(0, 1);
  EXPECT_TRUE(at::equal(parameters.master(0), before));
}

class RestoredAdamW : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, RestoredAdamW, testing::Values("adamw", "adamw_8bit"));

TEST_P(RestoredAdamW, ContinuesBitForBit) {
  Parameters straight = make_parameters(), resumed = make_parameters();
  const std::string settings = GetParam() == std::string("adamw") ? kSettings : "{min_8bit_size: 10}";
  const std::unique_ptr<Optimizer> first = make_optimizer(straight, settings, GetParam());
  std::map<std::string, at::Tensor> saved;
  std::vector<std::vector<at::Tensor>> gradients;
  for (int step = 0; step < 6; ++step) {
    draw_gradients(straight);
    if (step < 3) straight.grad(2) = at::Tensor();  // a slot without state when it is saved
    if (step >= 3) {
      gradients.emplace_back();
      for (size_t i = 0; i < straight.slots().size(); ++i) gradients.back().push_back(straight.grad(i));
    }
    first->step(0.5, 0.9);
    if (step != 2) continue;
    for (const auto& [name, tensor] : first->state()) saved[name] = tensor.clone();
    for (size_t i = 0; i < straight.slots().size(); ++i) resumed.master(i).copy_(straight.master(i));
  }
  const std::unique_ptr<Optimizer> second = make_optimizer(resumed, settings, GetParam());
  second->load_state(saved);
  for (const auto& step : gradients) {
    for (size_t i = 0; i < step.size(); ++i) resumed.grad(i) = step[i];
    second->step(0.5, 0.9);
  }
  for (size_t i = 0; i < straight.slots().size(); ++i)
    EXPECT_TRUE(at::equal(straight.master(i), resumed.master(i))) << i;
  const auto wanted = first->state(), actual = second->state();
  ASSERT_EQ(actual.size(), wanted.size());
  for (const auto& [name, tensor] : wanted) EXPECT_TRUE(at::equal(actual.at(name), tensor)) << name;
}

class AdamWState : public testing::Test {
 protected:
  AdamWState() {
    optimizer_ = make_optimizer(parameters_);
    draw_gradients(parameters_);
    optimizer_->step(1, 1);
    state_ = optimizer_->state();
  }
  void expect_fault(const std::string& part) {
    try {
      optimizer_->load_state(state_);
      ADD_FAILURE() << "nothing thrown";
    } catch (const base::IoError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  Parameters parameters_ = make_parameters();
  std::unique_ptr<Optimizer> optimizer_;
  std::map<std::string, at::Tensor> state_;
};

TEST_F(AdamWState, WithoutStepIsRefused) {
  state_.erase("step");
  expect_fault("step");
}

TEST_F(AdamWState, HalfAPairIsRefused) {
  for (const char* name : {"m.model.norm", "v.model.norm"}) {
    state_ = optimizer_->state();
    state_.erase(name);
    expect_fault(name);
  }
}

TEST_F(AdamWState, AnotherShapeIsRefused) {
  state_["v.model.weight"] = at::zeros({5, 3});
  expect_fault("v.model.weight");
}

TEST_F(AdamWState, OfAnotherModelIsRefused) {
  state_["m.model.layers.9.weight"] = at::zeros({3, 5});
  expect_fault("m.model.layers.9.weight");
}

TEST(AdamW8Bit, LargeParametersHoldTwoBytesPerValueAndSmallOnesFp32) {
  Parameters parameters;
  parameters.add("large", "weight", at::randn({64, 64}));
  parameters.add("small", "norm", at::randn({64}));
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(parameters, "{}", "adamw_8bit");
  for (size_t i = 0; i < 2; ++i) parameters.grad(i) = at::randn_like(parameters.master(i));
  optimizer->step(1, 1);
  const auto state = optimizer->state();
  EXPECT_EQ(state.at("m.large").scalar_type(), at::kByte);
  EXPECT_EQ(state.at("v_scale.large").numel(), 16);
  EXPECT_EQ(state.at("m.small").scalar_type(), at::kFloat);
  EXPECT_EQ(state.count("m_scale.small"), 0u);
  try {
    make_optimizer(parameters)->load_state(state);
    ADD_FAILURE() << "fp32 moments took 8-bit codes";
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("m.large has another shape or type"), std::string::npos) << error.what();
  }
}

TEST(AdamWSettings, OutOfRangeIsRefused) {
  const Parameters parameters = make_parameters();
  for (const char* yaml :
       {"{learning_rate: 0}", "{adam_beta1: 1.5}", "{adam_epsilon: 0}", "{weight_decay: -1}", "{momentum: 1}"}) {
    EXPECT_THROW(make_optimizer(parameters, yaml), base::ConfigError) << yaml;
  }
}

// What every optimizer of the registry does: it goes downhill, and its state round-trips.
TEST(Optimizers, EveryEntryFindsTheMinimumOfAParabola) {
  for (const std::string& name : optimizers().names()) {
    Parameters parameters;
    parameters.add("x", "weight", at::full({4}, 3.0));
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(parameters, "{learning_rate: 0.1}", name);
    for (int step = 0; step < 400; ++step) {
      parameters.grad(0) = 2 * (parameters.master(0) - 1);
      optimizer->step(1 - step / 400.0, 1);
    }
    EXPECT_LT((parameters.master(0) - 1).abs().max().item<double>(), 1e-2) << name;
    EXPECT_NO_THROW(make_optimizer(parameters, "{}", name)->load_state(optimizer->state())) << name;
  }
}

}  // namespace
}  // namespace rqat::optim
