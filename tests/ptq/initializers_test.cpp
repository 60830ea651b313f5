// Contract of every initializer of the registry, and what RTN and GPTQ do to a model.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ptq/block_walker.h"
#include "ptq/gptq_layer.h"
#include "ptq/layers.h"
#include "ptq/tiny_quantized.h"
#include "rqat/base/error.h"

namespace rqat::ptq {
namespace {

using testing::HasSubstr;

class InitializerContract : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  std::string name() const { return std::get<0>(GetParam()); }
  std::string policy() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(
    Registry, InitializerContract,
    testing::Combine(
        testing::ValuesIn(initializers().names()),
        testing::Values("{num_bits: 2, group_size: 32}", "{num_bits: 3, group_size: 40, symmetric: true}",
                        "{num_bits: 4, group_size: -1, scale_dtype: bfloat16}",
                        "{num_bits: 2, group_size: 16, overrides: {'*.down_proj': {num_bits: 8}, '*.o_proj': none}}")));

TEST_P(InitializerContract, EveryLayerIsReportedAndNotWorseThanRtn) {
  const auto model = quantized_model(policy());
  std::vector<std::string> progress;
  const auto reports = make_initializer(name())->initialize(
      *model, random_calibration(), [&](int64_t done, int64_t total, const std::string& status) {
        EXPECT_EQ(done, static_cast<int64_t>(progress.size()) + 1);
        EXPECT_EQ(total, static_cast<int64_t>(quantized_linears(model->linears()).size()));
        progress.push_back(status);
      });
  const auto layers = quantized_linears(model->linears());
  ASSERT_EQ(reports.size(), layers.size());
  ASSERT_EQ(progress.size(), layers.size());
  for (size_t i = 0; i < reports.size(); ++i) {
    EXPECT_EQ(reports[i].layer, layers[i]->name());
    EXPECT_EQ(reports[i].format, layers[i]->format().text());
    EXPECT_LE(reports[i].error, reports[i].rtn_error);
    EXPECT_GT(reports[i].error, 0);
    EXPECT_LT(reports[i].error, 1);
    EXPECT_GE(reports[i].seconds, 0);
    EXPECT_THAT(progress[i], HasSubstr(reports[i].layer));
  }
}

TEST_P(InitializerContract, TheMasterIsWHatAndGivesItsCodes) {
  const auto model = quantized_model(policy());
  make_initializer(name())->initialize(*model, random_calibration(), {});
  for (quant::FakeQuantLinear* layer : quantized_linears(model->linears())) {
    EXPECT_TRUE(at::equal(layer->master_weight(),
                          layer->quantizer().dequantize(layer->codes(), layer->params(), layer->format(), at::kFloat)));
    EXPECT_TRUE(at::equal(layer->scale_master(), layer->params().scale));
    EXPECT_TRUE(at::equal(layer->zero_point_master(), layer->params().zero_point.to(at::kFloat)));
    const at::Tensor codes = layer->codes(), dense = layer->dense_weight();
    layer->prepare_training();
    layer->refresh();
    EXPECT_TRUE(at::equal(layer->codes(), codes));
    EXPECT_TRUE(at::equal(layer->dense_weight(), dense));
  }
}

TEST_P(InitializerContract, IsReproducibleAndTouchesQuantizedWeightsOnly) {
  const auto first = quantized_model(policy(), "qwen2"), second = quantized_model(policy(), "qwen2");
  const auto before = first->weights();
  make_initializer(name())->initialize(*first, random_calibration(), {});
  make_initializer(name())->initialize(*second, random_calibration(), {});
  const auto after = first->weights(), again = second->weights();
  std::vector<std::string> quantized;
  for (quant::FakeQuantLinear* layer : quantized_linears(first->linears()))
    quantized.push_back(layer->name() + ".weight");
  for (const auto& [weight_name, tensor] : after) {
    EXPECT_TRUE(at::equal(tensor, again.at(weight_name))) << weight_name;
    if (std::find(quantized.begin(), quantized.end(), weight_name) != quantized.end()) continue;
    EXPECT_TRUE(at::equal(tensor, before.at(weight_name))) << weight_name;  // embeddings, norms, biases, float linears
  }
}

TEST_P(InitializerContract, CodesWithoutFloatWeightsAreRefused) {
  const auto model = quantized_model(policy());
  quant::FakeQuantLinear* layer = quantized_linears(model->linears()).front();
  layer->restore(layer->scale_master(), layer->zero_point_master(), layer->codes(), {});
  try {
    make_initializer(name())->initialize(*model, random_calibration(), {});
    FAIL();
  } catch (const base::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr(layer->name()));
  }
}

TEST(InitializersTest, OnlyThoseThatNeedCalibrationAskForIt) {
  EXPECT_FALSE(make_initializer("rtn")->needs_calibration());
  EXPECT_TRUE(make_initializer("gptq")->needs_calibration());
  EXPECT_EQ(make_initializer("rtn")->initialize(*quantized_model("{}"), {}, {}).size(), 14U);
  EXPECT_THROW(make_initializer("gptq")->initialize(*quantized_model("{}"), {}, {}), base::DataError);
}

TEST(RtnTest, IsRoundToNearestWithTheSearchedRange) {
  for (const char* search : {"minmax", "mse"}) {
    const auto model = quantized_model("{num_bits: 3, group_size: 16}");
    std::vector<at::Tensor> weights;
    const auto layers = quantized_linears(model->linears());
    for (quant::FakeQuantLinear* layer : layers) weights.push_back(layer->master_weight().clone());
    const auto reports = make_initializer("rtn", base::cat("{search: ", search, "}"))->initialize(*model, {}, {});
    quant::SearchOptions options;
    options.method = search;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto params = layers[i]->quantizer().search(weights[i], layers[i]->format(), options);
      EXPECT_TRUE(
          at::equal(layers[i]->codes(), layers[i]->quantizer().quantize(weights[i], params, layers[i]->format())));
      EXPECT_TRUE(at::equal(layers[i]->params().scale, params.scale));
      const double error =
          ((layers[i]->dense_weight() - weights[i]).square().sum() / weights[i].square().sum()).item<double>();
      EXPECT_NEAR(reports[i].error, error, error * 1e-4);
    }
  }
}

