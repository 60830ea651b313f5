#include <iostream>

#include "explain_key.h"
#include "rqat/base/log.h"
#include "rqat/cli/command.h"
#include "rqat/pipeline/stage.h"
#include "structure_check.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct ValidateOptions : base::Config {
  std::string config, explain;
  std::vector<std::string> overrides;
  bool resolved = false;
  void fields(base::FieldVisitor& v) override {
    v.field("config", config, "the recipe, a YAML file; may be left out with --explain");
    v.field("overrides", overrides,
            "settings changed, as key.sub_key=value; +key.sub_key=value adds, ~key.sub_key removes; stages are "
            "addressed by id");
    v.field("explain", explain, "tell what a key means: type, default, range, and its value in the recipe");
    v.field("resolved", resolved, "print the recipe with includes, overrides and references worked in");
  }
  std::vector<std::string> check() const override {
    if (config.empty() && explain.empty()) return {"missing --config (the recipe), or --explain KEY"};
    if (config.empty() && resolved) return {"--resolved needs --config FILE"};
    return {};
  }
};

class Validate : public Command {
 public:
  explicit Validate(ValidateOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Checks a recipe without running it: every key, type, range and reference, each stage's own rules, and the "
        "quantization formats and exports against the structure of the models, where these are there. All faults are "
        "shown at once, with file and line. Warns of settings that change nothing. Then the stages are listed in the "
        "order in which they run.",
        {"rqat validate --config recipes/quickstart.yaml",
         "rqat validate --config recipes/quickstart.yaml --explain stages.kd.optimizer.adamw.learning_rate",
         "rqat validate --explain group_size"},
        {"overrides"}};
  }

  void run() override {
    if (options_.config.empty()) {
      std::cout << explain_key(options_.explain, nullptr);
      return;
    }
    const pipeline::Recipe recipe = pipeline::load_recipe(options_.config, options_.overrides);
    if (!options_.explain.empty()) {
      std::cout << explain_key(options_.explain, &recipe);
      return;
    }
    const StructureReport structure = check_structure(recipe);
    if (!structure.faults.empty()) {
      throw base::ConfigError(
          base::cat(options_.config, " does not fit its models:\n  ", base::join(structure.faults, "\n  ")));
    }
    if (options_.resolved) {
      std::cout << recipe.resolved.dump();
      return;
    }
    print(recipe, structure);
    for (const std::string& text : structure.missing) base::log_warning(text);
    for (const std::string& text : pipeline::settings_without_effect(recipe)) base::log_warning(text);
  }

 private:
  void print(const pipeline::Recipe& recipe, const StructureReport& structure) const {
    std::cout << "OK: " << options_.config << ", " << recipe.stages.size() << " stages -> " << recipe.output_dir
              << "\n\n";
    std::vector<std::vector<std::string>> rows{{"stage", "type", "reads", "makes"}};
    for (const pipeline::StageEntry& entry : recipe.stages) {
      const pipeline::Uses uses = entry.stage->uses();
      std::vector<std::string> reads = uses.models;
      reads.insert(reads.end(), uses.data.begin(), uses.data.end());
      reads.insert(reads.end(), uses.quant.begin(), uses.quant.end());
      rows.push_back({entry.id, entry.type, base::join(reads, ", "), entry.stage->makes()});
    }
    std::cout << table_text(rows);
    if (!structure.notes.empty()) std::cout << "\n" << base::join(structure.notes, "\n") << "\n";
  }

  ValidateOptions options_;
};

}  // namespace

base::Entry<Command> validate_entry() {
  return base::make_entry<base::Entry<Command>, ValidateOptions>(
      "validate", "check a recipe without running it, or explain its keys", "",
      [](const ValidateOptions& options) { return std::make_unique<Validate>(options); });
}

}  // namespace rqat::cli
