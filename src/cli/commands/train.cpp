#include <iostream>

#include "ranks.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/cli/command.h"
#include "rqat/pipeline/dry_run.h"
#include "rqat/pipeline/estimate.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/runner.h"
#include "structure_check.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct TrainOptions : base::Config {
  std::string config;
  std::vector<std::string> overrides, only;
  bool force = false, resume = false, no_resume = false, dry_run = false;
  void fields(base::FieldVisitor& v) override {
    v.field("config", config, "the recipe: a YAML file");
    v.required("config");
    v.field("overrides", overrides,
            "settings changed for this run, as key.sub_key=value; +key.sub_key=value adds, ~key.sub_key removes; "
            "stages are addressed by id");
    v.field("only", only, "run just these stages; what they read must exist");
    v.field("force", force, "run every stage again, also those whose settings and inputs did not change");
    v.field("resume", resume,
            "insist on going on where the interrupted stage was saved: a change of its settings is then a fault");
    v.field("dry_run", dry_run,
            "run nothing: show the resolved recipe, the stages, and per stage memory, disk, tokens and time");
    v.field("no_resume", no_resume, "start the interrupted stage anew; finished stages are kept");
  }
};

class Train : public Command {
 public:
  explicit Train(TrainOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Runs a recipe from start to end: post-training quantization, distillation, reinforcement learning, "
        "evaluation, "
        "export. Each stage writes a folder below output_dir; stages that are finished and whose settings and inputs "
        "did not "
        "change are kept, and a stage that was interrupted goes on from its newest checkpoint, so the same command "
        "continues a run exactly. Ctrl-C finishes the step and saves. The recipe is checked whole before "
        "anything "
        "loads. At the end stands report.html.",
        {"rqat train --config recipes/quickstart.yaml",
         "rqat train --config recipes/quickstart.yaml stages.kd.max_steps=10 output_dir=runs/short",
         "rqat train --config recipes/quickstart.yaml --only gptq,kd --force",
         "rqat train --config recipes/quickstart.yaml --dry-run"},
        {"overrides"}};
  }

  void run() override {
    const pipeline::Recipe recipe = pipeline::load_recipe(options_.config, options_.overrides);
    require_known(recipe);
    require_sound_structure(recipe);
    for (const std::string& text : pipeline::settings_without_effect(recipe)) base::log_warning(text);
    if (options_.dry_run) {
      std::cout << pipeline::dry_run(recipe);
      return;
    }
    warn_of_memory(recipe);
    const std::string again = command_without({"--force", "--no-resume"});
    base::handle_stop_signals("rqat: stopped; what is finished or saved is kept, go on with:\n  " + again);
    run_as_rank(pipeline::pick_device(recipe.device), [&](dist::Communicator& world) {
      pipeline::run_recipe(recipe, {options_.force, options_.only, unfinished(), again, &world});
    });
  }

 private:
  /// On a CPU the system would end the run without a word.
  static void warn_of_memory(const pipeline::Recipe& recipe) {
    if (pipeline::pick_device(recipe.device).is_cuda()) return;
    for (const pipeline::StageEntry& entry : recipe.stages) {
      const std::string text = pipeline::memory_warning(recipe, entry, pipeline::available_memory());
      if (!text.empty()) base::log_warning(text);
    }
  }

  pipeline::Unfinished unfinished() const {
    if (options_.resume && (options_.no_resume || options_.force))
      throw base::UsageError("--resume excludes --no-resume and --force");
    return options_.resume      ? pipeline::Unfinished::kInsist
           : options_.no_resume ? pipeline::Unfinished::kRestart
                                : pipeline::Unfinished::kContinue;
  }

  void require_known(const pipeline::Recipe& recipe) const {
    std::vector<std::string> ids;
    for (const pipeline::StageEntry& entry : recipe.stages) ids.push_back(entry.id);
    for (const std::string& id : options_.only) {
      if (recipe.find_stage(id) != nullptr) continue;
      const std::string near = base::nearest(id, ids);
      throw base::UsageError(base::cat("--only: the recipe has no stage '", id, "'",
                                       near.empty() ? "" : base::cat("; did you mean '", near, "'?"),
                                       " (its stages: ", base::join(ids, ", "), ")"));
    }
  }

  TrainOptions options_;
};

}  // namespace

base::Entry<Command> train_entry() {
  return base::make_entry<base::Entry<Command>, TrainOptions>(
      "train", "run a recipe: all its stages, or what is left of them", "",
      [](const TrainOptions& options) { return std::make_unique<Train>(options); });
}

}  // namespace rqat::cli