/// Mean squared difference of the final hidden states from those of the float model.
double hidden_error(model::CausalLM& model, model::CausalLM& reference, const Calibration& data) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  for (const nn::TokenBatch& batch : data)
    sum += (model.hidden(batch) - reference.hidden(batch)).square().mean().item<double>();
  return sum;
}

TEST(GptqTest, BeatsRtnOnTheModelsOutput) {
  nn::FloatLayerFactory float_factory;
  const auto reference = build(tiny_config(), float_factory);
  const Calibration calibration = random_calibration();
  const char* policy = "{num_bits: 3, group_size: 32}";
  const auto rtn = quantized_model(policy);
  make_initializer("rtn", "{search: mse}")->initialize(*rtn, {}, {});
  for (const char* options :
       {"{}", "{act_order: false}", "{true_sequential: false}", "{search: minmax}", "{static_groups: false}"}) {
    const auto gptq = quantized_model(policy);
    make_initializer("gptq", options)->initialize(*gptq, calibration, {});
    EXPECT_LT(hidden_error(*gptq, *reference, calibration), hidden_error(*rtn, *reference, calibration)) << options;
  }
}

// The reported error, from inputs collected independently: those that the finished model itself produces, because each
// layer was solved for the inputs of its quantized predecessors.
class GptqErrors : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Groups, GptqErrors, testing::Values("{}", "{static_groups: false}"));

