#include "rqat/quant/state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/quant_support.h"
#include "rqat/base/error.h"
#include "rqat/nn/layer_factory.h"

namespace rqat::quant {
namespace {

using testing::HasSubstr;

const std::string kPrefix = "model.layers.0.mlp.up_proj.weight";

std::unique_ptr<FakeQuantLinear> loaded_layer(const QuantFormat& format, int64_t seed = 1) {
  auto layer = make_layer(format, "lsq", "{learn_zero_point: true}");
  at::manual_seed(seed);
  layer->load(at::randn({12, 40}) * 0.1, {});
  return layer;
}

/// Masters that lie off the grid, unrounded scales and zero points: as in the middle of training.
void disturb(FakeQuantLinear& layer) {
  at::Tensor scale = layer.scale_master(), zero = layer.zero_point_master();
  scale.mul_(1.003);
  if (!layer.format().symmetric) zero.add_(0.2);
  layer.refresh();
}

/// What the layer holds after only W_hat is left of its master.
void drop_to_grid(FakeQuantLinear& layer) {
  const QuantParams params = layer.params();
  layer.set_quantization(params, layer.quantizer().dequantize(layer.codes(), params, layer.format(), at::kFloat));
}

void expect_same(FakeQuantLinear& a, FakeQuantLinear& b) {
  EXPECT_TRUE(at::equal(a.codes(), b.codes()));
  EXPECT_TRUE(at::equal(a.params().scale, b.params().scale));
  EXPECT_TRUE(at::equal(a.params().zero_point, b.params().zero_point));
  EXPECT_TRUE(at::equal(a.scale_master(), b.scale_master()));
  EXPECT_TRUE(at::equal(a.zero_point_master(), b.zero_point_master()));
  EXPECT_TRUE(at::equal(a.dense_weight(), b.dense_weight()));
}

TEST(QuantStateTest, RoundTripWithMastersIsBitExact) {
  for (const QuantFormat& format : all_formats()) {
    SCOPED_TRACE(format.text() + " " + format.scale_dtype);
    const auto layer = loaded_layer(format), restored = loaded_layer(format, 2);
    disturb(*layer);
    const auto tensors = state_tensors({layer.get()});
    EXPECT_EQ(tensors.count(kPrefix + "_master"), 1U);
    EXPECT_EQ(tensors.at(kPrefix + "_scale").scalar_type(),
              format.scale_dtype == "float16" ? at::kHalf : at::kBFloat16);
    load_state({restored.get()}, tensors);
    expect_same(*layer, *restored);
    EXPECT_TRUE(at::equal(layer->master_weight(), restored->master_weight()));
  }
}

TEST(QuantStateTest, MastersThatEqualWhatIsStoredAreLeftOut) {
  for (const QuantFormat& format : all_formats()) {
    SCOPED_TRACE(format.text() + " " + format.scale_dtype);
    const auto layer = loaded_layer(format), restored = loaded_layer(format, 2);
    drop_to_grid(*layer);
    const auto tensors = state_tensors({layer.get()});
    EXPECT_EQ(tensors.size(), 3U);
    load_state({restored.get()}, tensors);
    EXPECT_FALSE(restored->master_weight().defined());
    expect_same(*layer, *restored);
    // Written again without ever having had a master, packed or not.
    for (const nn::Execution execution : {nn::Execution::kPacked, nn::Execution::kTrain}) {
      restored->set_execution(execution);
      const auto again = state_tensors({restored.get()});
      ASSERT_EQ(again.size(), tensors.size());
      for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(again.at(name), tensor)) << name;
    }
    // Step 0 of training has exactly these codes.
    restored->prepare_training();
    restored->refresh();
    expect_same(*layer, *restored);
  }
}

TEST(QuantStateTest, RestoresIntoALayerInPackedMode) {
  const auto layer = loaded_layer(make_format(2, false, 16)), restored = loaded_layer(make_format(2, false, 16), 2);
  restored->set_execution(nn::Execution::kPacked);
  load_state({restored.get()}, state_tensors({layer.get()}));
  EXPECT_TRUE(at::equal(layer->codes(), restored->codes()));
}

TEST(QuantStateTest, FloatLayersHaveNoState) {
  nn::FloatLinear layer({"a", 4, 4, false});
  layer.load(at::zeros({4, 4}), {});
  EXPECT_TRUE(state_tensors({&layer}).empty());
  EXPECT_TRUE(formats_of({&layer}).empty());
  EXPECT_NO_THROW(load_state({&layer}, {}));
}

class BadState : public testing::Test {
 protected:
  void SetUp() override {
    layer_ = loaded_layer(make_format(2, false, 16));
    disturb(*layer_);
    tensors_ = state_tensors({layer_.get()});
  }
  void expect_fault(const std::string& text) {
    try {
      load_state({layer_.get()}, tensors_);
      FAIL() << "no fault";
    } catch (const base::IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr("model.layers.0.mlp.up_proj"));
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
  std::unique_ptr<FakeQuantLinear> layer_;
  std::map<std::string, at::Tensor> tensors_;
};

TEST_F(BadState, ATamperedCodeIsFound) {
  at::Tensor packed = tensors_.at(kPrefix + "_packed").clone();
  packed.data_ptr<int32_t>()[5] ^= 1;
  tensors_[kPrefix + "_packed"] = packed;
  expect_fault("1 of 480 stored codes");
}

TEST_F(BadState, MissingTensorsAreNamed) {
  for (const char* suffix : {"_packed", "_scale", "_zero_point"}) {
    SetUp();
    tensors_.erase(kPrefix + suffix);
    expect_fault(base::cat("weight", suffix, ": missing"));
  }
}

TEST_F(BadState, WrongShapesAreNamed) {
  for (const char* suffix : {"_packed", "_scale", "_zero_point", "_scale_master", "_zero_point_master", "_master"}) {
    SetUp();
    ASSERT_EQ(tensors_.count(kPrefix + suffix), 1U) << suffix;
    tensors_[kPrefix + suffix] = tensors_[kPrefix + suffix].slice(0, 0, 11);
    expect_fault(base::cat("weight", suffix, ": has shape"));
  }
}

TEST(QuantFormatsTest, RoundTrip) {
  std::map<std::string, QuantFormat> formats;
  for (const QuantFormat& format : all_formats()) formats.emplace(base::cat("layer", formats.size()), format);
  EXPECT_EQ(read_formats(write_formats(formats), "rqat_quant.json"), formats);
  const auto layer = loaded_layer(make_format(3, true, -1));
  EXPECT_EQ(formats_of({layer.get()}).at(layer->name()), make_format(3, true, -1));
}

TEST(QuantFormatsTest, MalformedTextIsRefusedWithTheFile) {
  const auto fault = [](const std::string& text) -> std::string {
    try {
      read_formats(text, "folder/rqat_quant.json");
    } catch (const base::IoError& error) {
      EXPECT_THAT(error.what(), HasSubstr("folder/rqat_quant.json"));
      return error.what();
    }
    ADD_FAILURE() << "accepted: " << text;
    return "";
  };
  fault("{");
  fault("[]");
  fault("{}");
  fault(R"({"format_version": 1, "layers": 3})");
  EXPECT_THAT(fault(R"({"format_version": 2, "layers": {}})"), HasSubstr("format_version 2"));
  EXPECT_THAT(fault(R"({"layers": {}})"), HasSubstr("format_version null"));
  EXPECT_THAT(fault(R"({"format_version": "x", "layers": {}})"), HasSubstr("format_version"));
  EXPECT_THAT(fault(R"({"format_version": 1, "layers": {"a": 3}})"), HasSubstr("layers.a"));
  EXPECT_THAT(fault(R"({"format_version": 1, "layers": {"a": {"num_bit": 3}}})"), HasSubstr("num_bit"));
  EXPECT_THAT(fault(R"({"format_version": 1, "layers": {"a": {"num_bits": "three"}}})"), HasSubstr("num_bits"));
  EXPECT_THAT(fault(R"({"format_version": 1, "layers": {"a": {"num_bits": 5}}})"), HasSubstr("2, 3, 4 or 8"));
  EXPECT_THAT(fault(R"({"format_version": 1, "layers": {"a": {"quantizer": "magic"}}})"), HasSubstr("magic"));
}

}  // namespace
}  // namespace rqat::quant
