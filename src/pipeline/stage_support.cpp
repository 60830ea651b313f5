#include "stage_support.h"

#include "rqat/base/log.h"
#include "rqat/base/rng.h"
#include "rqat/base/strings.h"
#include "rqat/eval/evaluate.h"

namespace rqat::pipeline {

using base::cat;

void PeriodicEvaluation::fields(base::FieldVisitor& v) {
  v.field("data", data, "name of a `data:` entry to answer every eval_steps steps; empty = none");
  v.field("num_problems", num_problems, "problems per evaluation", base::Range{1, 1e6});
  v.field("max_new_tokens", max_new_tokens, "longest response in tokens", base::Range{1, 1e6});
}

LoopMonitor::LoopMonitor(StageRun& run, int64_t max_steps)
    : run_(run), max_steps_(max_steps), progress_(run.id, max_steps), writer_(run.folder / "metrics.jsonl", false) {}

void LoopMonitor::on_metrics(int64_t step, const train::Metrics& metrics) {
  train::Metrics row = metrics;
  row.insert(extra_.begin(), extra_.end());
  extra_.clear();
  nlohmann::json line;
  line["step"] = step;
  for (const auto& [key, value] : row) line[key] = value;
  writer_.line(line.dump());
  std::string status;
  for (const auto& [key, digits] : {std::pair<const char*, int>{"loss", 4}, {"reward", 3}, {"tokens_per_second", 0}}) {
    if (row.count(key))
      status +=
          cat(key == std::string("tokens_per_second") ? "tok/s" : key, " ", base::format_fixed(row[key], digits), "  ");
  }
  progress_.update(step + 1, cat(status, base::format_bytes(base::resident_bytes())));
  rows_.push_back(std::move(row));
}

void LoopMonitor::finish() {
  const size_t tail = std::max<size_t>(1, rows_.size() / 10);
  train::Metrics sums, counts;
  for (size_t i = rows_.size() - std::min(tail, rows_.size()); i < rows_.size(); ++i) {
    for (const auto& [key, value] : rows_[i]) {
      sums[key] += value;
      counts[key] += 1;
    }
  }
  nlohmann::json& summary = *run_.summary;
  for (const auto& [key, value] : sums) summary["last_tenth"][key] = value / counts[key];
  summary["steps"] = max_steps_;
  progress_.finish(sums.count("loss") ? cat("loss ", base::format_fixed(sums["loss"] / counts["loss"], 4)) : "");
}

double quick_accuracy(LoadedModel& loaded, StageRun& run, const PeriodicEvaluation& evaluation) {
  std::vector<data::Record> records = records_of(run, evaluation.data);
  if (static_cast<int64_t>(records.size()) > evaluation.num_problems)
    records.resize(static_cast<size_t>(evaluation.num_problems));
  generate::SamplingConfig sampling;
  sampling.max_new_tokens = evaluation.max_new_tokens;
  loaded.model->set_execution(nn::Execution::kPacked);
  const eval::TaskResult result =
      eval::evaluate_tasks(*loaded.model, *loaded.tokenizer, *loaded.chat, loaded.stop_ids, records,
                           run.data(evaluation.data), sampling, 64, stage_seed(run, "periodic_evaluation"));
  loaded.model->set_execution(nn::Execution::kTrain);
  return result.overall.value;
}

train::Callbacks loop_callbacks(LoopMonitor& monitor, LoadedModel& loaded, StageRun& run,
                                const PeriodicEvaluation& evaluation) {
  train::Callbacks callbacks;
  callbacks.on_metrics = [&](int64_t step, const train::Metrics& metrics) { monitor.on_metrics(step, metrics); };
  callbacks.on_evaluate = [&](int64_t) {
    if (!evaluation.data.empty()) monitor.add("eval_accuracy", quick_accuracy(loaded, run, evaluation));
  };
  return callbacks;
}

std::vector<std::string> evaluation_faults(int64_t eval_steps, const PeriodicEvaluation& evaluation) {
  std::vector<std::string> faults;
  if (eval_steps > 0 && evaluation.data.empty()) faults.emplace_back("eval_steps needs `evaluation: {data: ...}`");
  return faults;
}

std::vector<data::Record> records_of(const StageRun& run, const std::string& name) {
  return data::load_records(run.data(name), run.recipe.seed);
}

uint64_t stage_seed(const StageRun& run, const std::string& purpose) {
  return base::Rng(run.seed, cat(run.id, "/", purpose)).next();
}

}  // namespace rqat::pipeline
