#include "block_checkpoints.h"
#include "calibration.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/ptq/initializer.h"
#include "stage_support.h"

namespace rqat::pipeline {

namespace {

using base::cat;

struct QuantizeConfig : base::Config {
  std::string model, quant;
  base::Component initializer{"gptq"};
  CalibrationConfig calibration;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "full-precision model to quantize");
    v.required("model");
    v.field("quant", quant, "`quant:` entry: the number format");
    v.required("quant");
    v.component("initializer", initializer, ptq::initializers(), "how scales and codes are found");
    v.group("calibration", calibration, "inputs for initializers that look at activations");
  }
};

class QuantizeStage : public Stage {
 public:
  explicit QuantizeStage(QuantizeConfig config) : config_(std::move(config)) {}

  Uses uses() const override {
    Uses uses{{config_.model}, {}, {config_.quant}};
    if (!config_.calibration.data.empty()) uses.data.push_back(config_.calibration.data);
    return uses;
  }
  std::string makes() const override { return "model"; }

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults;
    const bool needed = ptq::initializers().make(config_.initializer)->needs_calibration();
    if (needed && config_.calibration.data.empty()) {
      faults.push_back("initializer " + config_.initializer.name + " needs `calibration: {data: ...}`");
    }
    return faults;
  }

  void run(StageRun& run) override {
    LoadOptions options;
    options.device = run.device;
    options.policy = &run.recipe.quant.at(config_.quant);
    LoadedModel loaded = load_model_folder(run.model_folder(config_.model), options);
    if (loaded.quantized) {
      throw base::ConfigError(cat("stage ", run.id, ": model '", config_.model, "' is quantized already"));
    }
    report_policy_faults(*loaded.model, *options.policy);
    std::vector<nn::TokenBatch> batches;
    if (!config_.calibration.data.empty()) {
      const auto samples = calibration_samples(config_.calibration, run.data(config_.calibration.data),
                                               *loaded.tokenizer, *loaded.chat, run.recipe.seed);
      batches = calibration_batches(samples, config_.calibration.max_tokens_per_batch, run.device);
      (*run.summary)["calibration_samples"] = samples.size();
    }
    progress_ = std::make_unique<base::Progress>(run.id, static_cast<int64_t>(loaded.model->linears().size()));
    BlockCheckpoints finished_blocks(run);
    const base::StopSection stops_are_orderly;
    const std::unique_ptr<ptq::Initializer> initializer = ptq::initializers().make(config_.initializer);
    initializer->set_block_store(&finished_blocks);
    initializer->set_world(*run.world);
    const auto reports = initializer->initialize(
        *loaded.model, batches,
        [&](int64_t done, int64_t, const std::string& status) { progress_->update(done, status); });
    finished_blocks.wait();
    summarize(reports, run);
    if (run.is_main()) save_model_folder(*loaded.model, loaded.folder, run.folder);
  }

 private:
  static void report_policy_faults(model::CausalLM& model, const quant::QuantPolicy& policy) {
    std::vector<nn::LinearSpec> specs;
    for (nn::LinearBase* linear : model.linears()) specs.push_back(linear->spec());
    const std::vector<std::string> faults = policy.faults(specs);
    if (!faults.empty()) throw base::ConfigError(cat("quantization policy: ", base::join(faults, "; ")));
  }

  void summarize(const std::vector<ptq::LayerReport>& reports, StageRun& run) {
    double error = 0, rtn_error = 0;
    int64_t fallbacks = 0;
    for (const ptq::LayerReport& report : reports) {
      error += report.error;
      rtn_error += report.rtn_error;
      fallbacks += report.fallback ? 1 : 0;
      if (report.fallback) base::log_warning(cat(run.id, ": ", report.layer, " falls back to RTN: ", report.note));
    }
    const double count = std::max<double>(1, static_cast<double>(reports.size()));
    io::write_json(run.folder / "quant_report.json", to_json(reports));
    io::EventWriter events(run.folder / "tensorboard");
    for (size_t i = 0; i < reports.size(); ++i) {
      events.scalars(static_cast<int64_t>(i), {{"error", reports[i].error}, {"rtn_error", reports[i].rtn_error}});
    }
    nlohmann::json& summary = *run.summary;
    summary["layers"] = reports.size();
    summary["mean_relative_error"] = error / count;
    summary["mean_relative_error_rtn"] = rtn_error / count;
    summary["fallbacks"] = fallbacks;
    progress_->finish(cat(reports.size(), " layers, mean relative error ", base::format_fixed(error / count, 4),
                          " (RTN ", base::format_fixed(rtn_error / count, 4), "), ", fallbacks, " fallbacks"));
  }

  QuantizeConfig config_;
  std::unique_ptr<base::Progress> progress_;
};

}  // namespace

base::Entry<Stage> quantize_entry() {
  return base::make_entry<base::Entry<Stage>, QuantizeConfig>(
      "quantize", "post-training quantization of a full-precision model: RTN, GPTQ", "",
      [](const QuantizeConfig& config) { return std::make_unique<QuantizeStage>(config); });
}

}  // namespace rqat::pipeline
