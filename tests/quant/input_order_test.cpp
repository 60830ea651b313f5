// A layer with an input order against one of the explicitly permuted weight and inputs.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/quant_support.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/quant/policy.h"
#include "rqat/quant/state.h"
#include "support/messages.h"

namespace rqat::quant {
namespace {

using test::message_of;
using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kIn = 40, kOut = 12;
const std::string kOrderKey = "model.layers.0.mlp.up_proj.weight_input_order";

at::Tensor order_of(int64_t columns = kIn, int64_t seed = 3) {
  at::manual_seed(seed);
  return at::randperm(columns, at::kLong);
}

/// The place of each input in an order, by counting.
at::Tensor inverse_of(const at::Tensor& order) {
  at::Tensor inverse = at::empty_like(order);
  for (int64_t place = 0; place < order.numel(); ++place) inverse[order[place]] = place;
  return inverse;
}

struct Pair {
  std::unique_ptr<FakeQuantLinear> plain, ordered;
  at::Tensor order;
};

/// `plain` is of a weight whose columns are in the order, `ordered` is the same layer for inputs as they come.
Pair make_pair(const QuantFormat& format, const std::string& estimator = "ste", const std::string& settings = "{}",
               at::ScalarType dtype = at::kFloat, int64_t in = kIn, int64_t out = kOut) {
  Pair pair;
  pair.order = order_of(in);
  pair.plain = make_layer(format, estimator, settings, in, out);
  pair.ordered = make_layer(format, estimator, settings, in, out);
  const at::Tensor weight = (at::randn({out, in}) * 0.1).to(dtype);
  pair.plain->load(weight, {});
  pair.ordered->load(at::zeros_like(weight), {});
  QuantParams params = pair.plain->params();
  params.scale = params.scale * 0.8;  // some weights are clipped
  for (FakeQuantLinear* layer : {pair.plain.get(), pair.ordered.get()}) {
    layer->set_quantization({params.scale.clone(), params.zero_point}, weight.to(at::kFloat).clone(),
                            layer == pair.ordered.get() ? pair.order : at::Tensor());
  }
  return pair;
}

/// Small integers: sums of their products are exact in any order.
at::Tensor integers(at::IntArrayRef shape) { return at::randint(-4, 5, shape).to(at::kFloat); }

TEST(InputOrderTest, MultipliesWithTheColumnsOfTheInputs) {
  for (const QuantFormat& format : {make_format(2, false, 16), make_format(4, true, 8)}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Pair pair = make_pair(format, "ste", "{}", dtype);
      const at::Tensor inverse = inverse_of(pair.order), dense = pair.plain->dense_weight().index_select(1, inverse);
      EXPECT_EQ(pair.ordered->format().text(), format.text() + "_act_order");
      EXPECT_TRUE(at::equal(pair.ordered->codes(), pair.plain->codes()));
      EXPECT_TRUE(at::equal(pair.ordered->dense_weight(), dense));
      EXPECT_TRUE(at::equal(pair.ordered->by_input(pair.plain->codes()), pair.plain->codes().index_select(1, inverse)));
      EXPECT_TRUE(at::equal(pair.ordered->group_of_input(), inverse.floor_divide(format.resolved_group(kIn))));
      const at::Tensor x = at::randn({5, kIn}).to(dtype);
      EXPECT_TRUE(at::equal(pair.ordered->forward(x), at::linear(x, dense)));
      pair.ordered->set_bypass(true);
      EXPECT_TRUE(
          at::equal(pair.ordered->dense_weight(), pair.plain->master_weight().index_select(1, inverse).to(dtype)));
    }
  }
}

/// Three optimizer steps, with masters, scales and zero points trained, bit for bit.
TEST(InputOrderTest, TrainsAsThePermutedLayer) {
  const std::vector<std::pair<std::string, std::string>> estimators{
      {"ste", "{}"}, {"clipped_ste", "{}"}, {"lsq", "{learn_zero_point: true}"}, {"held_codes", "{}"}};
  for (const auto& [estimator, settings] : estimators) {
    SCOPED_TRACE(estimator);
    const Pair pair = make_pair(make_format(2, false, 16), estimator, settings);
    const at::Tensor codes = pair.plain->codes();
    for (FakeQuantLinear* layer : {pair.plain.get(), pair.ordered.get()}) {
      layer->set_count_flips(true);
      layer->prepare_training();
    }
    for (int step = 0; step < 3; ++step) {
      for (int batch = 0; batch < 2; ++batch) {
        const at::Tensor x = integers({7, kIn}), dy = integers({7, kOut});
        at::Tensor own = x.clone().set_requires_grad(true);
        at::Tensor permuted = x.index_select(1, pair.order).set_requires_grad(true);
        pair.ordered->forward(own).backward(dy);
        pair.plain->forward(permuted).backward(dy);
        EXPECT_TRUE(own.grad().index_select(1, pair.order).allclose(permuted.grad(), 1e-5, 1e-6));
      }
      const nn::ParameterList ordered = pair.ordered->parameters(), plain = pair.plain->parameters();
      pair.ordered->reduce_gradients();
      pair.plain->reduce_gradients();
      ASSERT_EQ(ordered.size(), plain.size());
      for (size_t i = 0; i < plain.size(); ++i) {
        ASSERT_TRUE(at::equal(ordered[i]->grad, plain[i]->grad)) << plain[i]->name;
        ASSERT_GT(plain[i]->grad.abs().max().item<float>(), 0) << plain[i]->name;
        for (nn::Parameter* parameter : {ordered[i], plain[i]}) parameter->master.sub_(parameter->grad, 1e-3);
      }
      pair.ordered->refresh();
      pair.plain->refresh();
      EXPECT_TRUE(at::equal(pair.ordered->codes(), pair.plain->codes()));
      EXPECT_EQ(pair.ordered->flipped(), pair.plain->flipped());
      EXPECT_TRUE(at::equal(pair.ordered->dense_weight().index_select(1, pair.order), pair.plain->dense_weight()));
    }
    EXPECT_FALSE(at::equal(pair.plain->codes(), codes));
  }
}

TEST(InputOrderTest, PackedProductsAreThoseOfThePermutedLayer) {
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Pair pair = make_pair(make_format(bits, false, 32), "ste", "{}", dtype, 256, 64);
      const at::NoGradGuard no_grad;
      const at::Tensor dense = pair.ordered->dense_weight();
      for (FakeQuantLinear* layer : {pair.plain.get(), pair.ordered.get()})
        layer->set_execution(nn::Execution::kPacked);
      for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 256}, {3, 256}, {2, 50, 256}}) {
        const at::Tensor x = at::randn(shape).to(dtype), y = pair.ordered->forward(x);
        EXPECT_TRUE(at::equal(y, pair.plain->forward(x.index_select(-1, pair.order))));
        const double tolerance = dtype == at::kFloat ? 1e-5 : 3e-2;
        EXPECT_TRUE(y.allclose(at::linear(x, dense), tolerance, tolerance)) << bits;
      }
      EXPECT_TRUE(at::equal(pair.ordered->dense_weight(), dense));
      pair.ordered->set_execution(nn::Execution::kTrain);
      EXPECT_TRUE(at::equal(pair.ordered->dense_weight(), dense));
    }
  }
}

