#include "rqat/quant/fake_quant_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "quant/quant_support.h"
#include "rqat/base/error.h"

namespace rqat::quant {
namespace {

constexpr int64_t kIn = 40, kOut = 12;

at::Tensor weight_of(int64_t seed = 1) {
  at::manual_seed(seed);
  return at::randn({kOut, kIn}) * 0.1;
}

nn::Parameter* named(FakeQuantLinear& layer, const std::string& suffix) {
  for (nn::Parameter* parameter : layer.parameters()) {
    if (parameter->name == layer.name() + suffix) return parameter;
  }
  return nullptr;
}

/// One training step's backward for `dy`; returns the output.
at::Tensor run(FakeQuantLinear& layer, const at::Tensor& x, const at::Tensor& dy) {
  const at::Tensor y = layer.forward(x.detach().clone().set_requires_grad(true));
  y.backward(dy);
  return y.detach();
}

TEST(FakeQuantLinearTest, ForwardMultipliesWithTheQuantizedWeight) {
  for (const QuantFormat& format : {make_format(2, false, 16), make_format(4, true, -1)}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const auto layer = make_layer(format, "ste", "{}", kIn, kOut, /*bias=*/true);
      const at::Tensor weight = weight_of().to(dtype), bias = at::randn({kOut}).to(dtype),
                       x = at::randn({5, kIn}).to(dtype);
      layer->load(weight, bias);
      const QuantParams params = layer->params();
      const at::Tensor master = weight.to(at::kFloat), scale = spread(params.scale, format, kIn),
                       zero = spread(params.zero_point, format, kIn);
      const at::Tensor code = (at::round(master / scale) + zero).clamp(0, static_cast<double>(format.max_code()));
      EXPECT_TRUE(at::equal(layer->codes().to(at::kFloat), code));
      EXPECT_TRUE(at::equal(layer->dense_weight(), (scale * (code - zero)).to(dtype)));
      EXPECT_TRUE(at::equal(layer->forward(x), at::linear(x, (scale * (code - zero)).to(dtype), bias)));
    }
  }
}

TEST(FakeQuantLinearTest, MicroBatchesEqualOneBatch) {
  for (const char* estimator : {"ste", "clipped_ste", "lsq"}) {
    const auto whole = make_layer(make_format(2, false, 16), estimator, "{}", kIn, kOut, true);
    const auto parts = make_layer(make_format(2, false, 16), estimator, "{}", kIn, kOut, true);
    const at::Tensor weight = weight_of(), bias = at::randn({kOut}), x = at::randn({12, kIn}),
                     dy = at::randn({12, kOut});
    for (FakeQuantLinear* layer : {whole.get(), parts.get()}) {
      layer->load(weight, bias);
      layer->prepare_training();
    }
    run(*whole, x, dy);
    for (int64_t i = 0; i < 12; i += 3) run(*parts, x.slice(0, i, i + 3), dy.slice(0, i, i + 3));
    whole->reduce_gradients();
    parts->reduce_gradients();
    ASSERT_EQ(whole->parameters().size(), parts->parameters().size());
    for (size_t i = 0; i < whole->parameters().size(); ++i) {
      ASSERT_TRUE(whole->parameters()[i]->grad.defined()) << whole->parameters()[i]->name;
      EXPECT_TRUE(whole->parameters()[i]->grad.allclose(parts->parameters()[i]->grad, 1e-5, 1e-5))
          << whole->parameters()[i]->name;
    }
  }
}

// The composition that others train with: fake quantization inside the graph, rounding detached.
TEST(FakeQuantLinearTest, GradientsEqualThoseOfAnAutogradComposition) {
  for (const bool symmetric : {false, true}) {
    const QuantFormat format = make_format(2, symmetric, 16);
    const auto layer = make_layer(format, "lsq", "{grad_scale: none}");
    layer->load(weight_of(), {});
    QuantParams params = layer->params();
    layer->set_quantization({params.scale * 0.7, params.zero_point}, {});  // part of the weights is clipped
    params = layer->params();
    layer->prepare_training();
    const at::Tensor x = at::randn({9, kIn}), dy = at::randn({9, kOut});

    at::Tensor w = layer->master_weight().clone().set_requires_grad(true),
               s = params.scale.clone().set_requires_grad(true);
    const at::Tensor scale = s.repeat_interleave(16, 1).slice(1, 0, kIn), zero = spread(params.zero_point, format, kIn);
    const at::Tensor ratio = w / scale;
    const at::Tensor rounded = ratio + (at::round(ratio) - ratio).detach();
    const at::Tensor w_hat = scale * ((rounded + zero).clamp(0, 3) - zero);
    at::Tensor other_x = x.clone().set_requires_grad(true);
    const at::Tensor expected = at::linear(other_x, w_hat);
    expected.backward(dy);
    const double clipped = (w.grad() == 0).to(at::kDouble).mean().item<double>();
    ASSERT_GT(clipped, 0.01);
    ASSERT_LT(clipped, 0.6);

    at::Tensor own_x = x.clone().set_requires_grad(true);
    const at::Tensor y = layer->forward(own_x);
    y.backward(dy);
    layer->reduce_gradients();
    EXPECT_TRUE(y.allclose(expected, 1e-5, 1e-6));
    EXPECT_TRUE(own_x.grad().allclose(other_x.grad(), 1e-5, 1e-6));
    EXPECT_TRUE(named(*layer, ".weight")->grad.allclose(w.grad(), 1e-5, 1e-5));
    EXPECT_TRUE(named(*layer, ".weight_scale")->grad.allclose(s.grad(), 1e-4, 1e-4));
  }
}

TEST(FakeQuantLinearTest, ParametersFollowTheEstimator) {
  const auto count = [](const char* estimator, const char* settings, bool symmetric, bool bias) {
    const auto layer = make_layer(make_format(2, symmetric, 16), estimator, settings, kIn, kOut, bias);
    layer->load(weight_of(), bias ? at::zeros({kOut}) : at::Tensor());
    return layer->parameters().size();
  };
  EXPECT_EQ(count("ste", "{}", false, false), 1U);
  EXPECT_EQ(count("ste", "{}", false, true), 2U);
  EXPECT_EQ(count("lsq", "{}", false, false), 2U);
  EXPECT_EQ(count("lsq", "{learn_zero_point: true}", false, false), 3U);
  EXPECT_EQ(count("lsq", "{learn_zero_point: true}", true, false), 2U);
}

TEST(FakeQuantLinearTest, FrozenParametersGetNoGradient) {
  const auto layer = make_layer(make_format(2, false, 16), "lsq");
  layer->load(weight_of(), {});
  layer->prepare_training();
  named(*layer, ".weight")->trainable = false;
  run(*layer, at::randn({3, kIn}), at::randn({3, kOut}));
  layer->reduce_gradients();
  EXPECT_FALSE(named(*layer, ".weight")->grad.defined());
  EXPECT_TRUE(named(*layer, ".weight_scale")->grad.defined());
  named(*layer, ".weight_scale")->trainable = false;
  named(*layer, ".weight_scale")->grad = at::Tensor();
  run(*layer, at::randn({3, kIn}), at::randn({3, kOut}));
  layer->reduce_gradients();
  EXPECT_FALSE(named(*layer, ".weight_scale")->grad.defined());
}

TEST(FakeQuantLinearTest, PackedModeHasTheSameCodesAndNoDenseWeight) {
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const QuantFormat format = make_format(bits, false, 32);
      const auto layer = make_layer(format, "ste", "{}", 256, 64, true);
      at::manual_seed(bits);
      layer->load((at::randn({64, 256}) * 0.1).to(dtype), at::randn({64}).to(dtype));
      const at::Tensor x = at::randn({3, 256}).to(dtype), codes = layer->codes();
      const at::NoGradGuard no_grad;
      const at::Tensor y = layer->forward(x);
      EXPECT_EQ(layer->weight_bytes(), 64 * 256 * static_cast<int64_t>(at::elementSize(dtype)));
      layer->set_execution(nn::Execution::kPacked);
      EXPECT_EQ(layer->execution(), nn::Execution::kPacked);
      EXPECT_TRUE(at::equal(layer->codes(), codes));
      // Codes, one fp32 scale and one byte of zero point per 32 weights, and what padding of rows may add.
      EXPECT_LE(layer->weight_bytes(), 64 * 256 * (bits == 3 ? 4 : bits) / 8 + 64 * 8 * 5 + 4096);
      const double tolerance = dtype == at::kFloat ? 1e-5 : 2e-2;
      EXPECT_TRUE(layer->forward(x).allclose(y, tolerance, tolerance)) << bits;
      EXPECT_TRUE(at::equal(layer->dense_weight(),
                            quantizers().make("int_affine")->dequantize(codes, layer->params(), format, dtype)));
      EXPECT_LE(layer->weight_bytes(), 64 * 256 * (bits == 3 ? 4 : bits) / 8 + 64 * 8 * 5 + 4096);  // it was not kept
      layer->set_execution(nn::Execution::kTrain);
      EXPECT_TRUE(at::equal(layer->codes(), codes));
      EXPECT_TRUE(at::equal(layer->forward(x), y));
    }
  }
}

