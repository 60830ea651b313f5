#include "stage_support.h"

#include "rqat/base/folders.h"
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

namespace {

/// Leaves the rows of the first `steps` steps in a file of metrics, and returns them. The last line of a killed run may
/// be half of one.
std::vector<train::Metrics> keep_rows(const std::filesystem::path& file, int64_t steps) {
  std::vector<train::Metrics> rows;
  std::string kept;
  if (steps > 0 && std::filesystem::exists(file)) {
    for (const std::string& line : base::split(base::read_file(file), '\n')) {
      const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
      if (!row.is_object() || row.value("step", steps) >= steps) continue;
      kept += line + "\n";
      rows.emplace_back();
      for (const auto& [key, value] : row.items()) {
        if (key != "step" && value.is_number()) rows.back()[key] = value;  // what was not finite is null
      }
    }
  }
  base::write_file(file, kept);
  return rows;
}

}  // namespace

LoopMonitor::LoopMonitor(StageRun& run, int64_t max_steps, int64_t first_step, const nlohmann::json& state)
    : run_(run),
      max_steps_(max_steps),
      progress_(run.id, max_steps),
      rows_(keep_rows(run.folder / "metrics.jsonl", first_step)),
      writer_(run.folder / "metrics.jsonl"),
      events_(run.folder / "tensorboard", first_step) {
  if (state.is_null()) return;
  extra_ = state.at("extra").get<train::Metrics>();
  best_ = state.at("best").get<train::Metrics>();
}

void LoopMonitor::add_evaluation(int64_t step, double accuracy) {
  add("eval_accuracy", accuracy);
  if (best_.empty() || accuracy > best_["eval_accuracy"])
    best_ = {{"step", static_cast<double>(step)}, {"eval_accuracy", accuracy}};
}

nlohmann::json LoopMonitor::state() const { return {{"extra", extra_}, {"best", best_}}; }

void LoopMonitor::sync() const { base::sync_file(run_.folder / "metrics.jsonl"); }

void LoopMonitor::on_metrics(int64_t step, const train::Metrics& metrics) {
  train::Metrics row = metrics;
  row.insert(extra_.begin(), extra_.end());
  extra_.clear();
  nlohmann::json line;
  line["step"] = step;
  for (const auto& [key, value] : row) line[key] = value;
  writer_.line(line.dump());
  events_.scalars(step, row);
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
  if (!best_.empty()) summary["best"] = best_;
  progress_.finish(sums.count("loss") ? cat("loss ", base::format_fixed(sums["loss"] / counts["loss"], 4)) : "");
}

double quick_accuracy(LoadedModel& loaded, StageRun& run, const PeriodicEvaluation& evaluation) {
  std::vector<data::Record> records = records_of(run, evaluation.data);
  if (static_cast<int64_t>(records.size()) > evaluation.num_problems)
    records.resize(static_cast<size_t>(evaluation.num_problems));
  generate::SamplingConfig sampling;
  sampling.max_new_tokens = evaluation.max_new_tokens;
  loaded.model->set_execution(nn::Execution::kPacked);
  const eval::TaskResult result = eval::evaluate_tasks(*loaded.model, *loaded.tokenizer, *loaded.chat, loaded.stop_ids,
                                                       records, run.data(evaluation.data), sampling, 64,
                                                       stage_seed(run, "periodic_evaluation"), {}, *run.world);
  loaded.model->set_execution(nn::Execution::kTrain);
  return result.overall.value;
}

namespace {

/// The sequences of a batch that went wrong, with what can be said of each.
std::string save_bad_batch(const LoadedModel& loaded, const StageRun& run, int64_t step,
                           const std::vector<train::BatchItem>& items) {
  std::string lines;
  for (const train::BatchItem& item : items) {
    const nlohmann::json line = {{"step", step},
                                 {"record", item.record},
                                 {"value", item.value},
                                 {"text", loaded.tokenizer->decode(item.ids)},
                                 {"ids", item.ids}};
    lines += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  // A rank may be alone with its fault.
  const std::string rank = run.is_main() ? "" : cat("_rank_", run.world->rank());
  const std::filesystem::path file = run.shared_folder / cat("bad_batch_step_", step, rank, ".jsonl");
  base::write_file(file, lines);
  return file.string();
}

}  // namespace

train::Callbacks loop_callbacks(LoopMonitor& monitor, LoadedModel& loaded, StageRun& run,
                                const PeriodicEvaluation& evaluation) {
  train::Callbacks callbacks;
  callbacks.world = run.world;
  callbacks.on_metrics = [&](int64_t step, const train::Metrics& metrics) { monitor.on_metrics(step, metrics); };
  callbacks.on_evaluate = [&](int64_t step) {
    if (!evaluation.data.empty()) monitor.add_evaluation(step, quick_accuracy(loaded, run, evaluation));
  };
  callbacks.save_batch = [&](int64_t step, const std::vector<train::BatchItem>& items) {
    return save_bad_batch(loaded, run, step, items);
  };
  return callbacks;
}

std::vector<data::Record> records_of(const StageRun& run, const std::string& name) {
  if (run.data(name).shuffle_buffer > 0) {
    base::log_warning(cat("stage ", run.id, ": data.", name,
                          ".shuffle_buffer has no effect here: all records are read (only `train` stages stream)"));
  }
  return data::load_records(run.data(name), run.recipe.seed);
}

uint64_t stage_seed(const StageRun& run, const std::string& purpose) {
  return base::Rng(run.seed, cat(run.id, "/", purpose)).next();
}

}  // namespace rqat::pipeline