TEST(InputOrderTest, AWeightHasNone) {
  const Pair pair = make_pair(make_format(2, false, 16));
  const at::Tensor weight = at::randn({kOut, kIn});
  pair.ordered->load(weight, {});
  EXPECT_FALSE(pair.ordered->input_order().defined());
  EXPECT_EQ(pair.ordered->format(), pair.plain->format());
  EXPECT_TRUE(at::equal(pair.ordered->master_weight(), weight));
  EXPECT_TRUE(at::equal(pair.ordered->group_of_input(), at::arange(kIn, at::kLong).floor_divide(16)));
}

TEST(InputOrderTest, WhatIsNoOrderIsNamed) {
  const Pair pair = make_pair(make_format(2, false, 16));
  const auto fault = [&](const at::Tensor& order) {
    return message_of<base::IoError>([&] {
      pair.plain->restore(pair.plain->scale_master(), pair.plain->zero_point_master(), pair.plain->codes(), {}, order);
    });
  };
  const auto is_named = AllOf(HasSubstr(pair.plain->name()), HasSubstr("no permutation of the 40 inputs"));
  at::Tensor twice = pair.order.clone(), outside = pair.order.clone(), negative = pair.order.clone();
  twice[0] = twice[1];
  outside[7] = kIn;
  negative[7] = -1;
  for (const at::Tensor& order : {twice, outside, negative, pair.order.slice(0, 0, 39), order_of(41),
                                  pair.order.to(at::kFloat), pair.order.view({2, 20})}) {
    EXPECT_THAT(fault(order), is_named);
    EXPECT_FALSE(pair.plain->input_order().defined());
  }
}

