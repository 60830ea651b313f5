#include "rqat/cli/command.h"
#include "rqat/pipeline/runner.h"
#include "structure_check.h"

namespace rqat::cli {

namespace {

struct TrainOptions : base::Config {
  std::string config;
  std::vector<std::string> overrides, only;
  bool force = false;
  void fields(base::FieldVisitor& v) override {
    v.field("config", config, "the recipe: a YAML file");
    v.required("config");
    v.field("overrides", overrides, "settings changed for this run, as key.sub_key=value; stages are addressed by id");
    v.field("only", only, "run just these stages; what they read must exist");
    v.field("force", force, "run every stage again, also those whose settings and inputs did not change");
  }
};

class Train : public Command {
 public:
  explicit Train(TrainOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Runs a recipe from start to end: post-training quantisation, distillation, reinforcement learning, "
        "evaluation, "
        "export. Each stage writes a folder below output_dir; stages that are finished and whose settings and inputs "
        "did not "
        "change are kept, so the same command continues an interrupted run. The recipe is checked whole before "
        "anything "
        "loads. At the end stands report.html.",
        {"rqat train --config recipes/quickstart.yaml",
         "rqat train --config recipes/quickstart.yaml stages.kd.max_steps=10 output_dir=runs/short",
         "rqat train --config recipes/quickstart.yaml --only gptq,kd --force"},
        {"overrides"}};
  }

  void run() override {
    const pipeline::Recipe recipe = pipeline::load_recipe(options_.config, options_.overrides);
    require_known(recipe);
    require_sound_structure(recipe);
    pipeline::run_recipe(recipe, {options_.force, options_.only});
  }

 private:
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
      "train", "runs a recipe: all its stages, or what is left of them", "",
      [](const TrainOptions& options) { return std::make_unique<Train>(options); });
}

}  // namespace rqat::cli
