#include "rqat/pipeline/recipe.h"

#include <algorithm>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/stage.h"

namespace rqat::pipeline {

namespace {

using base::cat;
using base::Faults;
using base::Node;

/// A map of named settings: `data: {train: {...}, heldout: {...}}`.
template <class ConfigT>
void read_named(const Node& root, const char* kind, std::map<std::string, ConfigT>& into, Faults& faults) {
  const Node* node = root.find(kind);
  if (node == nullptr || node->is_null()) return;
  if (!node->is_map()) {
    faults.add(node->where(), cat(kind, ": a map of names is expected, found ", node->describe()));
    return;
  }
  for (const Node::Entry& entry : node->entries()) {
    ConfigT config;
    base::read_config(config, entry.value, cat(kind, ".", entry.key), faults);
    config.where = entry.where;
    into.emplace(entry.key, std::move(config));
  }
}

std::string scalar_field(const Node& item, const char* key) {
  const Node* node = item.find(key);
  return node != nullptr && node->is_scalar() ? node->value() : "";
}

/// Ids name folders below output_dir, parts of override paths and references.
bool is_good_id(const std::string& id) {
  return id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
}

/// Ids of the stages that read without a fault go into `sound`, those that could not be made into `unmade`.
void read_stage(const Node& item, size_t index, Recipe& recipe, std::set<std::string>& sound,
                std::set<std::string>& unmade, Faults& faults) {
  const size_t faults_before = faults.size();
  StageEntry entry;
  entry.where = item.where();
  entry.id = scalar_field(item, "id");
  entry.type = scalar_field(item, "type");
  if (!item.is_map() || entry.id.empty() || entry.type.empty()) {
    faults.add(item.where(), cat("stages[", index,
                                 "]: `id` and `type` are required (type: ", base::join(stages().names(), " | "), ")"));
    return;
  }
  if (!is_good_id(entry.id)) {
    faults.add(item.where(), cat("stages[", index, "].id: '", entry.id,
                                 "' may hold letters, digits, '_' and '-' only: it names a folder"));
  }
  if (recipe.find_stage(entry.id) != nullptr || recipe.models.count(entry.id) > 0) {
    faults.add(item.where(), cat("stages.", entry.id, ": the id is used twice"));
    return;
  }
  const base::EntryInfo* info = stages().find_info(entry.type);
  if (info == nullptr) {
    faults.add(item.where(), cat("stages.", entry.id, ".type: ", stages().unknown_text(entry.type)));
    unmade.insert(entry.id);
    return;
  }
  Node settings = item;
  settings.erase("id");
  settings.erase("type");
  entry.config = info->make_config();
  base::read_config(*entry.config, settings, cat("stages.", entry.id), faults);
  base::Component component(entry.type);
  component.config = entry.config;
  entry.stage = stages().make(component);
  if (faults.size() == faults_before) sound.insert(entry.id);
  recipe.stages.push_back(std::move(entry));
}

template <class Map>
std::vector<std::string> keys_of(const Map& map) {
  std::vector<std::string> keys;
  keys.reserve(map.size());
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

void unknown_reference(const base::Location& where, const std::string& path, const char* kind, const std::string& name,
                       const std::vector<std::string>& known, Faults& faults) {
  const std::string near = base::nearest(name, known);
  faults.add(where,
             cat(path, ": unknown ", kind, " '", name, "'", near.empty() ? "" : cat("; did you mean '", near, "'?"),
                 " (known: ", known.empty() ? "none" : base::join(known, ", "), ")"));
}

/// What stages write becomes a `data:` entry of its own.
void add_made_data(Recipe& recipe, Faults& faults) {
  for (const StageEntry& entry : recipe.stages) {
    if (entry.stage->makes() != "data") continue;
    data::DataConfig made = entry.stage->data_made(recipe, std::filesystem::path(recipe.output_dir) / entry.id);
    made.where = entry.where;
    if (!recipe.data.emplace(entry.id, std::move(made)).second) {
      faults.add(entry.where, cat("stages.", entry.id, ": data.", entry.id,
                                  " has the same name; what the stage writes is "
                                  "called by its id"));
    }
  }
}

/// Fills in the parts of mixtures, of one after those that it is made of.
class MixtureResolver {
 public:
  MixtureResolver(Recipe& recipe, const std::set<std::string>& unmade, Faults& faults)
      : recipe_(recipe), unmade_(unmade), faults_(faults) {}
  void run() {
    for (const auto& [name, config] : recipe_.data) resolve(name);
  }

 private:
  void resolve(const std::string& name) {
    if (!begun_.insert(name).second) return;
    data::DataConfig& config = recipe_.data.at(name);
    std::vector<data::DataConfig::Part> parts = data::mixture_parts(config);
    open_.insert(name);
    bool sound = true;
    for (data::DataConfig::Part& part : parts) sound = fill(part, name, config.where) && sound;
    open_.erase(name);
    if (sound) config.parts = std::move(parts);
  }

  bool fill(data::DataConfig::Part& part, const std::string& name, const base::Location& where) {
    const std::string path = cat("data.", name, ".mixture");
    if (open_.count(part.name) > 0) {
      faults_.add(where, cat(path, ": '", part.name, "' is made of itself"));
      return false;
    }
    if (recipe_.data.count(part.name) == 0) {
      if (unmade_.count(part.name) == 0)
        unknown_reference(where, path, "data", part.name, keys_of(recipe_.data), faults_);
      return false;
    }
    resolve(part.name);
    part.data = std::make_shared<const data::DataConfig>(recipe_.data.at(part.name));
    return true;
  }

  Recipe& recipe_;
  const std::set<std::string>& unmade_;
  Faults& faults_;
  std::set<std::string> begun_, open_;
};

/// References to a stage in `unmade` are let pass: its own fault is told already.
void check_references(const Recipe& recipe, const std::set<std::string>& unmade, Faults& faults) {
  std::vector<std::string> models = keys_of(recipe.models);
  for (const StageEntry& entry : recipe.stages) {
    if (entry.stage->makes() == "model") models.push_back(entry.id);
  }
  const std::set<std::string> known(models.begin(), models.end());
  for (const StageEntry& entry : recipe.stages) {
    const Uses uses = entry.stage->uses();
    const std::string path = "stages." + entry.id;
    for (const std::string& name : uses.models) {
      if (known.count(name) + unmade.count(name) == 0)
        unknown_reference(entry.where, path, "model", name, models, faults);
    }
    for (const std::string& name : uses.data) {
      if (recipe.data.count(name) + unmade.count(name) == 0)
        unknown_reference(entry.where, path, "data", name, keys_of(recipe.data), faults);
    }
    for (const std::string& name : uses.quant) {
      if (recipe.quant.count(name) == 0)
        unknown_reference(entry.where, path, "quant", name, keys_of(recipe.quant), faults);
    }
  }
}

void check_ids(const Recipe& recipe, Faults& faults) {
  for (const auto& [id, source] : recipe.models) {
    if (!is_good_id(id)) {
      faults.add(source.where,
                 cat("models.", id, ": an id may hold letters, digits, '_' and '-' only: it names a folder"));
    }
  }
}

/// No stage and no import writes the folder that a model is read from, nor one above it: it would be emptied first.
void check_folders(const Recipe& recipe, Faults& faults) {
  namespace fs = std::filesystem;
  std::vector<std::string> ids;
  for (const auto& [id, source] : recipe.models) {
    if (source.is_copied()) ids.push_back(id);
  }
  for (const StageEntry& entry : recipe.stages) ids.push_back(entry.id);
  for (const auto& [name, source] : recipe.models) {
    for (const std::string& id : ids) {
      const fs::path folder = fs::path(recipe.output_dir) / id;
      if (!base::lies_in(source.path, folder)) continue;
      faults.add(source.where, cat("models.", name, ".path: '", source.path, "' would be overwritten: '", id,
                                   "' writes '", folder.string(), "'; choose another output_dir or id"));
    }
  }
}

/// Puts every stage behind those it reads, otherwise keeping the written order. Leaves the rest (a cycle) as a fault.
void sort_stages(Recipe& recipe, Faults& faults) {
  std::vector<StageEntry> sorted;
  std::set<std::string> placed;
  std::vector<StageEntry> waiting = recipe.stages;
  while (!waiting.empty()) {
    bool moved = false;
    for (size_t i = 0; i < waiting.size(); ++i) {
      bool ready = true;
      for (const std::string& name : recipe.inputs_of(waiting[i])) {
        ready = ready && (recipe.models.count(name) > 0 || placed.count(name) > 0);
      }
      if (!ready) continue;
      placed.insert(waiting[i].id);
      sorted.push_back(waiting[i]);
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
      moved = true;
      break;
    }
    if (!moved) {
      std::vector<std::string> ids;
      ids.reserve(waiting.size());
      for (const StageEntry& entry : waiting) ids.push_back(entry.id);
      faults.add(waiting.front().where, cat("stages read each other in a circle: ", base::join(ids, ", ")));
      return;
    }
  }
  recipe.stages = std::move(sorted);
}

void read_header(const Node& root, Recipe& recipe, Faults& faults) {
  static const std::vector<std::string> keys{"name",   "seed",  "output_dir", "device", "include",
                                             "models", "quant", "data",       "stages"};
  Node header = root;
  bool listed = false;
  for (const Node::Entry& entry : root.entries()) {
    if (std::find(keys.begin(), keys.begin() + 4, entry.key) != keys.begin() + 4) continue;
    header.erase(entry.key);
    if (std::find(keys.begin(), keys.end(), entry.key) != keys.end()) continue;
    const std::string near = base::nearest(entry.key, keys);
    const std::string allowed = listed ? "" : cat(" (allowed: ", base::join(keys, ", "), ")");
    listed = true;
    faults.add(entry.where,
               cat(entry.key, ": unknown key", near.empty() ? "" : cat("; did you mean '", near, "'?"), allowed));
  }
  base::read_config(recipe, header, "", faults);
}

}  // namespace

void ModelSource::fields(base::FieldVisitor& v) {
  v.field("path", path, "folder in HF layout, stage folder of a run, or GGUF file");
  v.required("path");
  v.choice("dtype", dtype, {"auto", "bfloat16", "float32"},
           "compute dtype of the stages that start here; auto = the folder's");
}

bool ModelSource::is_copied() const { return dtype != "auto" || (std::filesystem::exists(path) && needs_import(path)); }

void Recipe::fields(base::FieldVisitor& v) {
  v.field("name", name, "name of the run; default: the file's");
  v.field("seed", seed, "every random stream derives from it", base::non_negative());
  v.field("output_dir", output_dir, "folder of the run");
  v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute; auto = cuda when there is one");
}

const StageEntry* Recipe::find_stage(const std::string& id) const {
  for (const StageEntry& entry : stages) {
    if (entry.id == id) return &entry;
  }
  return nullptr;
}

const StageEntry* Recipe::maker_of_data(const std::string& name) const {
  const StageEntry* entry = find_stage(name);
  return entry != nullptr && entry->stage->makes() == "data" ? entry : nullptr;
}

std::vector<std::string> Recipe::parts_of_data(const std::string& name) const {
  const data::DataConfig& config = data.at(name);
  if (config.parts.empty()) return {name};
  std::vector<std::string> all;
  for (const data::DataConfig::Part& part : config.parts) {
    const std::vector<std::string> of_part = parts_of_data(part.name);
    all.insert(all.end(), of_part.begin(), of_part.end());
  }
  return all;
}

std::vector<std::string> Recipe::inputs_of(const StageEntry& entry) const {
  const Uses uses = entry.stage->uses();
  std::vector<std::string> inputs = uses.models;
  for (const std::string& name : uses.data) {
    for (const std::string& part : parts_of_data(name)) {
      const bool known = std::find(inputs.begin(), inputs.end(), part) != inputs.end();
      if (maker_of_data(part) != nullptr && !known) inputs.push_back(part);
    }
  }
  return inputs;
}

Recipe load_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  return read_recipe(resolve_recipe_tree(file, overrides), file.string());
}

Recipe read_recipe(const Node& tree, const std::string& title) {
  Recipe recipe;
  recipe.resolved = tree;
  Faults faults;
  std::set<std::string> sound, unmade;
  read_header(recipe.resolved, recipe, faults);
  read_named(recipe.resolved, "models", recipe.models, faults);
  read_named(recipe.resolved, "quant", recipe.quant, faults);
  read_named(recipe.resolved, "data", recipe.data, faults);
  const Node* stage_list = recipe.resolved.find("stages");
  if (stage_list == nullptr || !stage_list->is_list() || stage_list->items().empty()) {
    faults.add(recipe.resolved.where(), "stages: a list of at least one stage is required");
  } else {
    for (size_t i = 0; i < stage_list->items().size(); ++i)
      read_stage(stage_list->items()[i], i, recipe, sound, unmade, faults);
  }
  add_made_data(recipe, faults);
  MixtureResolver(recipe, unmade, faults).run();
  check_references(recipe, unmade, faults);
  check_ids(recipe, faults);
  check_folders(recipe, faults);
  for (const StageEntry& entry : recipe.stages) {
    if (sound.count(entry.id) == 0) continue;
    for (const std::string& text : entry.stage->check(recipe))
      faults.add(entry.where, cat("stages.", entry.id, ": ", text));
  }
  if (faults.empty()) sort_stages(recipe, faults);
  faults.raise(cat(title, " cannot be run"));
  return recipe;
}

}  // namespace rqat::pipeline
