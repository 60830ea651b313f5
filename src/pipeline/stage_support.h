// What several stages share.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rqat/base/files.h"
#include "rqat/base/progress.h"
#include "rqat/data/dataset.h"
#include "rqat/io/event_file.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/stage.h"
#include "rqat/train/trainer.h"

namespace rqat::pipeline {

/// A small evaluation inside a training loop: greedy accuracy on some problems every `eval_steps` steps.
struct PeriodicEvaluation : base::Config {
  std::string data;  ///< name of a `data:` entry; "" = none
  int64_t num_problems = 60;
  int64_t max_new_tokens = 128;
  void fields(base::FieldVisitor& v) override;
};

/// Writes metrics.jsonl and TensorBoard files, and drives the progress bar of a training loop.
class LoopMonitor {
 public:
  /// `state` is that of a monitor after `first_step` steps: rows of later steps leave metrics.jsonl.
  LoopMonitor(StageRun& run, int64_t max_steps, int64_t first_step = 0, const nlohmann::json& state = {});
  void on_metrics(int64_t step, const train::Metrics& metrics);
  /// Adds a number measured between steps (an evaluation) to the metrics of the step that follows.
  void add(const std::string& key, double value) { extra_[key] = value; }
  /// Accuracy of the small evaluation before `step`; the best one is remembered.
  void add_evaluation(int64_t step, double accuracy);
  /// What a monitor that goes on from here has to know, beside metrics.jsonl.
  nlohmann::json state() const;
  /// Waits until metrics.jsonl is on the disk.
  void sync() const;
  /// Ends the bar; puts the means of the last tenth of the steps into the stage's summary.
  void finish();

 private:
  StageRun& run_;
  int64_t max_steps_;
  base::Progress progress_;
  train::Metrics extra_;
  train::Metrics best_;
  std::vector<train::Metrics> rows_;
  base::LineWriter writer_;  ///< opened after the rows of later steps have left
  io::EventWriter events_;
};

/// Accuracy on the first problems of an evaluation's data; the model's execution mode is restored.
double quick_accuracy(LoadedModel& loaded, StageRun& run, const PeriodicEvaluation& evaluation);

/// Metrics to the monitor, and the small evaluation, for a loop that trains `loaded`. All arguments must outlive the
/// loop.
train::Callbacks loop_callbacks(LoopMonitor& monitor, LoadedModel& loaded, StageRun& run,
                                const PeriodicEvaluation& evaluation);

/// Records of a `data:` entry. The stream is the recipe's seed, so that two stages that name one entry see one data
/// set.
std::vector<data::Record> records_of(const StageRun& run, const std::string& name);

/// Seed of a purpose inside a stage.
uint64_t stage_seed(const StageRun& run, const std::string& purpose);

}  // namespace rqat::pipeline
