#include "loop_stage.h"
#include "rqat/objective/objective.h"

namespace rqat::pipeline {

namespace {

struct ReinforceStageConfig : train::ReinforceConfig {
  LoopInputs inputs;
  void fields(base::FieldVisitor& v) override {
    inputs.model_fields(v, "policy to start from: a `models:` entry or a stage",
                        "`data:` entry with verifiable problems to answer", "reference",
                        "model of the KL term, where the objective has one (beta > 0)");
    ReinforceConfig::fields(v);
    inputs.run_fields(v);
  }
};

class ReinforceStage : public LoopStage {
 public:
  explicit ReinforceStage(ReinforceStageConfig config) : config_(std::move(config)) {}

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults = evaluation_faults();
    const auto objective = objective::objectives().make(config_.objective);
    if (!objective->needs_policy()) {
      faults.push_back("objective " + config_.objective.name + " is not a policy objective; use a `train` stage");
    }
    if (objective->needs_teacher()) {
      faults.push_back("objective " + config_.objective.name + " needs a teacher, which a `reinforce` stage has not");
    }
    if (objective->needs_reference() && config_.inputs.companion.empty()) {
      faults.push_back("objective " + config_.objective.name + " has beta > 0 and needs `reference: <model>`");
    }
    return faults;
  }

  void run(StageRun& run) override {
    run_loop(run, [&](LoadedModel& policy, model::CausalLM* reference, const train::Callbacks& callbacks) {
      const std::string& name = config_.inputs.data;
      const std::vector<data::Record> records =
          data::with_fitting_prompts(records_of(run, name), run.data(name), *policy.tokenizer, *policy.chat);
      train::train_reinforce(*policy.model, reference, *policy.tokenizer, *policy.chat, policy.stop_ids, records,
                             run.data(name), config_, stage_seed(run, "reinforce"), callbacks);
    });
  }

 protected:
  const LoopInputs& inputs() const override { return config_.inputs; }
  const train::LoopConfig& loop() const override { return config_; }

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
