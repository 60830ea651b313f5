// What the stages that train share: their common settings, loading, checkpoints, and the way from loop to folder.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "stage_support.h"

namespace rqat::pipeline {

/// Settings of every stage that trains a model, beside those of its loop.
struct LoopInputs {
  std::string model, data;
  std::string companion;  ///< teacher or reference: a model that stays as it is
  base::Component estimator{"clipped_ste"};
  PeriodicEvaluation evaluation;
  /// Visited before and after the settings of the loop, in the order in which help shows them.
  void model_fields(base::FieldVisitor& v, const char* model_help, const char* data_help, const char* companion_name,
                    const char* companion_help);
  void run_fields(base::FieldVisitor& v);
};

class LoopStage : public Stage {
 public:
  Uses uses() const override;
  std::string makes() const override { return "model"; }
  bool keeps_checkpoints() const override { return loop().keep_checkpoints; }
  std::vector<std::string> settings_on_the_way() const override;

 protected:
  virtual const LoopInputs& inputs() const = 0;
  virtual const train::LoopConfig& loop() const = 0;

  /// "eval_steps needs `evaluation`", or nothing.
  std::vector<std::string> evaluation_faults() const;

  /// Loads model and companion (null when none is named), goes on from the newest checkpoint if there is one, trains by
  /// `train` and saves the model. Throws Interrupted after saving when a stop was asked for.
  using Train = std::function<void(LoadedModel& model, model::CausalLM* companion, const train::Callbacks& callbacks)>;
  void run_loop(StageRun& run, const Train& train) const;
};

}  // namespace rqat::pipeline
