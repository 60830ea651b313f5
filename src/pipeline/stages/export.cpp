#include "stage_support.h"

#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "rqat/io/json_file.h"
#include "rqat/io/shard_size.h"

namespace rqat::pipeline {

namespace {

using base::cat;

struct ExportConfig : base::Config {
  std::string model;
  std::vector<base::Component> formats;
  std::string target_engine = "any", max_shard_size = io::kDefaultShardSize;
  std::string probe;  // data entry whose prompts are used for the comparison of logits
  int64_t probe_examples = 4;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model to export: a stage or a `models:` entry");
    v.required("model");
    v.components("formats", formats, exporting::exporters(), "file formats, each in a folder of its own");
    v.required("formats");
    std::vector<std::string> engines{"any"};
    engines.insert(engines.end(), exporting::engines().begin(), exporting::engines().end());
    v.choice("target_engine", target_engine, engines,
             "engine that must load every format: refused before training when it cannot; any = not checked");
    v.field("max_shard_size", max_shard_size, "largest file of weights, unless one tensor is larger: 300MB, 5GB, 1GiB");
    v.field("probe", probe, "`data:` entry whose examples compare logits after reading back; empty = fixed ids");
    v.field("probe_examples", probe_examples, "examples of the probe", base::Range{1, 1000});
  }
  std::vector<std::string> check() const override { return io::shard_size_faults(max_shard_size); }
};

nlohmann::json to_json(const exporting::ExportReport& report, const exporting::RoundTrip& trip) {
  nlohmann::json layers = nlohmann::json::array();
  for (const auto& layer : report.layers) {
    layers.push_back(
        {{"name", layer.name}, {"format", layer.format}, {"stored_as", layer.stored_as}, {"bytes", layer.bytes}});
  }
  return {{"total_bytes", report.total_bytes},
          {"serve_command", report.serve_command},
          {"notes", report.notes},
          {"parameters_different", trip.parameters_different},
          {"max_weight_difference", trip.max_weight_difference},
          {"allowed_weight_difference", trip.allowed_weight_difference},
          {"codes_equal", trip.codes_equal},
          {"codes_compared", trip.codes_compared},
          {"codes_different", trip.codes_different},
          {"max_logit_difference", trip.max_logit_difference},
          {"layers", layers}};
}

class ExportStage : public Stage {
 public:
  explicit ExportStage(ExportConfig config) : config_(std::move(config)) {}

  Uses uses() const override {
    Uses uses{{config_.model}, {}, {}};
    if (!config_.probe.empty()) uses.data.push_back(config_.probe);
    return uses;
  }
  std::string makes() const override { return "files"; }

  void run(StageRun& run) override {
    LoadOptions options;
    options.device = run.device;
    options.with_masters = false;
    LoadedModel loaded = load_model_folder(run.model_folder(config_.model), options);
    const std::vector<std::vector<int64_t>> probe = probe_ids(run, loaded);
    nlohmann::json reports = nlohmann::json::object();
    for (const base::Component& component : config_.formats) {
      const auto exporter = exporting::exporters().make(component);
      exporter->set_max_shard_bytes(io::shard_bytes(config_.max_shard_size));
      const std::filesystem::path folder = run.folder / component.name;
      const std::string engine = config_.target_engine == "any" ? "" : config_.target_engine;
      const auto [report, trip] =
          exporting::export_model(*exporter, component.name, *loaded.model, loaded.folder, folder, engine, probe);
      base::log_info(cat(run.id, "/", component.name, ": ", base::format_bytes(report.total_bytes), "; ", trip.text()));
      if (!report.serve_command.empty()) base::log_info(cat("  serve with: ", report.serve_command));
      for (const std::string& note : report.notes) base::log_info(cat("  note: ", note));
      reports[component.name] = to_json(report, trip);
    }
    io::write_json(run.folder / "export_report.json", reports);
    for (const auto& [name, report] : reports.items()) {
      (*run.summary)[name] = {{"bytes", report["total_bytes"]},
                              {"codes_equal", report["codes_equal"]},
                              {"codes_compared", report["codes_compared"]},
                              {"max_logit_difference", report["max_logit_difference"]}};
    }
  }

 private:
  std::vector<std::vector<int64_t>> probe_ids(const StageRun& run, const LoadedModel& loaded) const {
    std::vector<std::vector<int64_t>> probe;
    if (config_.probe.empty()) {
      std::vector<int64_t> ids;
      for (int64_t i = 0; i < 48; ++i) ids.push_back((i * 7919 + 13) % loaded.model->config().vocab_size);
      probe.push_back(ids);
      return probe;
    }
    data::DataConfig data = run.data(config_.probe);
    // `too_long: drop` may take some of them away.
    const int64_t records = data.too_long == "drop" ? 16 * config_.probe_examples : config_.probe_examples;
    data.num_examples = std::min(data.num_examples.value_or(records), records);
    for (const data::Example& example :
         data::encode_examples(data::load_records(data, run.recipe.seed), data, *loaded.tokenizer, *loaded.chat,
                               config_.probe_examples)) {
      probe.push_back(example.ids);
    }
    return probe;
  }

  ExportConfig config_;
};

}  // namespace

base::Entry<Stage> export_entry() {
  return base::make_entry<base::Entry<Stage>, ExportConfig>(
      "export", "files for serving engines, read back and compared code by code", "",
      [](const ExportConfig& config) { return std::make_unique<ExportStage>(config); });
}

}  // namespace rqat::pipeline
