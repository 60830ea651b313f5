#include "loop_stage.h"

#include "code_changes.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/quant/estimator.h"
#include "stage_checkpoints.h"

namespace rqat::pipeline {

namespace {

using base::cat;
using nlohmann::json;

/// A loop between two steps as it lies in a checkpoint, with what the monitor knows.
struct Resumed {
  train::LoopState loop;
  json monitor;
};

std::optional<Resumed> newest(const StageCheckpoints& checkpoints, const StageRun& run, int64_t max_steps) {
  std::optional<io::Checkpoint> checkpoint = checkpoints.newest();
  if (!checkpoint) return std::nullopt;
  const json state = io::parse_json(checkpoint->state, "checkpoint");
  Resumed resumed{{state.at("step"), state.at("cursor"), std::move(checkpoint->tensors), state.at("recent_losses")},
                  state.at("monitor")};
  base::log_info(cat("stage ", run.id, ": going on after step ", resumed.loop.step, " of ", max_steps));
  return resumed;
}

}  // namespace

void LoopInputs::model_fields(base::FieldVisitor& v, const char* model_help, const char* data_help,
                              const char* companion_name, const char* companion_help) {
  v.field("model", model, model_help);
  v.required("model");
  v.field("data", data, data_help);
  v.required("data");
  v.field(companion_name, companion, companion_help);
}

void LoopInputs::run_fields(base::FieldVisitor& v) {
  v.component("estimator", estimator, quant::estimators(), "gradient estimator of quantized layers");
  v.group("evaluation", evaluation, "small evaluation every eval_steps steps");
}

Uses LoopStage::uses() const {
  Uses uses{{inputs().model}, {inputs().data}, {}};
  if (!inputs().companion.empty()) uses.models.push_back(inputs().companion);
  const std::string& evaluated = inputs().evaluation.data;
  if (!evaluated.empty()) uses.data.push_back(evaluated);
  if (evaluated != inputs().data) uses.data_on_the_way = evaluated;
  return uses;
}

std::vector<std::string> LoopStage::settings_on_the_way() const {
  return {"save_steps", "save_total_limit", "keep_checkpoints", "zero", "eval_steps", "evaluation"};
}

std::vector<std::string> LoopStage::evaluation_faults() const {
  if (loop().eval_steps > 0 && inputs().evaluation.data.empty()) return {"eval_steps needs `evaluation: {data: ...}`"};
  return {};
}

void LoopStage::run_loop(StageRun& run, const Train& train) const {
  const int64_t max_steps = loop().max_steps, save_steps = loop().save_steps;
  LoadOptions options;
  options.device = run.device;
  options.estimator = inputs().estimator;
  LoadedModel trained = load_model_folder(run.model_folder(inputs().model), options);
  LoadedModel companion;
  if (!inputs().companion.empty()) {
    options.with_tokenizer = false;
    companion = load_model_folder(run.model_folder(inputs().companion), options);
  }
  StageCheckpoints checkpoints(run, "step", loop().save_total_limit);
  const std::optional<Resumed> resumed = newest(checkpoints, run, max_steps);
  LoopMonitor monitor(run, max_steps, resumed ? resumed->loop.step : 0, resumed ? resumed->monitor : json());
  train::Callbacks callbacks = loop_callbacks(monitor, trained, run, inputs().evaluation);
  if (resumed) callbacks.start = &resumed->loop;
  callbacks.on_step_end = [&](int64_t done, const std::function<train::LoopState()>& state) {
    checkpoints.check();
    const bool stop = base::requested_stop() != 0;
    if (done == max_steps || (!stop && (save_steps == 0 || done % save_steps != 0))) return;
    const train::LoopState now = state();
    monitor.sync();
    checkpoints.save(done,
                     {{"step", now.step},
                      {"cursor", now.cursor},
                      {"recent_losses", now.recent_losses},
                      {"monitor", monitor.state()}},
                     now.tensors);
    if (stop) checkpoints.stop(cat("step ", done, " of ", max_steps));
  };
  const base::StopSection stops_are_orderly;
  train(trained, companion.model.get(), callbacks);
  checkpoints.wait();
  monitor.finish();
  if (const std::optional<double> share = changed_codes(*trained.model, trained.folder)) {
    (*run.summary)["codes_changed"] = *share;
    base::log_info(cat("stage ", run.id, ": ", base::format_fixed(100 * *share, 2),
                       " % of the codes differ from those of '", inputs().model, "'"));
  }
  if (run.is_main()) save_model_folder(*trained.model, trained.folder, run.folder);
}

}  // namespace rqat::pipeline
