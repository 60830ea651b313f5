#include "stage_support.h"

#include "rqat/base/strings.h"
#include "rqat/objective/objective.h"
#include "rqat/quant/estimator.h"

namespace rqat::pipeline {

namespace {

struct ReinforceStageConfig : train::ReinforceConfig {
  std::string model, data, reference;
  base::Component estimator{"clipped_ste"};
  PeriodicEvaluation evaluation;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "policy to start from: a `models:` entry or a stage");
    v.required("model");
    v.field("data", data, "`data:` entry with verifiable problems to answer");
    v.required("data");
    v.field("reference", reference, "model of the KL term, where the objective has one (beta > 0)");
    ReinforceConfig::fields(v);
    v.component("estimator", estimator, quant::estimators(), "gradient estimator of quantised layers");
    v.group("evaluation", evaluation, "small evaluation every eval_steps steps");
  }
};

class ReinforceStage : public Stage {
 public:
  explicit ReinforceStage(ReinforceStageConfig config) : config_(std::move(config)) {}

  Uses uses() const override {
    Uses uses{{config_.model}, {config_.data}, {}};
    if (!config_.reference.empty()) uses.models.push_back(config_.reference);
    if (!config_.evaluation.data.empty()) uses.data.push_back(config_.evaluation.data);
    return uses;
  }
  std::string makes() const override { return "model"; }

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults = evaluation_faults(config_.eval_steps, config_.evaluation);
    const auto objective = objective::objectives().make(config_.objective);
    if (!objective->needs_policy()) {
      faults.push_back("objective " + config_.objective.name + " is not a policy objective; use a `train` stage");
    }
    if (objective->needs_reference() && config_.reference.empty()) {
      faults.push_back("objective " + config_.objective.name + " has beta > 0 and needs `reference: <model>`");
    }
    return faults;
  }

  void run(StageRun& run) override {
    LoadOptions options;
    options.device = run.device;
    options.estimator = config_.estimator;
    LoadedModel policy = load_model_folder(run.model_folder(config_.model), options);
    LoadedModel reference;
    if (!config_.reference.empty()) {
      options.with_tokenizer = false;
      reference = load_model_folder(run.model_folder(config_.reference), options);
    }
    const std::vector<data::Record> records = records_of(run, config_.data);
    LoopMonitor monitor(run, config_.max_steps);
    const train::Callbacks callbacks = loop_callbacks(monitor, policy, run, config_.evaluation);
    train::train_reinforce(*policy.model, reference.model.get(), *policy.tokenizer, *policy.chat, policy.stop_ids,
                           records, run.data(config_.data), config_, stage_seed(run, "reinforce"), callbacks);
    monitor.finish();
    save_model_folder(*policy.model, policy.folder, run.folder);
  }

 private:
  ReinforceStageConfig config_;
};

}  // namespace

base::Entry<Stage> reinforce_entry() {
  return base::make_entry<base::Entry<Stage>, ReinforceStageConfig>(
      "reinforce",
      "reinforcement learning with verified rewards; rollouts run on the packed codes of the policy itself",
      "2402.03300", [](const ReinforceStageConfig& config) { return std::make_unique<ReinforceStage>(config); });
}

}  // namespace rqat::pipeline
