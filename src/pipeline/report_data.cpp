#include "report_data.h"

#include <algorithm>
#include <cmath>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/node.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"

namespace rqat::pipeline::report {

namespace {

namespace fs = std::filesystem;
using base::cat;

class Reader {
 public:
  explicit Reader(fs::path folder) : folder_(std::move(folder)) {}

  RunView read() {
    if (!fs::exists(folder_ / "run.json")) {
      throw base::IoError(cat(folder_.string(),
                              ": holds no run.json, so it is not the output folder of a run; give the folder "
                              "that the recipe calls output_dir"));
    }
    view_.run = io::read_json(folder_ / "run.json");
    view_.name = text(view_.run, "name", fs::absolute(folder_).lexically_normal().filename().string());
    read_recipe();
    for (const std::string& id : texts(view_.run, "stages")) view_.stages.push_back(read_stage(id));
    return std::move(view_);
  }

 private:
  void read_recipe() {
    if (!fs::exists(folder_ / "recipe.yaml")) return;
    try {
      view_.recipe = base::read_file(folder_ / "recipe.yaml");
      const base::Node recipe = base::Node::parse(view_.recipe, "recipe.yaml");
      if (const base::Node* stages = recipe.is_map() ? recipe.find("stages") : nullptr; stages != nullptr) {
        for (const base::Node& stage : stages->items()) {
          if (const base::Node* id = stage.is_map() ? stage.find("id") : nullptr; id != nullptr)
            planned_.emplace(id->value(), stage);
        }
      }
    } catch (const base::Error& error) {
      view_.faults.emplace_back(error.what());
    }
  }

  /// The texts of a setting in the recipe: a scalar, or the scalars of a list.
  std::vector<std::string> planned(const std::string& id, const std::string& key) const {
    const auto stage = planned_.find(id);
    const base::Node* setting = stage == planned_.end() ? nullptr : stage->second.find(key);
    if (setting == nullptr || setting->is_null()) return {};
    if (setting->is_scalar()) return {setting->value()};
    std::vector<std::string> found;
    for (const base::Node& item : setting->items()) found.push_back(item.value());
    return found;
  }

  std::string planned_text(const std::string& id, const std::string& key) const {
    const std::vector<std::string> found = planned(id, key);
    return found.size() == 1 ? found[0] : "";
  }

  json read_optional(const fs::path& path) {
    if (!fs::exists(path)) return {};
    try {
      return io::read_json(path);
    } catch (const base::Error& error) {
      view_.faults.emplace_back(error.what());
      return {};
    }
  }

  StageView read_stage(const std::string& id) {
    StageView stage;
    const fs::path folder = folder_ / id;
    stage.id = id;
    stage.stamp = read_optional(folder / "stage.json");
    stage.type = text(stage.stamp, "type", planned_text(id, "type"));
    stage.metrics = read_metrics(folder / "metrics.jsonl");
    stage.quant_report = read_optional(folder / "quant_report.json");
    stage.export_report = read_optional(folder / "export_report.json");
    read_results(folder, stage);
    stage.state = state_of(stage);
    return stage;
  }

  std::string state_of(const StageView& stage) const {
    if (flag(stage.stamp, "finished")) return "done";
    const bool begun = !stage.metrics.empty() || !stage.results.is_null();
    const bool run_finished = flag(view_.run, "finished");
    if (begun) return run_finished ? "unfinished" : "under way";
    if (!planned_.empty() && planned_.count(stage.id) == 0) return "source";
    return run_finished ? "not run" : "waiting";
  }

  /// Half a line at the end belongs to a run that is writing it, or was killed.
  std::map<std::string, Series> read_metrics(const fs::path& path) {
    std::map<std::string, Series> series;
    if (!fs::exists(path)) return series;
    const std::vector<std::string> lines = base::split(base::read_file(path), '\n');
    for (size_t i = 0; i < lines.size(); ++i) {
      if (base::trim(lines[i]).empty()) continue;
      const json row = json::parse(lines[i], nullptr, false);
      if (!row.is_object()) {
        if (i + 1 < lines.size()) view_.faults.push_back(cat(path.string(), ":", i + 1, ": is no JSON object"));
        continue;
      }
      const double step = number(row, "step").value_or(static_cast<double>(i));
      for (const auto& [key, _] : row.items()) {
        const auto value = number(row, key);
        if (key != "step" && value) series[key].emplace_back(step, *value);
      }
    }
    return series;
  }

  void read_results(const fs::path& folder, StageView& stage) {
    stage.results = read_optional(folder / "results.json");
    if (flag(stage.stamp, "finished") || !fs::is_directory(folder)) return;
    json rows = json::array();
    for (const std::string& model : texts(view_.run, "stages")) {
      const json row = read_optional(folder / cat("model_", model, ".json"));
      if (row.is_object()) rows.push_back(row);
    }
    if (rows.empty()) return;
    stage.results = {
        {"models", rows}, {"teacher", planned_text(stage.id, "teacher")}, {"task_sets", planned(stage.id, "tasks")}};
    stage.results_partial = true;
  }

  fs::path folder_;
  RunView view_;
  std::map<std::string, base::Node> planned_;  ///< the recipe's stages by id
};

}  // namespace

RunView read_run(const fs::path& folder) { return Reader(folder).read(); }

}  // namespace rqat::pipeline::report