TEST(FakeQuantLinearTest, PackedModeRecordsNoGradient) {
  const auto layer = make_layer(make_format(2, false, 16));
  layer->load(weight_of(), {});
  layer->set_execution(nn::Execution::kPacked);
  EXPECT_THROW(layer->forward(at::randn({2, kIn}).set_requires_grad(true)), std::logic_error);
}

TEST(FakeQuantLinearTest, RefreshInPackedModeTakesTheNewMaster) {
  const auto layer = make_layer(make_format(4, false, 16));
  layer->load(weight_of(), {});
  layer->set_execution(nn::Execution::kPacked);
  const at::Tensor before = layer->codes();
  at::Tensor master = layer->master_weight();
  master.neg_();
  layer->refresh();
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({2, kIn});
  EXPECT_FALSE(at::equal(layer->codes(), before));
  EXPECT_TRUE(layer->forward(x).allclose(at::linear(x, layer->dense_weight()), 1e-5, 1e-5));
}

TEST(FakeQuantLinearTest, FlipsAreCounted) {
  const auto layer = make_layer(make_format(2, false, 16));
  layer->set_count_flips(true);
  layer->load(weight_of(), {});
  layer->prepare_training();
  layer->refresh();
  EXPECT_EQ(layer->flipped(), 0);
  const at::Tensor before = layer->codes();
  at::Tensor master = layer->master_weight();
  for (const int64_t k : {0, 17, 33}) {  // to the other end of the range of three groups
    const bool low = before[2][k].item<int64_t>() < 2;
    master[2][k] = low ? 10.0 : -10.0;
  }
  layer->refresh();
  EXPECT_EQ(layer->flipped(), at::ne(layer->codes(), before).sum().item<int64_t>());
  EXPECT_EQ(layer->flipped(), 3);
  layer->refresh();
  EXPECT_EQ(layer->flipped(), 0);
}

