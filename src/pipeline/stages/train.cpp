#include "stage_support.h"

#include "rqat/objective/objective.h"
#include "rqat/quant/estimator.h"

namespace rqat::pipeline {

namespace {

struct TrainConfig : train::SupervisedConfig {
  std::string model, data, teacher;
  base::Component estimator{"clipped_ste"};
  PeriodicEvaluation evaluation;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model to start from: a `models:` entry or a stage");
    v.required("model");
    v.field("data", data, "`data:` entry to learn from");
    v.required("data");
    v.field("teacher", teacher, "model to distil from, for objectives that need one");
    SupervisedConfig::fields(v);
    v.component("estimator", estimator, quant::estimators(), "gradient estimator of quantised layers");
    v.group("evaluation", evaluation, "small evaluation every eval_steps steps");
  }
};

class TrainStage : public Stage {
 public:
  explicit TrainStage(TrainConfig config) : config_(std::move(config)) {}

  Uses uses() const override {
    Uses uses{{config_.model}, {config_.data}, {}};
    if (!config_.teacher.empty()) uses.models.push_back(config_.teacher);
    if (!config_.evaluation.data.empty()) uses.data.push_back(config_.evaluation.data);
    return uses;
  }
  std::string makes() const override { return "model"; }

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults = evaluation_faults(config_.eval_steps, config_.evaluation);
    const auto objective = objective::objectives().make(config_.objective);
    if (objective->needs_policy())
      faults.push_back("objective " + config_.objective.name + " belongs in a `reinforce` stage");
    if (objective->needs_teacher() && config_.teacher.empty()) {
      faults.push_back("objective " + config_.objective.name + " needs `teacher: <model>`");
    }
    if (!objective->needs_teacher() && !config_.teacher.empty()) {
      faults.push_back("`teacher` has no effect: objective " + config_.objective.name + " uses none");
    }
    return faults;
  }

  void run(StageRun& run) override {
    LoadOptions options;
    options.device = run.device;
    options.estimator = config_.estimator;
    LoadedModel student = load_model_folder(run.model_folder(config_.model), options);
    LoadedModel teacher;
    if (!config_.teacher.empty()) {
      options.with_tokenizer = false;
      teacher = load_model_folder(run.model_folder(config_.teacher), options);
    }
    const data::DataConfig& data = run.data(config_.data);
    const std::vector<data::Example> examples =
        data::encode_examples(records_of(run, config_.data), data, *student.tokenizer, *student.chat);
    LoopMonitor monitor(run, config_.max_steps);
    const train::Callbacks callbacks = loop_callbacks(monitor, student, run, config_.evaluation);
    train::train_supervised(*student.model, teacher.model.get(), examples, config_, stage_seed(run, "train"),
                            callbacks);
    monitor.finish();
    save_model_folder(*student.model, student.folder, run.folder);
  }

 private:
  TrainConfig config_;
};

}  // namespace

base::Entry<Stage> train_entry() {
  return base::make_entry<base::Entry<Stage>, TrainConfig>(
      "train", "supervised training: cross-entropy on responses, or distillation from a teacher", "",
      [](const TrainConfig& config) { return std::make_unique<TrainStage>(config); });
}

}  // namespace rqat::pipeline
