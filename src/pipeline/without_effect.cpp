// Settings that change nothing. They are no faults: the run is what it says, only not what its writer may think.
#include <algorithm>
#include <optional>
#include <set>

#include "rqat/base/strings.h"
#include "rqat/objective/objective.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/stage.h"
#include "rqat/quant/estimator.h"
#include "settings_view.h"

namespace rqat::pipeline {

namespace {

using base::cat;
using base::Node;

class Finder {
 public:
  explicit Finder(const Recipe& recipe) : recipe_(recipe) {}

  std::vector<std::string> run() {
    for (const StageEntry& entry : recipe_.stages) look_at(entry);
    unused("models", [](const Uses& uses) { return uses.models; });
    unused("data", [&](const Uses& uses) {
      std::vector<std::string> names = uses.data;
      for (const std::string& name : uses.data) add_parts(recipe_.data.at(name), names);
      return names;
    });
    unused("quant", [](const Uses& uses) { return uses.quant; });
    if (const Node* data = recipe_.resolved.find("data")) {
      for (const Node::Entry& entry : data->entries()) look_at_data(entry);
    }
    return notes_;
  }

 private:
  struct View {
    const StageEntry& entry;
    const Node& written;  ///< as in the recipe
    Node all;             ///< with defaults
  };

  void note(const Node& where, const std::string& what, const std::string& why) {
    const std::string place = where.where().text();
    notes_.push_back(cat(place, place.empty() ? "" : ": ", what, " has no effect: ", why));
  }
  /// When the stage's recipe text has `path`.
  void note_if_written(const View& view, const std::string& path, const std::string& why) {
    const Node* node = at_path(view.written, path);
    if (node != nullptr) note(*node, cat("stages.", view.entry.id, ".", path), why);
  }

  void look_at(const StageEntry& entry) {
    const Node* list = recipe_.resolved.find("stages");
    for (const Node& item : list->items()) {
      if (text_at(item, "id") != entry.id) continue;
      const View view{entry, item, base::write_config(*entry.config)};
      if (entry.type == "train" || entry.type == "reinforce") look_at_loop(view);
      if (entry.type == "reinforce") look_at_reinforce(view);
      if (entry.type == "evaluate") look_at_evaluate(view);
      if (entry.type == "export" && text_at(view.all, "probe").empty()) {
        note_if_written(view, "probe_examples", "`probe` names no data");
      }
    }
  }

  /// Whether the model called `id` has quantized linears; nullopt when only its folder could tell.
  std::optional<bool> is_quantized(const std::string& id) const {
    const auto source = recipe_.models.find(id);
    if (source != recipe_.models.end()) {
      const std::filesystem::path path = source->second.path;
      if (!std::filesystem::exists(path)) return std::nullopt;
      return std::filesystem::exists(path / "rqat_quant.json");
    }
    const StageEntry* stage = recipe_.find_stage(id);
    if (stage == nullptr || stage->stage->uses().models.empty()) return std::nullopt;
    if (!stage->stage->uses().quant.empty()) return true;
    return is_quantized(stage->stage->uses().models.front());
  }

  void look_at_loop(const View& view) {
    const base::Component estimator = component_of(view.all, "estimator", quant::estimators());
    const bool quantized = is_quantized(view.entry.stage->uses().models.front()).value_or(true);
    const std::string scale_rate = "optimizer.adamw.scale_learning_rate";
    if (!quantized) {
      note_if_written(view, "estimator", "the model is not quantized");
      note_if_written(view, scale_rate, "the model is not quantized, so it has no scales");
    } else if (estimator && !quant::estimators().make(estimator)->trains_scale()) {
      note_if_written(view, scale_rate, cat("estimator ", estimator.name, " trains no scales (lsq does)"));
    } else if (lists(view.all, "freeze", "scale")) {
      note_if_written(view, scale_rate, "`freeze` holds scale");
    }
    if (lists(view.all, "freeze", "weight"))
      note_if_written(view, "optimizer.adamw.weight_decay", "`freeze` holds weight");
    look_at_schedule(view);
    const double every = number_at(view.all, "eval_steps", 0), steps = number_at(view.all, "max_steps", 0);
    if (every == 0) note_if_written(view, "evaluation", "eval_steps is 0");
    if (every >= steps) note_if_written(view, "eval_steps", cat("it is not below max_steps (", steps, ")"));
    look_at_zero_point(view, estimator);
  }

