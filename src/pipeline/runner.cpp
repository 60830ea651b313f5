#include "rqat/pipeline/runner.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf_import.h"
#include "rqat/io/json_file.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/report.h"
#include "rqat/pipeline/stage.h"
#include "rqat/pipeline/version.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Runner {
 public:
  Runner(const Recipe& recipe, const RunOptions& options)
      : recipe_(recipe), options_(options), root_(recipe.output_dir), device_(pick_device(recipe.device)) {}

  void run() {
    fs::create_directories(root_);
    base::add_log_file(root_ / "log.txt");
    base::write_file(root_ / "recipe.yaml", "# Resolved recipe: rqat train --config recipe.yaml repeats this run.\n" +
                                                recipe_.resolved.dump());
    base::log_info(cat("run '", recipe_.name, "' -> ", root_.string(), " (", recipe_.stages.size(), " stages, ",
                       device_.str(), ")"));
    started_ = now_seconds();
    write_run_file(false);
    for (const auto& [id, source] : recipe_.models) prepare_source(id, source);
    if (options_.force) forget_tables();
    announce_ready("");
    for (const StageEntry& entry : recipe_.stages) {
      if (!selected(entry.id)) continue;
      run_stage(entry);
      write_run_file(false);
      write_report(root_);
      if (entry.stage->makes() == "model") announce_ready(entry.id);
    }
    write_run_file(true);
    write_report(root_);
    base::log_info(cat("done in ", base::format_duration(now_seconds() - started_),
                       "; report: ", (root_ / "report.html").string()));
  }

 private:
  bool selected(const std::string& id) const {
    return options_.only.empty() || std::find(options_.only.begin(), options_.only.end(), id) != options_.only.end();
  }

  /// Every stage computes in the type that its model's folder states, so another type needs another folder.
  static void convert_folder(const fs::path& source, const fs::path& folder, const std::string& dtype) {
    LoadOptions options;
    options.dtype = dtype;
    options.with_tokenizer = false;
    const LoadedModel loaded = load_model_folder(source, options);
    save_model_folder(*loaded.model, source, folder);
  }

  /// A GGUF source, or a folder with a `dtype` of its own, becomes an HF folder inside the run; other folders are used
  /// where they are.
  void prepare_source(const std::string& id, const ModelSource& source) {
    const fs::path path = source.path;
    if (!fs::exists(path)) {
      throw base::ConfigError(cat(source.where.text(), ": models.", id, ".path: '", path.string(), "' does not exist"));
    }
    const bool is_gguf = path.extension() == ".gguf";
    if (!is_gguf && source.dtype == "auto") {
      sources_[id] = path;
      fingerprints_[id] = base::content_hash(path);
      return;
    }
    const std::string dtype = source.dtype == "auto" ? "bfloat16" : source.dtype;
    const std::string hash = base::hex64(base::stable_hash(cat(base::content_hash(path), "/", dtype)));
    const fs::path folder = root_ / id;
    const fs::path stamp = folder / "stage.json";
    if (!fs::exists(stamp) || io::read_json(stamp).value("fingerprint", "") != hash) {
      const double start = now_seconds();
      fs::remove_all(folder);
      if (is_gguf) {
        base::log_info(cat(id, ": importing ", path.string()));
        io::import_gguf(path, folder, dtype);
      } else {
        base::log_info(cat(id, ": ", path.string(), " as ", dtype));
        convert_folder(path, folder, dtype);
      }
      io::write_json(stamp, {{"id", id},
                             {"type", "import"},
                             {"makes", "model"},
                             {"finished", true},
                             {"fingerprint", hash},
                             {"settings", cat("path: ", path.string())},
                             {"seconds", now_seconds() - start},
                             {"inputs", json::object()},
                             {"summary", json::object()}});
    }
    sources_[id] = folder;
    fingerprints_[id] = hash;
  }

  std::string settings_text(const StageEntry& entry) const {
    std::string text = cat("type: ", entry.type, "\n", base::write_config(*entry.config).dump());
    const Uses uses = entry.stage->uses();
    for (const std::string& name : uses.data) {
      data::DataConfig config = recipe_.data.at(name);
      text += cat("# data.", name, "\n", base::write_config(config).dump());
    }
    for (const std::string& name : uses.quant) {
      quant::QuantPolicy policy = recipe_.quant.at(name);
      text += cat("# quant.", name, "\n", base::write_config(policy).dump());
    }
    return text;
  }

  std::string settings_hash(const StageEntry& entry) const {
    return base::hex64(
        base::stable_hash(cat(settings_text(entry), "\nseed ", recipe_.seed, "\nformat ", kStageFormat)));
  }

  std::string stage_fingerprint(const StageEntry& entry) const {
    std::string text = settings_hash(entry);
    for (const std::string& name : entry.stage->uses().models) text += cat("\n", name, "=", fingerprints_.at(name));
    return base::hex64(base::stable_hash(text));
  }

  StageRun make_run(const StageEntry& entry, json& summary) {
    return StageRun{recipe_,
                    entry.id,
                    root_ / entry.id,
                    device_,
                    static_cast<uint64_t>(recipe_.seed),
                    [this](const std::string& id) { return sources_.at(id); },
                    [this](const std::string& id) { return fingerprints_.at(id); },
                    [this](const std::string& id) { return sources_.count(id) > 0; },
                    settings_hash(entry),
                    &summary};
  }

  bool is_finished(const StageEntry& entry, const std::string& fingerprint) const {
    const fs::path stamp = root_ / entry.id / "stage.json";
    if (options_.force || !fs::exists(stamp)) return false;
    const json stage = io::read_json(stamp);
    return stage.value("finished", false) && stage.value("fingerprint", "") == fingerprint;
  }

  void require_inputs(const StageEntry& entry) {
    for (const std::string& name : entry.stage->uses().models) {
      if (sources_.count(name) > 0) continue;
      const fs::path stamp = root_ / name / "stage.json";
      if (!fs::exists(stamp)) {
        throw base::ConfigError(
            cat("stage ", entry.id, " reads '", name, "', which has not run yet; run it first, or drop --only"));
      }
      sources_[name] = root_ / name;
      fingerprints_[name] = io::read_json(stamp).value("fingerprint", "");
    }
  }

  void run_stage(const StageEntry& entry) {
    require_inputs(entry);
    const std::string fingerprint = stage_fingerprint(entry);
    const fs::path folder = root_ / entry.id;
    if (is_finished(entry, fingerprint)) {
      base::log_info(cat("stage ", entry.id, " (", entry.type, "): unchanged, kept"));
    } else {
      base::log_info(cat("stage ", entry.id, " (", entry.type, ")"));
      // Tables keep the rows of models that did not change; everything else starts from an empty folder.
      if (entry.stage->makes() != "table") fs::remove_all(folder);
      fs::create_directories(folder);
      fs::remove(folder / "stage.json");
      const double start = now_seconds();
      json summary = json::object();
      StageRun run = make_run(entry, summary);
      entry.stage->run(run);
      write_stage_file(entry, fingerprint, summary, now_seconds() - start);
    }
    if (entry.stage->makes() == "model") {
      sources_[entry.id] = folder;
      fingerprints_[entry.id] = fingerprint;
    }
  }

  void write_stage_file(const StageEntry& entry, const std::string& fingerprint, const json& summary, double seconds) {
    json inputs = json::object();
    for (const std::string& name : entry.stage->uses().models) inputs[name] = fingerprints_.at(name);
    io::write_json(root_ / entry.id / "stage.json", {{"id", entry.id},
                                                     {"type", entry.type},
                                                     {"makes", entry.stage->makes()},
                                                     {"finished", true},
                                                     {"fingerprint", fingerprint},
                                                     {"inputs", inputs},
                                                     {"settings", settings_text(entry)},
                                                     {"seconds", seconds},
                                                     {"summary", summary},
                                                     {"version", kVersion}});
  }

  /// Rows measured before are kept from run to run, but not when all is to be done again.
  void forget_tables() const {
    for (const StageEntry& entry : recipe_.stages) {
      if (selected(entry.id) && entry.stage->makes() == "table") fs::remove_all(root_ / entry.id);
    }
  }

  /// Lets evaluations run on what exists by now.
  void announce_ready(const std::string& id) {
    for (const StageEntry& entry : recipe_.stages) {
      if (!selected(entry.id) || entry.stage->makes() != "table") continue;
      const std::vector<std::string> used = entry.stage->uses().models;
      if (!id.empty() && std::find(used.begin(), used.end(), id) == used.end()) continue;
      fs::create_directories(root_ / entry.id);
      json summary = json::object();
      StageRun run = make_run(entry, summary);
      entry.stage->model_ready(run, id);
    }
  }

  void write_run_file(bool finished) const {
    json ids = json::array();
    for (const auto& [id, path] : recipe_.models) ids.push_back(id);
    for (const StageEntry& entry : recipe_.stages) ids.push_back(entry.id);
    io::write_json(root_ / "run.json", {{"name", recipe_.name},
                                        {"version", kVersion},
                                        {"stages", ids},
                                        {"finished", finished},
                                        {"started", started_},
                                        {"seconds", now_seconds() - started_},
                                        {"device", device_.str()},
                                        {"seed", recipe_.seed}});
  }

  const Recipe& recipe_;
  const RunOptions& options_;
  fs::path root_;
  at::Device device_;
  double started_ = 0;
  std::map<std::string, fs::path> sources_;
  std::map<std::string, std::string> fingerprints_;
};

}  // namespace

void run_recipe(const Recipe& recipe, const RunOptions& options) { Runner(recipe, options).run(); }

}  // namespace rqat::pipeline
