#include "quantized_model.h"

namespace rqat::exporting {
namespace {

constexpr const char* kGate = "model.layers.0.mlp.gate_proj";

/// Oracle: one weight by hand, s * (q - z).
float weight_at(const quant::FakeQuantLinear& layer, int64_t row, int64_t column, int64_t group_size) {
  const quant::QuantParams params = layer.params();
  const int64_t group = column / group_size;
  const int64_t step = layer.codes()[row][column].item<int64_t>() - params.zero_point[row][group].item<int64_t>();
  return params.scale[row][group].item<float>() * static_cast<float>(step);
}

TEST(HfDequantized, HoldsTheQuantizedValuesExactly) {
  for (const int64_t group_size : {8, 16}) {  // 16 leaves a short last group
    QuantizedModel quantized(policy_of(3, false, group_size, "{'*.o_proj': none}"), odd_config("qwen2", false),
                             at::kBFloat16);
    const auto exporter = make_exporter("hf_dequantized");
    const ExportReport report = exporter->write(*quantized.model, quantized.source, quantized.out);
    const io::TensorMap tensors = read_tensors(quantized.out);
    const quant::FakeQuantLinear& layer = quantized.layer(kGate);
    const at::Tensor weight = tensors.at(std::string(kGate) + ".weight");
    for (const auto& [row, column] : {std::pair<int64_t, int64_t>{0, 0}, {7, 39}, {55, 15}, {31, 32}}) {
      EXPECT_EQ(weight[row][column].item<float>(), weight_at(layer, row, column, group_size));
    }
    for (const auto& [name, tensor] : tensors) EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
    EXPECT_EQ(tensors.size(), 2 * (7 + 3 + 2) + 3);
    EXPECT_EQ(report.layers.size(), 14);
    EXPECT_EQ(report.layers[3].stored_as, "float");
    EXPECT_EQ(report.layers[4].stored_as, "float32");
    EXPECT_EQ(report.layers[4].bytes, 56 * 40 * 4);
    EXPECT_EQ(report.total_bytes, base::folder_bytes(quantized.out));
    const RoundTrip trip = exporter->verify(*quantized.model, quantized.source, quantized.out, probe());
    EXPECT_TRUE(trip.passed()) << trip.text();
    EXPECT_EQ(trip.max_logit_difference, 0);
    EXPECT_EQ(trip.codes_compared, 2 * (40 * 40 + 20 * 40 * 2 + 56 * 40 * 3));
  }
}

TEST(HfDequantized, IsAPlainFolder) {
  QuantizedModel quantized(policy_of(4, true, 8));
  json config = io::read_json(quantized.source / "config.json");
  config["dtype"] = "bfloat16";
  config["quantization_config"] = {{"quant_method", "of an earlier life"}};
  io::write_json(quantized.source / "config.json", config);
  make_exporter("hf_dequantized")->write(*quantized.model, quantized.source, quantized.out);
  config = io::read_json(quantized.out / "config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config["dtype"], "float32");
  EXPECT_EQ(config["torch_dtype"], "float32");
  nn::FloatLayerFactory factory;
  EXPECT_NO_THROW(model::load_model(quantized.out, factory, at::kFloat, at::kCPU));
}

TEST(HfDequantized, BFloat16KeepsTheCodes) {
  for (const auto& [num_bits, symmetric] : {std::pair{2, false}, {3, false}, {4, true}, {4, false}, {8, true}}) {
    QuantizedModel quantized(policy_of(num_bits, symmetric, 8));
    const auto exporter = make_exporter("hf_dequantized", "{dtype: bfloat16}");
    const ExportReport report = exporter->write(*quantized.model, quantized.source, quantized.out);
    EXPECT_EQ(read_tensors(quantized.out).at(std::string(kGate) + ".weight").scalar_type(), at::kBFloat16);
    EXPECT_THAT(report.serve_command, HasSubstr("--dtype bfloat16"));
    const RoundTrip trip = exporter->verify(*quantized.model, quantized.source, quantized.out, probe());
    EXPECT_TRUE(trip.codes_equal) << num_bits << ": " << trip.text();
    EXPECT_GT(trip.max_logit_difference, 0);
    EXPECT_LT(trip.max_logit_difference, 0.05);
  }
}

TEST(HfDequantized, BFloat16CannotTell256StepsApart) {
  QuantizedModel quantized(policy_of(8, false, 8, "{'*.o_proj': {num_bits: 4}}"));
  const auto faults = make_exporter("hf_dequantized", "{dtype: bfloat16}")->check(quantized.model->linears());
  ASSERT_EQ(faults.size(), 1);
  EXPECT_THAT(faults[0], AllOf(HasSubstr("model.layers.0.self_attn.q_proj, "), HasSubstr("(and 7 more)"),
                               HasSubstr("use dtype float32")));
  EXPECT_TRUE(make_exporter("hf_dequantized")->check(quantized.model->linears()).empty());
}

TEST(HfDequantized, AWeightOneStepOffIsExactlyOneCode) {
  QuantizedModel quantized(policy_of(2, true, 8));
  const auto exporter = make_exporter("hf_dequantized");
  exporter->write(*quantized.model, quantized.source, quantized.out);
  const float step = quantized.layer(kGate).params().scale[9][1].item<float>();
  change_tensors(quantized.out,
                 [&](io::TensorMap& tensors) { tensors.at(std::string(kGate) + ".weight")[9][12].add_(step); });
  const RoundTrip trip = exporter->verify(*quantized.model, quantized.source, quantized.out, probe());
  EXPECT_EQ(trip.codes_different, 1);
  EXPECT_FALSE(trip.passed());
}

TEST(HfDequantized, AWeightOfAnotherShapeIsAnError) {
  QuantizedModel quantized(policy_of(2, true, 8));
  const auto exporter = make_exporter("hf_dequantized");
  exporter->write(*quantized.model, quantized.source, quantized.out);
  change_tensors(quantized.out, [&](io::TensorMap& tensors) {
    tensors[std::string(kGate) + ".weight"] = at::ones({56, 32});
  });
  const std::string message =
      message_of<base::IoError>([&] { exporter->verify(*quantized.model, quantized.source, quantized.out, probe()); });
  EXPECT_THAT(message, HasSubstr(std::string(kGate) + ".weight' has rows of 32, expected 40"));
}

TEST(HfDequantized, ConfigRefusesOtherDtypes) {
  EXPECT_THROW(make_exporter("hf_dequantized", "{dtype: float16}"), base::ConfigError);
}

}  // namespace
}  // namespace rqat::exporting
