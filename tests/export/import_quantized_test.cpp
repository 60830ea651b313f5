#include "quantized_model.h"
#include "rqat/export/import.h"

namespace rqat::exporting {
namespace {

struct Case {
  std::string exporter, settings;
  int64_t num_bits;
  bool symmetric;
  int64_t group_size;
};

class Import : public ::testing::TestWithParam<Case> {};

/// What was exported and imported is the same quantized model, bit for bit.
TEST_P(Import, KeepsCodesScalesAndZeroPoints) {
  const Case& c = GetParam();
  QuantizedModel quantized(policy_of(c.num_bits, c.symmetric, c.group_size, "{'*.0.mlp.down_proj': none}"),
                           even_config("qwen2", false));
  make_exporter(c.exporter, c.settings)->write(*quantized.model, quantized.source, quantized.out);
  EXPECT_TRUE(is_quantized_checkpoint(quantized.out));
  EXPECT_FALSE(is_quantized_checkpoint(quantized.source));
  const auto imported = quantized.folder.path() / "imported";
  import_quantized(quantized.out, imported, "float32");
  EXPECT_FALSE(is_quantized_checkpoint(imported));

  const auto formats = quant::read_formats(base::read_file(imported / "rqat_quant.json"), "f");
  EXPECT_EQ(formats.size(), 13);
  EXPECT_EQ(formats, checkpoint_formats(quantized.out));
  for (const auto& [name, format] : quant::formats_of(quantized.model->linears())) {
    // AWQ does not say that zero points are all in the middle.
    EXPECT_EQ(formats.at(name).symmetric, c.exporter != "awq" && c.symmetric);
    EXPECT_EQ(formats.at(name).num_bits, format.num_bits);
    EXPECT_EQ(formats.at(name).resolved_group(64), format.resolved_group(64));
  }

  const auto model = load_stage(imported);
  for (const auto& [name, tensor] : quantized.model->weights()) {
    EXPECT_TRUE(at::equal(model->weights().at(name), tensor)) << name;
  }
  for (nn::LinearBase* linear : model->linears()) {
    auto* layer = dynamic_cast<quant::FakeQuantLinear*>(linear);
    if (layer == nullptr) continue;
    const quant::FakeQuantLinear& before = quantized.layer(linear->name());
    EXPECT_TRUE(at::equal(layer->codes(), before.codes())) << linear->name();
    EXPECT_TRUE(at::equal(layer->params().scale, before.params().scale));
    EXPECT_TRUE(at::equal(layer->params().zero_point, before.params().zero_point));
  }
  EXPECT_EQ(base::read_file(imported / "chat_template.jinja"), "template");
}

INSTANTIATE_TEST_SUITE_P(Methods, Import,
                         ::testing::Values(Case{"gptq", "{checkpoint_format: gptq}", 4, true, 32},
                                           Case{"gptq", "{checkpoint_format: gptq_v2}", 4, true, 64},
                                           Case{"gptq", "{}", 2, false, 32}, Case{"gptq", "{}", 3, false, -1},
                                           Case{"gptq", "{}", 8, true, 32}, Case{"awq", "{}", 4, false, 32},
                                           Case{"awq", "{}", 4, true, -1},
                                           Case{"compressed_tensors", "{}", 3, false, 32},
                                           Case{"compressed_tensors", "{}", 2, true, -1},
                                           Case{"compressed_tensors", "{}", 8, false, 16}),
                         [](const auto& info) {
                           return base::cat(info.param.exporter, "_w", info.param.num_bits,
                                            info.param.symmetric ? "_sym" : "_asym", "_", info.index);
                         });

class Foreign : public ::testing::Test {
 protected:
  explicit Foreign(const quant::QuantPolicy& policy = policy_of(4, true, 32)) : quantized(policy, even_config()) {
    make_exporter("gptq")->write(*quantized.model, quantized.source, quantized.out);
  }
  void change_config(const std::function<void(json&)>& change) {
    json config = io::read_json(quantized.out / "config.json");
    change(config);
    io::write_json(quantized.out / "config.json", config);
  }
  std::string failure() {
    return message_of<base::IoError>([this] { import_quantized(quantized.out, imported(), "float32"); });
  }
  std::filesystem::path imported() const { return quantized.folder.path() / "imported"; }
  QuantizedModel quantized;
};

TEST_F(Foreign, ZerosThatContradictTheVersion) {
  change_config([](json& config) { config["quantization_config"]["checkpoint_format"] = "gptq_v2"; });
  EXPECT_THAT(failure(), AllOf(HasSubstr("says checkpoint_format gptq_v2 and sym"), HasSubstr("are those of gptq:")));
  make_exporter("gptq", "{checkpoint_format: gptq_v2}")->write(*quantized.model, quantized.source, quantized.out);
  change_config(
      [](json& config) { config["quantization_config"].erase("checkpoint_format"); });  // old files: version 1
  EXPECT_THAT(failure(), AllOf(HasSubstr("says checkpoint_format gptq and sym"), HasSubstr("are those of gptq_v2")));
  EXPECT_FALSE(std::filesystem::exists(imported()));
}

TEST_F(Foreign, OtherMethodsAndVersions) {
  const auto with = [&](const std::string& key, const json& value) {
    make_exporter("gptq")->write(*quantized.model, quantized.source, quantized.out);
    change_config([&](json& config) { config["quantization_config"][key] = value; });
    return failure();
  };
  EXPECT_THAT(with("quant_method", "bitsandbytes"), HasSubstr("'bitsandbytes' is not read (gptq, awq"));
  EXPECT_THAT(with("checkpoint_format", "marlin"), HasSubstr("'marlin' is not read (gptq and gptq_v2"));
  EXPECT_THAT(with("quant_method", "awq"), HasSubstr(".scales"));
  EXPECT_THAT(with("quant_method", nullptr), HasSubstr("config.json: quantization_config:"));
  EXPECT_THAT(with("quant_method", "compressed-tensors"), HasSubstr("no tensor ends with .weight_packed"));
  make_exporter("awq")->write(*quantized.model, quantized.source, quantized.out);
  change_config([](json& config) { config["quantization_config"]["version"] = "gemv"; });
  EXPECT_THAT(failure(), HasSubstr("AWQ version 'gemv' is not read"));
  EXPECT_THROW(import_quantized(quantized.out, imported(), "float16"), base::ConfigError);
}

TEST_F(Foreign, TensorsThatDoNotFit) {
  const io::TensorMap good = read_tensors(quantized.out);
  const auto with = [&](const std::string& name, const at::Tensor& tensor) {
    change_tensors(quantized.out, [&](io::TensorMap& tensors) {
      tensors = good;
      tensors[name] = tensor;
    });
    return failure();
  };
  const std::string name = kUp;
  EXPECT_THAT(with("model.layers.7.mlp.up_proj.qweight", good.at(name + ".qweight")),
              HasSubstr("model.layers.7.mlp.up_proj is no linear of the model"));
  EXPECT_THAT(with(name + ".qweight", at::zeros({10, 128}, at::kInt)), HasSubstr("5 bits"));
  EXPECT_THAT(with(name + ".qweight", at::zeros({8, 96}, at::kInt)), HasSubstr(name));
  EXPECT_THAT(with(name + ".scales", at::ones({3, 128}, at::kHalf)), HasSubstr("has 3 groups of scales for 64 inputs"));
  EXPECT_THAT(with(name + ".scales", at::ones({2, 128}, at::kInt)), HasSubstr(".scales"));
  EXPECT_THAT(with(name + ".scales", at::full({2, 128}, 1.0 / 3, at::kFloat)),
              HasSubstr("neither float16 nor bfloat16 holds"));
  EXPECT_THAT(with(name + ".scales", at::full({2, 128}, -0.5, at::kHalf)), HasSubstr("not greater than 0"));
  EXPECT_THAT(with(name + ".qzeros", at::zeros({2, 8}, at::kInt)), HasSubstr(".qzeros"));
}

TEST_F(Foreign, ScalesThatAreTooSmallAreRaised) {
  change_tensors(quantized.out,
                 [](io::TensorMap& tensors) { tensors.at(std::string(kUp) + ".scales")[0][5].fill_(1e-6); });
  import_quantized(quantized.out, imported(), "float32");
  const io::SafetensorsReader state(imported() / "rqat_state.safetensors");
  EXPECT_EQ(state.read(std::string(kUp) + ".weight_scale")[5][0].item<float>(), 6.103515625e-05f);
  const at::Tensor weight = read_tensors(imported()).at(std::string(kUp) + ".weight");
  EXPECT_LE(weight[5].slice(0, 0, 32).abs().max().item<float>(), 6.2e-5);  // codes were made anew: not 8 large steps
  EXPECT_TRUE(at::equal(weight[6], quantized.model->weights().at(std::string(kUp) + ".weight")[6]));
}

/// Files of compressed-tensors from before May 2026: ten 3-bit codes to a word, zero points as bytes.
TEST(ImportCompressedTensors, OlderPacking) {
  QuantizedModel quantized(policy_of(3, false, 32), even_config());
  make_exporter("compressed_tensors")->write(*quantized.model, quantized.source, quantized.out);
  change_tensors(quantized.out, [&](io::TensorMap& tensors) {
    for (nn::LinearBase* linear : quantized.model->linears()) {
      const quant::FakeQuantLinear& layer = quantized.layer(linear->name());
      const at::Tensor codes = layer.codes().to(at::kInt);
      at::Tensor words = at::zeros({codes.size(0), (codes.size(1) + 9) / 10}, at::kInt);
      for (int64_t column = 0; column < codes.size(1); ++column) {
        words.select(1, column / 10).bitwise_or_(codes.select(1, column).bitwise_left_shift(column % 10 * 3));
      }
      tensors[linear->name() + ".weight_packed"] = words;
      tensors[linear->name() + ".weight_zero_point"] = layer.params().zero_point.to(at::kInt).sub(4).to(at::kChar);
    }
  });
  const auto imported = quantized.folder.path() / "imported";
  import_quantized(quantized.out, imported, "float32");
  for (const auto& [name, tensor] : quantized.model->weights())
    EXPECT_TRUE(at::equal(read_tensors(imported).at(name), tensor)) << name;
}

}  // namespace
}  // namespace rqat::exporting