TEST(FakeQuantLinearTest, EstimatorsThatHoldCodesCarryTheMasterWithItsScale) {
  for (const bool holds : {false, true}) {
    const auto layer = make_layer(make_format(2, false, 16), holds ? "held_codes" : "lsq", "{}", kIn, kOut, false);
    layer->load(weight_of(), {});
    layer->prepare_training();
    const at::Tensor codes = layer->codes(), dense = layer->dense_weight().clone(), scale = layer->params().scale;
    named(*layer, ".weight_scale")->master.mul_(1.5);
    layer->refresh();
    EXPECT_EQ(at::equal(layer->codes(), codes), holds);
    if (!holds) continue;
    const at::Tensor factor = spread(layer->params().scale / scale, layer->format(), kIn);
    EXPECT_TRUE(layer->dense_weight().allclose(dense * factor, 1e-6, 0));
    EXPECT_TRUE(layer->master_weight().allclose(weight_of() * factor, 1e-6, 0));
  }
}

TEST(FakeQuantLinearTest, SetQuantizationInstallsExactlyTheseCodes) {
  for (const QuantFormat& format : all_formats()) {
    const auto layer = make_layer(format);
    layer->load(weight_of(), {});
    at::manual_seed(9);
    const int64_t groups = format.num_groups(kIn);
    const at::Tensor scale = round_scale(at::rand({kOut, groups}) * 0.1 + 1e-3, format.scale_dtype);
    const at::Tensor zero = format.symmetric ? at::full({kOut, groups}, 1 << (format.num_bits - 1), at::kByte)
                                             : at::randint(0, format.max_code() + 1, {kOut, groups}).to(at::kByte);
    const at::Tensor codes = at::randint(0, format.max_code() + 1, {kOut, kIn}).to(at::kByte);
    const at::Tensor w_hat = layer->quantizer().dequantize(codes, {scale, zero}, format, at::kFloat);
    layer->set_quantization({scale, zero}, w_hat);
    ASSERT_TRUE(at::equal(layer->codes(), codes)) << format.text() << " " << format.scale_dtype;
    ASSERT_TRUE(at::equal(layer->dense_weight(), w_hat));
    ASSERT_TRUE(at::equal(layer->params().scale, scale));
    ASSERT_TRUE(at::equal(layer->params().zero_point, zero));
  }
}