  void look_at_schedule(const View& view) {
    if (number_at(view.all, "lr_scheduler.warmup_steps", 0) > 0) {
      note_if_written(view, "lr_scheduler.warmup_ratio", "warmup_steps is set");
    }
    if (text_at(view.all, "lr_scheduler.kind") == "constant") {
      note_if_written(view, "lr_scheduler.min_ratio", "the schedule is constant");
    }
  }

  /// LSQ's zero point is learned for asymmetric formats only.
  void look_at_zero_point(const View& view, const base::Component& estimator) {
    if (!estimator || !quant::estimators().make(estimator)->trains_zero_point()) return;
    std::string id = view.entry.stage->uses().models.front();
    for (const StageEntry* stage = recipe_.find_stage(id); stage != nullptr; stage = recipe_.find_stage(id)) {
      const Uses uses = stage->stage->uses();
      if (!uses.quant.empty()) {
        if (recipe_.quant.at(uses.quant.front()).symmetric) {
          note_if_written(view, cat("estimator.", estimator.name, ".learn_zero_point"),
                          cat("quant.", uses.quant.front(), " is symmetric"));
        }
        return;
      }
      id = uses.models.front();
    }
  }

  void look_at_reinforce(const View& view) {
    const base::Component objective = component_of(view.all, "objective", objective::objectives());
    if (objective && !objective::objectives().make(objective)->needs_reference()) {
      note_if_written(view, "reference", cat("objective ", objective.name, " has no KL term (beta is 0)"));
    }
    if (number_at(view.all, "num_iterations", 1) * number_at(view.all, "mini_batches", 1) == 1) {
      for (const char* key : {"objective.grpo.epsilon", "objective.grpo.epsilon_high"}) {
        note_if_written(view, key,
                        "with one update per batch of answers the probability ratio is 1; raise num_iterations or "
                        "mini_batches");
      }
    }
  }

  void look_at_evaluate(const View& view) {
    if (number_at(view.all, "sampling.temperature", 0) == 0) {
      for (const char* key : {"sampling.top_p", "sampling.top_k"})
        note_if_written(view, key, "temperature is 0, which takes the most probable token");
    }
    if (number_at(view.all, "likelihood_examples", 1) == 0) {
      note_if_written(view, "teacher", "likelihood_examples is 0, so no KL is measured");
    }
  }

  void look_at_data(const Node::Entry& entry) {
    if (text_at(entry.value, "file").empty()) return;
    for (const char* key : {"split", "seed"}) {
      if (const Node* node = entry.value.find(key))
        note(*node, cat("data.", entry.key, ".", key), "records come from a file");
    }
  }

  static void add_parts(const data::DataConfig& config, std::vector<std::string>& names) {
    for (const data::DataConfig::Part& part : config.parts) {
      names.push_back(part.name);
      add_parts(*part.data, names);
    }
  }

  template <class Names>
  void unused(const char* kind, Names names_of) {
    const Node* map = recipe_.resolved.find(kind);
    if (map == nullptr || !map->is_map()) return;
    std::set<std::string> used;
    for (const StageEntry& entry : recipe_.stages) {
      const std::vector<std::string> names = names_of(entry.stage->uses());
      used.insert(names.begin(), names.end());
    }
    for (const Node::Entry& entry : map->entries()) {
      if (used.count(entry.key) == 0) {
        const std::string place = entry.where.text();
        notes_.push_back(cat(place, place.empty() ? "" : ": ", kind, ".", entry.key, " is used by no stage"));
      }
    }
  }

  const Recipe& recipe_;
  std::vector<std::string> notes_;
};

}  // namespace

std::vector<std::string> settings_without_effect(const Recipe& recipe) { return Finder(recipe).run(); }

}  // namespace rqat::pipeline
