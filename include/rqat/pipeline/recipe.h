// A recipe: named nouns (models, quantisation formats, data) and the stages that use them. Read whole, checked whole,
// before anything loads.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/data/dataset.h"
#include "rqat/quant/policy.h"

namespace rqat::pipeline {

class Stage;

/// `models: {base: {path: ..., dtype: ...}}`: a folder in HF layout, a stage folder of another run, or a GGUF file.
struct ModelSource : base::Config {
  std::string path;
  std::string dtype =
      "auto";  ///< compute dtype of every stage that starts here: auto (the folder's own) | bfloat16 | float32
  void fields(base::FieldVisitor& v) override;
  /// Whether a run works on a folder of its own, output_dir/<id>: imported, or in another dtype.
  bool is_copied() const;
};

struct StageEntry {
  std::string id, type;
  base::Location where;
  std::shared_ptr<base::Config> config;
  std::shared_ptr<Stage> stage;
};

struct Recipe : base::Config {
  std::string name;
  int64_t seed = 42;
  std::string output_dir = "runs/${name}";
  std::string device = "auto";  ///< auto | cpu | cuda
  std::map<std::string, ModelSource> models;
  std::map<std::string, quant::QuantPolicy> quant;
  std::map<std::string, data::DataConfig> data;  ///< also what stages write, under their ids
  std::vector<StageEntry> stages;                ///< in an order in which every stage comes after those it reads
  base::Node resolved;  ///< the recipe with includes, overrides and references worked in: itself runnable
  void fields(base::FieldVisitor& v) override;

  const StageEntry* find_stage(const std::string& id) const;
  /// The stage that writes the data called `name`, nullptr where the recipe's `data:` has it.
  const StageEntry* maker_of_data(const std::string& name) const;
  /// The `data:` entries and stages behind the data called `name`: itself, or the parts of a mixture.
  std::vector<std::string> parts_of_data(const std::string& name) const;
  /// Ids of the models that a stage reads, and of the stages that write its data.
  std::vector<std::string> inputs_of(const StageEntry& entry) const;
};

/// Reads a recipe: includes (searched beside the recipe and in the folders above it, also under configs/ there),
/// `overrides` ("stages.kd.max_steps=10"), `${a.b}` references; then checks keys, types, ranges, references between
/// nouns and stages, and each stage's own rules. Throws ConfigError with every fault found, each with file:line.
Recipe load_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

/// The same for a tree that is resolved already; `title` names it in messages.
Recipe read_recipe(const base::Node& tree, const std::string& title);

/// Settings that a person wrote and that change nothing, given the others ("top_p with greedy decoding"), each with
/// file:line and the reason.
std::vector<std::string> settings_without_effect(const Recipe& recipe);

/// The tree of a recipe after includes, overrides and references, not yet checked.
base::Node resolve_recipe_tree(const std::filesystem::path& file, const std::vector<std::string>& overrides);

/// Applies an override to a tree; list items are addressed by their `id`:
///   a.b=c    sets, whether it was there or not;
///   +a.b=c   adds a key that must not be there yet, or one more item to a list (+stages={id: more, ...});
///   ~a.b     removes a key, a list's item with that id, or a list's item that is that text.
/// Throws ConfigError on a malformed override, a path through something that is neither map nor list of items with ids,
/// something to add that is there, or to remove that is not.
void apply_override(base::Node& root, const std::string& text);

}  // namespace rqat::pipeline
