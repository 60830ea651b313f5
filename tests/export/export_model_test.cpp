#include <malloc.h>

#include "quantized_model.h"
#include "rqat/base/progress.h"
#include "support/sanitizers.h"

namespace rqat::exporting {
namespace {

using ::testing::Not;

/// What every exporter does with a model that all can hold.
class EveryExporter : public ::testing::TestWithParam<std::string> {
 protected:
  EveryExporter() : quantized(policy_of(4, true, 32), even_config()), exporter(make_exporter(GetParam())) {
    write_tokenizer(quantized.source);
  }
  QuantizedModel quantized;
  std::unique_ptr<Exporter> exporter;
};

TEST_P(EveryExporter, WritesReadsAndReports) {
  const Exported exported = export_model(*exporter, GetParam(), *quantized.model, quantized.source, quantized.out,
                                         exporter->home_engine(), probe());
  EXPECT_TRUE(exported.trip.passed()) << exported.trip.text();
  EXPECT_EQ(exported.trip.max_weight_difference, 0);
  EXPECT_EQ(exported.report.layers.size(), 14);
  for (const auto& layer : exported.report.layers) {
    EXPECT_NE(layer.stored_as, "float") << layer.name;
    EXPECT_GT(layer.bytes, 0);
  }
  EXPECT_THAT(exported.report.serve_command, HasSubstr(quantized.out.string()));
  // An older export is replaced.
  export_model(*exporter, GetParam(), *quantized.model, quantized.source, quantized.out, "", probe());
}

TEST_P(EveryExporter, ReadsBackWhatIsInShards) {
  exporter->set_max_shard_bytes(20000);
  const Exported exported =
      export_model(*exporter, GetParam(), *quantized.model, quantized.source, quantized.out, "", probe());
  EXPECT_TRUE(exported.trip.passed()) << exported.trip.text();
  EXPECT_EQ(std::filesystem::exists(quantized.out / "model.safetensors.index.json"), GetParam() != "gguf");
}

/// Of the float32 models that are compared, not much more than one block may be in memory. 1 to 2.2 bytes a weight were
/// seen: what the allocator keeps differs from run to run.
TEST(ExportModel, ComparesBlockByBlock) {
  model::ModelConfig config = even_config();
  config.hidden_size = 256;
  config.intermediate_size = 1024;
  config.num_hidden_layers = 40;
  const int64_t weights = config.num_hidden_layers * (2 * 64 + 2 * 32 + 3 * 1024) * 256;  // 64 and 32: heads of 16
  QuantizedModel quantized(policy_of(4, true, 32), config, at::kBFloat16);
  const auto exporter = make_exporter("compressed_tensors");
  exporter->write(*quantized.model, quantized.source, quantized.out);
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const int64_t before = base::resident_bytes();
  EXPECT_TRUE(exporter->verify(*quantized.model, quantized.source, quantized.out, probe()).passed());
  EXPECT_LT(base::peak_resident_bytes() - before, weights * 3 + test::kKeptOfFreed)
      << "the whole would be 4 bytes a weight";
}

TEST_P(EveryExporter, HoldsAMetaModel) {
  quant::QuantLayerFactory factory(policy_of(4, true, 32), base::Component("ste"));
  model::CausalLM model(even_config(), factory, at::kFloat, at::kMeta);
  EXPECT_THAT(export_faults(*exporter, model, ""), IsEmpty());
  EXPECT_THAT(export_faults(*exporter, model, exporter->home_engine()), IsEmpty());
}

TEST_P(EveryExporter, AnswersForEveryEngine) {
  for (const std::string& engine : engines()) {
    const EngineAdvice advice = exporter->advise(engine, *quantized.model, "DIR");
    EXPECT_EQ(advice.faults.empty(), !advice.command.empty()) << engine;
  }
}

TEST_P(EveryExporter, RefusesOtherNumberSystems) {
  quant::QuantFormat format;
  format.group_size = 32;
  format.quantizer = "ternary";
  quant::FakeQuantLinear layer({"a.o_proj", 32, 32, false}, format, quant::quantizers().make("int_affine"),
                               quant::estimators().make("ste"));
  EXPECT_THAT(exporter->check({&layer}),
              testing::Contains(HasSubstr("layer a.o_proj uses the number system 'ternary'")));
}

TEST_P(EveryExporter, RefusesLayersWithoutParameters) {
  quant::QuantLayerFactory factory(policy_of(4, true, 32), base::Component("ste"));
  model::CausalLM empty(even_config(), factory, at::kFloat, at::kCPU);
  EXPECT_THAT(message_of<base::DataError>([&] { exporter->write(empty, quantized.source, quantized.out); }),
              HasSubstr("model.layers.0.self_attn.q_proj (w4_g32_sym) has no quantization parameters"));
}

TEST_P(EveryExporter, KeepsItsHandsOffOtherFolders) {
  const auto foreign = quantized.folder.path() / "foreign";
  std::filesystem::create_directories(foreign);
  base::write_file(foreign / "thesis.txt", "years of work");
  EXPECT_THAT(message_of<base::IoError>([&] { exporter->write(*quantized.model, quantized.source, foreign); }),
              HasSubstr("holds no model"));
  EXPECT_THAT(message_of<base::IoError>([&] { exporter->write(*quantized.model, quantized.source, quantized.source); }),
              HasSubstr("holds its source"));
}

INSTANTIATE_TEST_SUITE_P(Exporters, EveryExporter, ::testing::ValuesIn(exporters().names()));

/// An exporter whose files are not what was trained.
class Careless : public Exporter {
 public:
  std::vector<std::string> check(const std::vector<nn::LinearBase*>&) const override { return {}; }
  std::string home_engine() const override { return "vllm"; }
  EngineAdvice advise(const std::string&, model::CausalLM&, const std::filesystem::path&) const override { return {}; }
  ExportReport write(model::CausalLM& model, const std::filesystem::path&,
                     const std::filesystem::path& folder) const override {
    std::filesystem::create_directories(folder);
    base::write_file(folder / "config.json", "{}");
    ExportReport report;
    for (nn::LinearBase* linear : model.linears()) report.layers.push_back({linear->name(), "w4", "packed", 1});
    if (leaves_float) report.layers[4].stored_as = "float";
    return report;
  }
  RoundTrip verify(model::CausalLM&, const std::filesystem::path&, const std::filesystem::path&,
                   const std::vector<std::vector<int64_t>>&) const override {
    return trip;
  }
  bool leaves_float = false;
  RoundTrip trip;
};

TEST(ExportModel, LeavesNothingThatDiffers) {
  QuantizedModel quantized(policy_of(4, true, 32), even_config());
  Careless exporter;
  const auto failure = [&] {
    return message_of<base::DataError>(
        [&] { export_model(exporter, "careless", *quantized.model, quantized.source, quantized.out, "", probe()); });
  };
  exporter.leaves_float = true;
  EXPECT_THAT(failure(), AllOf(HasSubstr("were not packed"), HasSubstr("model.layers.0.mlp.gate_proj")));
  EXPECT_FALSE(std::filesystem::exists(quantized.out));
  exporter.leaves_float = false;
  exporter.trip.codes_compared = 9;
  exporter.trip.codes_different = 2;
  EXPECT_THAT(failure(), AllOf(HasSubstr("read back differs"), HasSubstr("2 of 9 codes DIFFER")));
  EXPECT_FALSE(std::filesystem::exists(quantized.out));
  exporter.trip.codes_equal = true;
  exporter.trip.max_weight_difference = 0.5;
  exporter.trip.allowed_weight_difference = 0.25;
  EXPECT_THAT(failure(), HasSubstr("weights differ by up to 0.5 of a step, MORE than 0.25"));
  exporter.trip.allowed_weight_difference = 0.75;
  EXPECT_NO_THROW(export_model(exporter, "careless", *quantized.model, quantized.source, quantized.out, "", probe()));
  EXPECT_THAT(exporter.trip.text(), AllOf(HasSubstr("(up to 0.75 is the format's rounding)"), Not(HasSubstr("MORE"))));
}

TEST(ExportModel, AsksTheEngineFirst) {
  QuantizedModel quantized(policy_of(2, false, 32), even_config());
  const auto exporter = make_exporter("compressed_tensors");
  EXPECT_THAT(message_of<base::ConfigError>([&] {
                export_model(*exporter, "compressed_tensors", *quantized.model, quantized.source, quantized.out, "vllm",
                             probe());
              }),
              HasSubstr("vLLM refuses asymmetric 2 and 3 bits"));
  EXPECT_FALSE(std::filesystem::exists(quantized.out));
}

}  // namespace
}  // namespace rqat::exporting