TEST_P(GptqErrors, AreThoseOnTheInputsOfTheQuantizedModel) {
  const auto model = quantized_model("{num_bits: 2, group_size: 32}"),
             original = quantized_model("{num_bits: 2, group_size: 32}");
  const Calibration calibration = random_calibration();
  const auto reports = make_initializer("gptq", GetParam())->initialize(*model, calibration, {});
  std::map<std::string, std::vector<at::Tensor>> seen;
  for (nn::LinearBase* layer : model->linears()) {
    layer->set_input_observer(
        [&seen, layer](const at::Tensor& x) { seen[layer->name()].push_back(x.to(at::kDouble)); });
  }
  {
    const at::NoGradGuard no_grad;
    for (const nn::TokenBatch& batch : calibration) model->hidden(batch);
  }
  const auto layers = quantized_linears(model->linears()), originals = quantized_linears(original->linears());
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor x = at::cat(seen.at(layers[i]->name())), w = originals[i]->master_weight().to(at::kDouble);
    const at::Tensor difference = layers[i]->dense_weight().to(at::kDouble) - w;
    const double error = (x.matmul(difference.t()).square().sum() / x.matmul(w.t()).square().sum()).item<double>();
    EXPECT_NEAR(reports[i].error, error, error * 1e-3) << reports[i].layer;
    EXPECT_EQ(layers[i]->input_order().defined(), layers[i]->format().act_order);
    EXPECT_FALSE(reports[i].fallback) << reports[i].layer << ": " << reports[i].note;
    EXPECT_LT(reports[i].error, reports[i].rtn_error);
  }
}

TEST(GptqTest, WithoutTrueSequentialABlockIsSolvedForItsFloatInputs) {
  const auto model = quantized_model("{num_bits: 2, group_size: 32}");
  nn::FloatLayerFactory float_factory;
  const auto reference = build(tiny_config(), float_factory);
  const Calibration calibration = random_calibration();
  const auto reports = make_initializer("gptq", "{true_sequential: false}")->initialize(*model, calibration, {});
  std::vector<at::Tensor> seen;
  nn::LinearBase* down = reference->block_linears(0)[6];
  down->set_input_observer([&](const at::Tensor& x) { seen.push_back(x.to(at::kDouble)); });
  const at::NoGradGuard no_grad;
  for (const nn::TokenBatch& batch : calibration) reference->hidden(batch);
  const at::Tensor x = at::cat(seen), w = down->dense_weight().to(at::kDouble);
  const at::Tensor difference = quantized_linears(model->linears())[6]->master_weight().to(at::kDouble) - w;
  const double error = (x.matmul(difference.t()).square().sum() / x.matmul(w.t()).square().sum()).item<double>();
  EXPECT_NEAR(reports[6].error, error, error * 1e-3);
}

// W_hat with both end codes in each group: the search finds the same parameters again, and there is nothing to make up
// for.
TEST(GptqTest, KeepsWeightsThatLieOnTheGrid) {
  const auto model = quantized_model("{num_bits: 4, group_size: 32}");
  const auto layers = quantized_linears(model->linears());
  std::vector<at::Tensor> codes;
  for (quant::FakeQuantLinear* layer : layers) {
    const quant::QuantParams params = layer->params();
    codes.push_back(at::randint(0, 16, {layer->spec().out_features, layer->spec().in_features}).to(at::kByte));
    for (int64_t k = 0; k < layer->spec().in_features; k += 32) {
      codes.back().select(1, k).fill_(0);
      codes.back().select(1, k + 1).fill_(15);
    }
    layer->set_quantization(params, layer->quantizer().dequantize(codes.back(), params, layer->format(), at::kFloat));
  }
  const auto reports = make_initializer("gptq", "{search: minmax}")->initialize(*model, random_calibration(), {});
  for (size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(reports[i].error, 0);
    EXPECT_FALSE(reports[i].fallback);
    EXPECT_TRUE(at::equal(layers[i]->codes(), codes[i]));
  }
}

/// Turns the inputs of one linear into infinity.
class Overflow : public nn::ActivationTransform {
 public:
  at::Tensor apply(const at::Tensor& x) override { return x * std::numeric_limits<float>::infinity(); }
};
class OverflowFactory : public quant::QuantLayerFactory {
 public:
  using QuantLayerFactory::QuantLayerFactory;
  std::shared_ptr<nn::ActivationTransform> activation(const std::string& point) override {
    return point == "model.layers.1.down_input" ? std::make_shared<Overflow>() : nullptr;
  }
};

