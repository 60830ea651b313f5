// GPTQ with groups of inputs of like energy (static_groups: false), against the plain solver on the permuted problem.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/gptq_layer.h"
#include "ptq/layers.h"
#include "ptq/plain_gptq.h"
#include "ptq/tiny_quantized.h"
#include "rqat/base/error.h"
#include "support/messages.h"

namespace rqat::ptq {
namespace {

using test::message_of;
using testing::HasSubstr;

constexpr int64_t kRows = 24, kColumns = 64;

/// Correlated inputs, some much larger than others.
at::Tensor hessian_of(int64_t seed) {
  at::manual_seed(seed);
  const at::Tensor mix = at::eye(kColumns) + 0.3 * at::randn({kColumns, kColumns});
  const at::Tensor x = at::randn({400, kColumns}).matmul(mix).mul(at::randn({kColumns}).mul(1.5).exp());
  return x.t().matmul(x) / 200;
}

std::unique_ptr<quant::FakeQuantLinear> layer_of(const at::Tensor& weight, int64_t group_size = 16) {
  quant::QuantFormat format;
  format.num_bits = 3;
  format.group_size = group_size;
  auto layer =
      std::make_unique<quant::FakeQuantLinear>(nn::LinearSpec{"a.o_proj", kColumns, kRows, false}, format,
                                               quant::quantizers().make("int_affine"), quant::estimators().make("ste"));
  layer->load(weight, {});
  return layer;
}

GptqOptions spread_options() {
  GptqOptions options;
  options.static_groups = false;
  return options;
}

TEST(StaticGroupsTest, SpreadGroupsAreThoseOfThePermutedProblem) {
  const at::Tensor hessian = hessian_of(1), weight = at::randn({kRows, kColumns});
  const auto layer = layer_of(weight);
  const GptqOptions options = spread_options();
  const LayerReport report = gptq_layer(*layer, hessian, factorize(hessian, options), {}, options);
  EXPECT_EQ(report.format, "w3_g16_asym_act_order");
  ASSERT_FALSE(report.fallback) << report.note;

  const at::Tensor order = at::argsort(hessian.diagonal(), /*stable=*/true, 0, /*descending=*/true);
  ASSERT_TRUE(at::equal(layer->input_order(), order));
  const at::Tensor permuted = weight.index_select(1, order);
  quant::QuantFormat format = layer->format();
  const quant::QuantParams params = layer->quantizer().search(permuted, format, {});
  EXPECT_TRUE(at::equal(layer->params().scale, params.scale));
  const PlainResult plain = plain_gptq(permuted, hessian.index_select(0, order).index_select(1, order), params, format,
                                       options.damping, /*act_order=*/false);
  ASSERT_GT(plain.nearest_tie, 1e-5);
  EXPECT_TRUE(at::equal(layer->codes(), plain.codes));
  EXPECT_NEAR(report.error, relative_error(layer->dense_weight(), weight, hessian), 1e-6 * report.error);
}

/// Not on each: a small part may lose by chance, all together gain.
TEST(StaticGroupsTest, LowersTheErrorOnInputsOfUnlikeEnergy) {
  double with_neighbors = 0, spread = 0;
  for (int64_t seed = 1; seed <= 8; ++seed) {
    const at::Tensor hessian = hessian_of(seed);
    // Weights as training leaves them: small where inputs are large.
    const at::Tensor weight = at::randn({kRows, kColumns}) / hessian.diagonal().pow(0.25);
    for (const bool static_groups : {true, false}) {
      const auto layer = layer_of(weight);
      GptqOptions options;
      options.static_groups = static_groups;
      const LayerReport report = gptq_layer(*layer, hessian, factorize(hessian, options), {}, options);
      EXPECT_LE(report.error, report.rtn_error);
      (static_groups ? with_neighbors : spread) += report.error;
    }
  }
  EXPECT_LT(spread, 0.8 * with_neighbors);
}

TEST(StaticGroupsTest, OneGroupHasNoOrder) {
  const at::Tensor hessian = hessian_of(1);
  const auto layer = layer_of(at::randn({kRows, kColumns}), -1);
  const LayerReport report = gptq_layer(*layer, hessian, factorize(hessian, spread_options()), {}, spread_options());
  EXPECT_FALSE(layer->input_order().defined());
  EXPECT_EQ(report.format, "w3_channel_asym");
}

TEST(StaticGroupsTest, WithoutAUsableHessianThereIsNoOrderOrItsOwn) {
  at::Tensor hessian = hessian_of(1);
  const at::Tensor weight = at::randn({kRows, kColumns});
  hessian[3][4] = std::numeric_limits<float>::quiet_NaN();
  const auto layer = layer_of(weight);
  const LayerReport report = gptq_layer(*layer, hessian, factorize(hessian, spread_options()), {}, spread_options());
  EXPECT_TRUE(report.fallback);
  EXPECT_FALSE(layer->input_order().defined());

  at::Tensor indefinite = at::eye(kColumns) * at::arange(1, kColumns + 1);
  indefinite[0][1] = indefinite[1][0] = 1e4;
  const auto other = layer_of(weight);
  EXPECT_TRUE(gptq_layer(*other, indefinite, factorize(indefinite, spread_options()), {}, spread_options()).fallback);
  EXPECT_TRUE(at::equal(other->input_order(), at::arange(kColumns, at::kLong).flip(0)));
  const at::Tensor permuted = weight.flip(1);
  EXPECT_TRUE(at::equal(other->codes(), other->quantizer().quantize(permuted, other->params(), other->format())));
}

TEST(StaticGroupsTest, NeedsActOrder) {
  EXPECT_THAT(
      message_of<base::ConfigError>([] { make_initializer("gptq", "{static_groups: false, act_order: false}"); }),
      HasSubstr("act_order: true"));
  EXPECT_TRUE(make_initializer("gptq", "{static_groups: false}")->gives_act_order());
  EXPECT_FALSE(make_initializer("gptq")->gives_act_order());
  EXPECT_FALSE(make_initializer("rtn")->gives_act_order());
}

}  // namespace
}  // namespace rqat::ptq