TEST(InputOrderTest, StateRoundTripIsBitExact) {
  for (const QuantFormat& format : all_formats()) {
    SCOPED_TRACE(format.text() + " " + format.scale_dtype);
    const Pair pair = make_pair(format, "lsq", "{learn_zero_point: true}");
    const auto tensors = state_tensors({pair.ordered.get()});
    EXPECT_EQ(tensors.at(kOrderKey).scalar_type(), at::kInt);
    EXPECT_EQ(tensors.count("model.layers.0.mlp.up_proj.weight_master"), 1U);
    EXPECT_EQ(state_tensors({pair.plain.get()}).count(kOrderKey), 0U);

    const auto formats = formats_of({pair.ordered.get()});
    EXPECT_TRUE(formats.begin()->second.act_order);
    const auto read = read_formats(write_formats(formats), "rqat_quant.json");
    EXPECT_EQ(read, formats);
    EXPECT_NE(read, formats_of({pair.plain.get()}));

    const auto restored = make_layer(read.begin()->second, "lsq", "{learn_zero_point: true}");
    restored->await_state();
    restored->load(pair.ordered->dense_weight(), {});
    load_state({restored.get()}, tensors);
    EXPECT_TRUE(at::equal(restored->input_order(), pair.order));
    EXPECT_TRUE(at::equal(restored->codes(), pair.ordered->codes()));
    EXPECT_TRUE(at::equal(restored->master_weight(), pair.ordered->master_weight()));
    EXPECT_TRUE(at::equal(restored->dense_weight(), pair.ordered->dense_weight()));
    const auto again = state_tensors({restored.get()});
    ASSERT_EQ(again.size(), tensors.size());
    for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(again.at(name), tensor)) << name;
  }
}

TEST(InputOrderTest, StateThatDoesNotFitIsNamed) {
  const Pair pair = make_pair(make_format(2, false, 16));
  const auto tensors = state_tensors({pair.ordered.get()});
  const auto fault = [&](const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
    auto changed = tensors;
    change(changed);
    return message_of<base::IoError>([&] { load_state({pair.ordered.get()}, changed); });
  };
  EXPECT_THAT(fault([](auto& changed) { changed.erase(kOrderKey); }), HasSubstr(kOrderKey + ": missing"));
  EXPECT_THAT(fault([](auto& changed) { changed[kOrderKey] = changed[kOrderKey].slice(0, 1, kIn); }),
              HasSubstr(kOrderKey + ": has shape"));
  EXPECT_THAT(fault([](auto& changed) { changed[kOrderKey] = at::zeros({kIn}, at::kInt); }),
              HasSubstr("model.layers.0.mlp.up_proj: the input order is no permutation"));
}

/// It comes with weights; a recipe cannot ask for it.
TEST(InputOrderTest, IsNoSetting) {
  QuantPolicy policy;
  base::Faults faults;
  base::read_config(policy, base::Node::parse("{num_bits: 2, act_order: true}", "test"), "quant", faults);
  EXPECT_THAT(base::join(faults.lines(), "\n"), HasSubstr("act_order"));
  EXPECT_THAT(message_of<base::IoError>([] {
                read_formats(R"({"format_version": 1, "layers": {"a": {"act_order": 1}}})", "folder/rqat_quant.json");
              }),
              AllOf(HasSubstr("folder/rqat_quant.json: a.act_order is 1"), HasSubstr("true or false")));
}

}  // namespace
}  // namespace rqat::quant