TEST(GptqTest, FallsBackToRtnWhereInputsAreNotFinite) {
  quant::QuantPolicy policy;
  policy.group_size = 32;
  OverflowFactory factory(policy, base::Component("ste"));
  const auto model = build(tiny_config(), factory);
  quant::FakeQuantLinear* down = quantized_linears(model->linears())[13];
  const at::Tensor weight = down->master_weight().clone();
  const auto reports = make_initializer("gptq", "{search: minmax}")->initialize(*model, random_calibration(), {});
  for (size_t i = 0; i + 1 < reports.size(); ++i) EXPECT_FALSE(reports[i].fallback) << reports[i].note;
  EXPECT_TRUE(reports[13].fallback);
  EXPECT_THAT(reports[13].note, HasSubstr("not finite"));
  EXPECT_TRUE(std::isfinite(reports[13].error));
  const auto params = down->quantizer().search(weight, down->format(), {});
  EXPECT_TRUE(at::equal(down->codes(), down->quantizer().quantize(weight, params, down->format())));
}

class GptqLayerTest : public testing::Test {
 protected:
  std::unique_ptr<model::CausalLM> model_ = quantized_model("{num_bits: 3, group_size: 16}");
  quant::FakeQuantLinear* layer_ = quantized_linears(model_->linears()).front();
};

TEST_F(GptqLayerTest, FallsBackWithoutACholeskyFactor) {
  at::Tensor hessian = at::eye(64);
  hessian[0][1] = hessian[1][0] = 100;
  const at::Tensor weight = layer_->master_weight().clone();
  const LayerReport report = gptq_layer(*layer_, hessian, factorize(hessian, {}), {}, {});
  EXPECT_TRUE(report.fallback);
  EXPECT_THAT(report.note, HasSubstr("Cholesky"));
  EXPECT_TRUE(at::equal(layer_->master_weight(),
                        layer_->quantizer().fake_quant(weight, layer_->params(), layer_->format(), at::kFloat)));
}

TEST_F(GptqLayerTest, FallsBackWhereItIsWorse) {
  const at::Tensor x = at::randn({500, 64}).matmul(at::randn({64, 64}));
  const at::Tensor other = x.t().matmul(x);
  const at::Tensor hessian = at::eye(64);  // RTN is the best there is for these inputs; the factor is of others
  const LayerReport report = gptq_layer(*layer_, hessian, factorize(other, {}), {}, {});
  EXPECT_TRUE(report.fallback);
  EXPECT_THAT(report.note, HasSubstr("round-to-nearest"));
  EXPECT_EQ(report.error, report.rtn_error);
}

TEST_F(GptqLayerTest, NotesDampingAndDeadColumns) {
  at::Tensor hessian = at::eye(64);
  hessian[0][0] = hessian[1][1] = 0.5;
  hessian[0][1] = hessian[1][0] = 0.6;
  hessian[5][5] = 0;
  const LayerReport report = gptq_layer(*layer_, hessian, factorize(hessian, {}), {}, {});
  ASSERT_FALSE(report.fallback) << report.note;
  EXPECT_EQ(report.note, "damping 0.16, 1 dead columns");
}

TEST_F(GptqLayerTest, OtherQuantizersAreRefused) {
  quant::QuantFormat format;
  format.quantizer = "ternary";
  quant::FakeQuantLinear layer({"model.layers.0.mlp.up_proj", 64, 8, false}, format,
                               quant::quantizers().make("int_affine"), quant::estimators().make("ste"));
  layer.load(at::randn({8, 64}), {});
  const at::Tensor hessian = at::eye(64);
  try {
    gptq_layer(layer, hessian, factorize(hessian, {}), {}, {});
    FAIL();
  } catch (const base::ConfigError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("ternary"), HasSubstr("up_proj")));
  }
}

TEST(RelativeErrorTest, IsThatOfTheOutputs) {
  const at::Tensor weight = at::randn({5, 8}), w_hat = weight + at::randn({5, 8}) * 0.1, x = at::randn({30, 8});
  const double expected =
      (x.matmul((w_hat - weight).t()).square().sum() / x.matmul(weight.t()).square().sum()).item<double>();
  EXPECT_NEAR(relative_error(w_hat, weight, x.t().matmul(x)), expected, expected * 1e-4);
  EXPECT_NEAR(relative_error(w_hat, weight, {}),
              ((w_hat - weight).square().sum() / weight.square().sum()).item<double>(), 1e-6);
  EXPECT_EQ(relative_error(w_hat, at::zeros({5, 8}), {}), 0);
}

}  // namespace
}  // namespace rqat::ptq
