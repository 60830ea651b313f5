#include "code_changes.h"
#include "loop_stage.h"
#include "rqat/objective/objective.h"

namespace rqat::pipeline {

namespace {

struct TrainConfig : train::SupervisedConfig {
  LoopInputs inputs;
  void fields(base::FieldVisitor& v) override {
    inputs.model_fields(v, "model to start from: a `models:` entry or a stage", "`data:` entry to learn from",
                        "teacher", "model to distil from, for objectives that need one");
    SupervisedConfig::fields(v);
    inputs.run_fields(v);
  }
};

class TrainStage : public LoopStage {
 public:
  explicit TrainStage(TrainConfig config) : config_(std::move(config)) {}

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults = evaluation_faults();
    const auto objective = objective::objectives().make(config_.objective);
    if (objective->needs_policy())
      faults.push_back("objective " + config_.objective.name + " belongs in a `reinforce` stage");
    if (objective->needs_teacher() && config_.inputs.companion.empty()) {
      faults.push_back("objective " + config_.objective.name + " needs `teacher: <model>`");
    }
    if (!objective->needs_teacher() && !config_.inputs.companion.empty()) {
      faults.push_back("`teacher` has no effect: objective " + config_.objective.name + " uses none");
    }
    return faults;
  }

  void run(StageRun& run) override {
    run_loop(run, [&](LoadedModel& student, model::CausalLM* teacher, const train::Callbacks& callbacks) {
      const data::DataConfig& data = run.data(config_.inputs.data);
      const uint64_t seed = stage_seed(run, "train");
      const FlipCounter flips(*student.model);
      const train::Callbacks with_flips = flips.added_to(callbacks);
      if (data.shuffle_buffer > 0) {
        data::StreamFeed feed(data::open_records(data, run.recipe.seed), data, *student.tokenizer, *student.chat, seed);
        train::train_supervised(*student.model, teacher, feed, config_, with_flips);
        return;
      }
      const std::vector<data::Example> examples =
          data::encode_examples(data::load_records(data, run.recipe.seed), data, *student.tokenizer, *student.chat);
      train::train_supervised(*student.model, teacher, examples, config_, seed, with_flips);
    });
  }

 protected:
  const LoopInputs& inputs() const override { return config_.inputs; }
  const train::LoopConfig& loop() const override { return config_; }

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
