// GPTQ files whose groups are spread over the inputs (desc_act): read, kept, written.
#include <set>

#include "quantized_model.h"
#include "rqat/export/import.h"

namespace rqat::exporting {
namespace {

/// The input that a linear reads: q, k and v share one, and so do gate and up.
std::string input_of(const std::string& linear) {
  static const std::set<std::string> shared{"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"};
  const size_t dot = linear.rfind('.');
  return shared.count(linear.substr(dot + 1)) > 0 ? linear.substr(0, dot) : linear;
}

/// Gives every layer an order of its input, with groups searched in it.
void spread_groups(const std::vector<nn::LinearBase*>& linears) {
  std::map<std::string, at::Tensor> orders;
  at::manual_seed(5);
  for (nn::LinearBase* linear : linears) {
    auto* layer = dynamic_cast<quant::FakeQuantLinear*>(linear);
    if (layer == nullptr) continue;
    at::Tensor& order = orders[input_of(linear->name())];
    if (!order.defined()) order = at::randperm(linear->spec().in_features, at::kLong);
    const at::Tensor weight = layer->master_weight().index_select(1, order);
    layer->set_quantization(layer->quantizer().search(weight, layer->format(), {}), weight, order);
  }
}

struct SpreadModel : QuantizedModel {
  explicit SpreadModel(const quant::QuantPolicy& policy, const model::ModelConfig& config = even_config())
      : QuantizedModel(policy, config), imported(folder.path() / "imported"), again(folder.path() / "again") {
    spread_groups(model->linears());
  }
  std::filesystem::path imported, again;
};

void expect_same_files(const std::filesystem::path& folder, const std::filesystem::path& other) {
  const io::TensorMap tensors = read_tensors(folder), others = read_tensors(other);
  EXPECT_EQ(others.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_EQ(others.count(name), 1U) << name;
    EXPECT_EQ(others.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(others.at(name), tensor)) << name;
  }
  EXPECT_EQ(io::read_json(folder / "config.json")["quantization_config"],
            io::read_json(other / "config.json")["quantization_config"]);
}

struct Case {
  std::string name, family, settings;
  int64_t num_bits;
  bool symmetric;
  int64_t group_size;
};

class ActOrder : public ::testing::TestWithParam<Case> {};

/// W[n, k] = scales[g_idx[k], n] (q[k, n] - z[g_idx[k], n]), field by field.
TEST_P(ActOrder, FilesFollowTheFormula) {
  const Case& c = GetParam();
  SpreadModel spread(policy_of(c.num_bits, c.symmetric, c.group_size), even_config(c.family));
  const auto exporter = make_exporter("gptq", c.settings);
  exporter->write(*spread.model, spread.source, spread.out);
  const json quantization = io::read_json(spread.out / "config.json")["quantization_config"];
  EXPECT_EQ(quantization["desc_act"], true);
  const int64_t plus = quantization["checkpoint_format"] == "gptq" ? 1 : 0;
  const io::TensorMap tensors = read_tensors(spread.out);
  const std::string name = "model.layers.1.self_attn.o_proj";
  const at::Tensor qweight = tensors.at(name + ".qweight").t().contiguous(), qzeros = tensors.at(name + ".qzeros");
  const at::Tensor scales = tensors.at(name + ".scales").to(at::kFloat), groups = tensors.at(name + ".g_idx");
  EXPECT_EQ(groups.scalar_type(), at::kInt);
  const at::Tensor weight = spread.layer(name).dense_weight();
  int64_t neighbors = 0;
  for (int64_t k = 0; k < weight.size(1); ++k) {
    const int64_t g = groups[k].item<int64_t>();
    neighbors += g == k / c.group_size ? 1 : 0;
    for (int64_t n = 0; n < weight.size(0); n += 7) {
      const int64_t z = (field_at(qzeros, g, n, c.num_bits) + plus) % (int64_t{1} << c.num_bits);
      const auto step = static_cast<float>(field_at(qweight, n, k, c.num_bits) - z);
      ASSERT_EQ(scales[g][n].item<float>() * step, weight[n][k].item<float>()) << n << " " << k;
    }
  }
  EXPECT_LT(neighbors, weight.size(1));
  const RoundTrip trip = exporter->verify(*spread.model, spread.source, spread.out, probe());
  EXPECT_TRUE(trip.passed()) << trip.text();
}

TEST_P(ActOrder, ImportAndExportGiveTheFilesBack) {
  const Case& c = GetParam();
  SpreadModel spread(policy_of(c.num_bits, c.symmetric, c.group_size), even_config(c.family));
  make_exporter("gptq", c.settings)->write(*spread.model, spread.source, spread.out);
  import_quantized(spread.out, spread.imported, "float32");
  const auto formats = quant::read_formats(base::read_file(spread.imported / "rqat_quant.json"), "f");
  EXPECT_EQ(formats, checkpoint_formats(spread.out));
  for (const auto& [name, format] : formats) EXPECT_TRUE(format.act_order) << name;

  const auto model = load_stage(spread.imported);
  for (const auto& [name, tensor] : spread.model->weights()) {
    EXPECT_TRUE(at::equal(model->weights().at(name), tensor)) << name;
    EXPECT_TRUE(at::equal(read_tensors(spread.imported).at(name), tensor)) << name;
  }
  for (nn::LinearBase* linear : model->linears()) {
    const auto& layer = dynamic_cast<const quant::FakeQuantLinear&>(*linear);
    const quant::FakeQuantLinear& before = spread.layer(linear->name());
    EXPECT_TRUE(at::equal(layer.by_input(layer.codes()), before.by_input(before.codes()))) << linear->name();
    EXPECT_TRUE(at::equal(layer.group_of_input(), before.group_of_input())) << linear->name();
    EXPECT_TRUE(at::equal(layer.params().scale, before.params().scale)) << linear->name();
    EXPECT_TRUE(at::equal(layer.params().zero_point, before.params().zero_point)) << linear->name();
  }
  make_exporter("gptq", c.settings)->write(*model, spread.imported, spread.again);
  expect_same_files(spread.out, spread.again);
}

INSTANTIATE_TEST_SUITE_P(
    Files, ActOrder,
    ::testing::Values(Case{"w4_v1", "llama", "{checkpoint_format: gptq}", 4, true, 32},
                      Case{"w4_v2", "llama", "{checkpoint_format: gptq_v2}", 4, true, 16},
                      Case{"w2_asym", "qwen2", "{}", 2, false, 32}, Case{"w3_asym", "llama", "{}", 3, false, 32},
                      Case{"w3_v1", "qwen3", "{}", 3, true, 8}, Case{"w8_v1", "llama", "{}", 8, true, 32},
                      Case{"fused", "phi3", "{}", 4, true, 32}, Case{"experts", "qwen3_moe", "{}", 4, false, 16}),
    [](const auto& info) { return info.param.name; });

/// One group has no order, whatever the layer's own; other layers keep theirs.
TEST(ActOrderFiles, LayersWithoutAnOrderStayWithoutOne) {
  SpreadModel spread(policy_of(4, true, 32, "{'*.down_proj': {group_size: -1}, '*.1.self_attn.o_proj': none}"));
  const quant::QuantFormat whole_rows = spread.layer("model.layers.0.mlp.down_proj").format();
  EXPECT_TRUE(whole_rows.act_order);  // of no effect: one group
  const auto exporter = make_exporter("gptq");
  exporter->write(*spread.model, spread.source, spread.out);
  EXPECT_TRUE(exporter->verify(*spread.model, spread.source, spread.out, probe()).passed());
  const json quantization = io::read_json(spread.out / "config.json")["quantization_config"];
  EXPECT_EQ(quantization["dynamic"]["+:model\\.layers\\.0\\.mlp\\.down_proj$"]["desc_act"], true);
  import_quantized(spread.out, spread.imported, "float32");
  const auto formats = quant::read_formats(base::read_file(spread.imported / "rqat_quant.json"), "f");
  EXPECT_FALSE(formats.at("model.layers.0.mlp.down_proj").act_order);
  EXPECT_TRUE(formats.at("model.layers.0.mlp.up_proj").act_order);
  const io::SafetensorsReader state(spread.imported / "rqat_state.safetensors");
  EXPECT_EQ(state.tensors().count("model.layers.0.mlp.down_proj.weight_input_order"), 0U);
  EXPECT_EQ(state.read("model.layers.0.mlp.up_proj.weight_input_order").scalar_type(), at::kInt);
  for (const auto& [name, tensor] : spread.model->weights())
    EXPECT_TRUE(at::equal(read_tensors(spread.imported).at(name), tensor)) << name;
}

TEST(ActOrderFiles, GroupsThatAreNoneAreNamed) {
  SpreadModel spread(policy_of(4, true, 32));
  make_exporter("gptq")->write(*spread.model, spread.source, spread.out);
  const io::TensorMap good = read_tensors(spread.out);
  const std::string key = std::string(kUp) + ".g_idx";
  const auto with = [&](const at::Tensor& groups) {
    change_tensors(spread.out, [&](io::TensorMap& tensors) {
      tensors = good;
      tensors[key] = groups;
    });
    return message_of<base::IoError>([&] { import_quantized(spread.out, spread.imported, "float32"); });
  };
  const auto changed = [&](int64_t input, int64_t group) {
    at::Tensor groups = good.at(key).clone();
    groups[input] = group;
    return groups;
  };
  const int64_t other = 1 - good.at(key)[9].item<int64_t>();
  EXPECT_THAT(with(changed(9, 2)), AllOf(HasSubstr(key), HasSubstr("puts input 9 into group 2 of 2 (0 to 1)")));
  EXPECT_THAT(with(changed(9, -1)), AllOf(HasSubstr(key), HasSubstr("puts input 9 into group -1 of 2")));
  EXPECT_THAT(
      with(changed(9, other)),
      AllOf(HasSubstr(key), HasSubstr(base::cat("puts ", other == 0 ? 33 : 31, " inputs into group 0, expected 32"))));
  EXPECT_THAT(with(good.at(key).slice(0, 0, 63)), AllOf(HasSubstr(key), HasSubstr("is [63], expected [64]")));
  EXPECT_THAT(with(good.at(key).to(at::kFloat)), AllOf(HasSubstr(key), HasSubstr("is Float, expected Int")));
  EXPECT_FALSE(std::filesystem::exists(spread.imported));
}

TEST(ActOrderFiles, AChangedGroupIsSeen) {
  SpreadModel spread(policy_of(4, true, 32));
  const auto exporter = make_exporter("gptq");
  exporter->write(*spread.model, spread.source, spread.out);
  change_tensors(spread.out, [](io::TensorMap& tensors) {
    at::Tensor& groups = tensors.at(std::string(kUp) + ".g_idx");
    const at::Tensor first = groups.eq(0).nonzero()[3][0], second = groups.eq(1).nonzero()[5][0];
    groups[first.item<int64_t>()] = 1;
    groups[second.item<int64_t>()] = 0;
  });
  const RoundTrip trip = exporter->verify(*spread.model, spread.source, spread.out, probe());
  EXPECT_EQ(trip.parameters_different, 2);
  EXPECT_FALSE(trip.faithful());
  change_tensors(spread.out, [](io::TensorMap& tensors) { tensors.erase(std::string(kUp) + ".g_idx"); });
  EXPECT_FALSE(exporter->verify(*spread.model, spread.source, spread.out, probe()).faithful());
}

TEST(ActOrderFiles, ScalesThatAreTooSmallAreRaised) {
  SpreadModel spread(policy_of(4, true, 32));
  make_exporter("gptq")->write(*spread.model, spread.source, spread.out);
  change_tensors(spread.out,
                 [](io::TensorMap& tensors) { tensors.at(std::string(kUp) + ".scales")[0][5].fill_(1e-6); });
  import_quantized(spread.out, spread.imported, "float32");
  const at::Tensor groups = read_tensors(spread.out).at(std::string(kUp) + ".g_idx");
  const at::Tensor weight = read_tensors(spread.imported).at(std::string(kUp) + ".weight");
  const at::Tensor before = spread.model->weights().at(std::string(kUp) + ".weight");
  EXPECT_LE(weight[5].index({groups.eq(0)}).abs().max().item<float>(), 6.2e-5);
  EXPECT_TRUE(at::equal(weight[5].index({groups.eq(1)}), before[5].index({groups.eq(1)})));
  EXPECT_TRUE(at::equal(weight[6], before[6]));
}

TEST(ActOrderFiles, OtherFormatsRefuse) {
  SpreadModel spread(policy_of(4, true, 32));
  write_tokenizer(spread.source);
  make_exporter("gptq")->write(*spread.model, spread.source, spread.out);
  quant::QuantLayerFactory factory(checkpoint_formats(spread.out), base::Component("ste"));
  model::CausalLM meta(even_config(), factory, at::kFloat, at::kMeta);
  for (const char* name : {"awq", "mlx", "gguf", "compressed_tensors"}) {
    for (model::CausalLM* model : {spread.model.get(), &meta}) {
      EXPECT_THAT(export_faults(*make_exporter(name), *model, ""),
                  ElementsAre(AllOf(HasSubstr("act-order"), HasSubstr("export as gptq or hf_dequantized"),
                                    HasSubstr("model.layers.0.self_attn.q_proj"), HasSubstr("(and 9 more)"))))
          << name;
    }
  }
  EXPECT_THAT(export_faults(*make_exporter("gptq"), meta, "vllm"), IsEmpty());
  EXPECT_THAT(export_faults(*make_exporter("hf_dequantized"), meta, ""), IsEmpty());
}

TEST(ActOrderFiles, PlainWeightsAreThoseOfTheInputs) {
  for (const char* family : {"llama", "phi3"}) {
    SpreadModel spread(policy_of(3, false, 16), even_config(family));
    for (const char* settings : {"{}", "{dtype: bfloat16}"}) {
      const auto exporter = make_exporter("hf_dequantized", settings);
      exporter->write(*spread.model, spread.source, spread.out);
      const RoundTrip trip = exporter->verify(*spread.model, spread.source, spread.out, probe());
      EXPECT_TRUE(trip.faithful()) << trip.text();
      if (settings != std::string("{}")) continue;
      EXPECT_EQ(trip.max_logit_difference, 0);
      const std::string name = "model.layers.0.mlp.down_proj";
      EXPECT_TRUE(at::equal(read_tensors(spread.out).at(name + ".weight"), spread.layer(name).dense_weight()));
    }
  }
}

TEST(ActOrderFiles, FusedSetsHaveOneOrder) {
  SpreadModel spread(policy_of(4, true, 32));
  quant::FakeQuantLinear& key = spread.layer("model.layers.0.self_attn.k_proj");
  key.set_quantization(key.params(), key.master_weight(), key.input_order().flip(0));
  EXPECT_THAT(export_faults(*make_exporter("gptq"), *spread.model, ""),
              ElementsAre(AllOf(HasSubstr("model.layers.0.self_attn.q_proj and model.layers.0.self_attn.k_proj"),
                                HasSubstr("group their inputs differently"))));
  EXPECT_THAT(export_faults(*make_exporter("hf_dequantized"), *spread.model, ""), IsEmpty());
}

TEST(ActOrderFiles, AdviceForEngines) {
  const auto faults = [](int64_t num_bits, const std::string& engine) {
    SpreadModel spread(policy_of(num_bits, true, 32));
    return make_exporter("gptq")->advise(engine, *spread.model, "out").faults;
  };
  EXPECT_THAT(faults(4, "vllm"), IsEmpty());
  EXPECT_THAT(faults(2, "vllm"), ElementsAre(HasSubstr("no act-order (desc_act)")));
  EXPECT_THAT(faults(2, "transformers"), IsEmpty());
}

/// compressed-tensors with actorder: group, which its releases before 0.20 wrote.
class ActorderGroup : public ::testing::Test {
 protected:
  ActorderGroup() : quantized(policy_of(4, false, 16), even_config()) {
    make_exporter("compressed_tensors")->write(*quantized.model, quantized.source, quantized.out);
    json config = io::read_json(quantized.out / "config.json");
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["actorder"] = "group";
    io::write_json(quantized.out / "config.json", config);
  }
  void set_groups(const std::function<at::Tensor(int64_t)>& groups_of) {
    change_tensors(quantized.out, [&](io::TensorMap& tensors) {
      for (nn::LinearBase* linear : quantized.model->linears())
        tensors[linear->name() + ".weight_g_idx"] = groups_of(linear->spec().in_features).to(at::kInt);
    });
  }
  std::filesystem::path imported() const { return quantized.folder.path() / "imported"; }
  QuantizedModel quantized;
};

TEST_F(ActorderGroup, IsRead) {
  set_groups([](int64_t columns) { return at::arange(columns, at::kLong).mul(5).remainder(columns / 16); });
  import_quantized(quantized.out, imported(), "float32");
  const io::TensorMap tensors = read_tensors(imported());
  for (nn::LinearBase* linear : quantized.model->linears()) {
    const quant::FakeQuantLinear& layer = quantized.layer(linear->name());
    const at::Tensor weight = tensors.at(linear->name() + ".weight");
    const int64_t groups = weight.size(1) / 16;
    for (int64_t k = 0; k < weight.size(1); ++k) {
      const at::Tensor scale = layer.params().scale.select(1, 5 * k % groups);
      const at::Tensor zero = layer.params().zero_point.select(1, 5 * k % groups).to(at::kFloat);
      ASSERT_TRUE(at::equal(weight.select(1, k), scale * (layer.codes().select(1, k).to(at::kFloat) - zero)))
          << linear->name() << " " << k;
    }
  }
  const auto model = load_stage(imported());
  const auto out = quantized.folder.path() / "gptq";
  const auto exporter = make_exporter("gptq");
  exporter->write(*model, imported(), out);
  EXPECT_TRUE(exporter->verify(*model, imported(), out, probe()).passed());
}

TEST_F(ActorderGroup, UnsetGroupsAreNeighbors) {
  set_groups([](int64_t columns) { return at::full({columns}, -1, at::kInt); });
  import_quantized(quantized.out, imported(), "float32");
  for (const auto& [name, tensor] : quantized.model->weights())
    EXPECT_TRUE(at::equal(read_tensors(imported()).at(name), tensor)) << name;
  for (const auto& [name, format] : checkpoint_formats(quantized.out)) EXPECT_FALSE(format.act_order) << name;
}

TEST_F(ActorderGroup, GroupsThatAreNoneAreNamed) {
  set_groups([](int64_t columns) { return at::arange(columns, at::kLong).floor_divide(15); });
  EXPECT_THAT(message_of<base::IoError>([&] { import_quantized(quantized.out, imported(), "float32"); }),
              AllOf(HasSubstr(".weight_g_idx"), HasSubstr("into group")));
}

}  // namespace
}  // namespace rqat::exporting