TEST(FakeQuantLinearTest, ScalesAreRoundedInUseAndKeptUnroundedAsMasters) {
  const auto layer = make_layer(make_format(2, false, 16), "lsq", "{learn_zero_point: true}");
  layer->load(weight_of(), {});
  at::Tensor scale = layer->scale_master(), zero = layer->zero_point_master();
  scale.fill_(0.1);
  zero.fill_(1.4);
  layer->refresh();
  EXPECT_EQ(layer->params().scale[0][0].item<float>(), 1638.0F / 16384.0F);
  EXPECT_EQ(layer->params().zero_point[0][0].item<int64_t>(), 1);
  EXPECT_EQ(layer->scale_master()[0][0].item<float>(), 0.1F);
  zero.fill_(-5);
  EXPECT_EQ(layer->params().zero_point[0][0].item<int64_t>(), 0);
  zero.fill_(9);
  EXPECT_EQ(layer->params().zero_point[0][0].item<int64_t>(), 3);
}

TEST(FakeQuantLinearTest, BypassMultipliesWithTheMaster) {
  const auto layer = make_layer(make_format(2, false, 16));
  const at::Tensor weight = weight_of(), x = at::randn({3, kIn});
  layer->load(weight, {});
  const at::Tensor quantized = layer->forward(x);
  layer->set_bypass(true);
  EXPECT_TRUE(at::equal(layer->forward(x), at::linear(x, weight)));
  layer->set_bypass(false);
  EXPECT_TRUE(at::equal(layer->forward(x), quantized));
  EXPECT_FALSE(quantized.allclose(at::linear(x, weight), 1e-3, 1e-3));
}

TEST(FakeQuantLinearTest, MetaWeightsBuildTheStructureOnly) {
  const auto layer = make_layer(make_format(2, false, 16));
  layer->load(at::empty({kOut, kIn}, at::TensorOptions(at::kMeta).dtype(at::kBFloat16)), {});
  EXPECT_TRUE(layer->dense_weight().is_meta());
  EXPECT_FALSE(layer->master_weight().defined());
}

TEST(FakeQuantLinearTest, ShapesThatDoNotFitAreRefusedByName) {
  const auto layer = make_layer(make_format(2, false, 16));
  for (const auto& [weight, bias] :
       {std::pair<at::Tensor, at::Tensor>{at::zeros({kIn, kOut}), {}}, {at::zeros({kOut, kIn}), at::zeros({kOut})}}) {
    try {
      layer->load(weight, bias);
      FAIL();
    } catch (const base::DataError& error) {
      EXPECT_NE(std::string(error.what()).find("model.layers.0.mlp.up_proj"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace rqat::quant
