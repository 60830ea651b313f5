#include "rqat/pipeline/runner.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/folders.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/pipeline/estimate.h"
#include "rqat/pipeline/missing_model.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/report.h"
#include "rqat/pipeline/stage.h"
#include "rqat/pipeline/version.h"
#include "stage_folder.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// The first line in which two texts differ, as "was ..., is ..."; "" when they are equal.
std::string changed_line(const std::string& before, const std::string& now) {
  const std::vector<std::string> old_lines = base::split(before, '\n'), new_lines = base::split(now, '\n');
  for (size_t i = 0; i < std::max(old_lines.size(), new_lines.size()); ++i) {
    const std::string was = i < old_lines.size() ? base::trim(old_lines[i]) : "";
    const std::string is = i < new_lines.size() ? base::trim(new_lines[i]) : "";
    if (was != is) return cat("was `", was, "`, is `", is, "`");
  }
  return "";
}

class Runner {
 public:
  Runner(const Recipe& recipe, const RunOptions& options)
      : recipe_(recipe),
        options_(options),
        world_(*options.world),
        root_(recipe.output_dir),
        device_(pick_device(recipe.device)) {
    if (device_.is_cuda() && !world_.alone())
      device_ = at::Device(at::kCUDA, static_cast<int8_t>(world_.world().local_rank));
  }

  void run() {
    if (world_.is_main()) open_folder();
    require_shared_folder();
    started_ = now_seconds();
    for (const StageEntry& entry : recipe_.stages) {
      if (selected(entry.id)) data_settings(entry);  // a file that is not there is told before anything is computed
    }
    write_run_file(false);
    for (const auto& model : recipe_.models)
      main_first("model " + model.first, [&] { prepare_source(model.first, model.second); });
    if (options_.force && world_.is_main()) forget_tables();
    announce_ready("");
    for (const StageEntry& entry : recipe_.stages) {
      if (!selected(entry.id)) continue;
      const bool ran = run_stage(entry);
      write_run_file(false);
      if (world_.is_main()) write_report(root_);
      if (ran) stop_if_asked("stage " + entry.id);
      if (is_input(entry)) announce_ready(entry.id);
    }
    write_run_file(true);
    if (world_.is_main()) {
      write_report(root_);
      base::log_info(cat("done in ", base::format_duration(now_seconds() - started_),
                         "; report: ", (root_ / "report.html").string()));
    }
  }

 private:
  /// Folders that this run empties or writes: of imported models, and of stages.
  std::vector<std::string> own_folders() const {
    std::vector<std::string> ids;
    for (const auto& [id, source] : recipe_.models) {
      if (source.is_copied()) ids.push_back(id);
    }
    for (const StageEntry& entry : recipe_.stages) {
      if (selected(entry.id)) ids.push_back(entry.id);
    }
    return ids;
  }

  /// Nothing is emptied that no run has written.
  void require_own_folders() const {
    const bool is_run = fs::exists(root_ / "run.json");
    for (const std::string& id : own_folders()) {
      const fs::path folder = root_ / id;
      const StageEntry* stage = recipe_.find_stage(id);
      // Imported models and the rows of tables are there before the mark.
      const bool is_marked_late = stage == nullptr || stage->stage->makes() == "table";
      const bool is_own = fs::exists(folder / "stage.json") || fs::exists(folder / kRunning) ||
                          (is_run && is_marked_late) || base::holds_nothing(folder);
      if (is_own) continue;
      throw base::ConfigError(cat("'", folder.string(), "' holds files that no run wrote, and '", id,
                                  "' would replace them; choose another output_dir, or move them away"));
    }
  }

  void open_folder() const {
    require_own_folders();
    base::make_folders(root_);
    base::remove_leftovers(root_, own_folders());
    base::add_log_file(root_ / "log.txt");
    base::write_file(root_ / "recipe.yaml", "# Resolved recipe: rqat train --config recipe.yaml repeats this run.\n" +
                                                recipe_.resolved.dump());
    base::log_info(cat("run '", recipe_.name, "' -> ", root_.string(), " (", recipe_.stages.size(), " stages, ",
                       device_.str(), world_.alone() ? "" : cat(", ", world_.size(), " ranks"), ")"));
  }

  /// Every rank reads what the main rank wrote.
  void require_shared_folder() const {
    if (world_.alone()) return;
    const fs::path probe = root_ / ".ranks";
    const std::string token = world_.broadcast_text(std::to_string(now_seconds()));
    if (world_.is_main()) base::write_file(probe, token);
    world_.barrier("output folder");
    const bool seen = fs::exists(probe) && base::read_file(probe) == token;
    const std::vector<std::string> blind = world_.all_gather_text(seen ? "" : world_.who());
    if (world_.is_main()) fs::remove(probe);
    for (const std::string& rank : blind) {
      if (rank.empty()) continue;
      throw base::ConfigError(cat("output_dir: ", rank, " does not see the files of rank 0 in '", root_.string(),
                                  "'; start all ranks in the same folder, on a file system that all hosts share"));
    }
  }

  /// The main rank does it, then the others, which find it done.
  template <class Action>
  void main_first(const std::string& what, const Action& action) const {
    if (world_.is_main()) action();
    world_.barrier(what);
    if (!world_.is_main()) action();
  }

  /// What the main rank finds holds for all.
  bool agreed(bool condition) const { return world_.broadcast_text(condition ? "yes" : "no") == "yes"; }

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

  /// A source to be imported, or a folder with a `dtype` of its own, becomes an HF folder inside the run; other folders
  /// are used where they are.
  void prepare_source(const std::string& id, const ModelSource& source) {
    const fs::path path = source.path;
    if (!fs::exists(path)) {
      throw base::ConfigError(cat(source.where.text(), ": models.", id, ".path: '", path.string(), "' does not exist",
                                  missing_model_advice(path)));
    }
    const bool foreign = needs_import(path);
    if (!source.is_copied()) {
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
      base::remove_folder(folder);
      if (foreign) {
        base::log_info(cat(id, ": importing ", path.string()));
        import_model(path, folder, dtype);
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

  /// Settings that what comes out depends on.
  static base::Node decisive_settings(const StageEntry& entry) {
    base::Node settings = base::write_config(*entry.config);
    for (const std::string& key : entry.stage->settings_on_the_way()) settings.erase(key);
    return settings;
  }

  /// Whether other stages read what it makes.
  static bool is_input(const StageEntry& entry) {
    return entry.stage->makes() == "model" || entry.stage->makes() == "data";
  }

  /// The settings of the data that a stage uses, by "data.NAME"; of what stages write, their fingerprints tell.
  std::vector<std::pair<std::string, base::Node>> data_settings(const StageEntry& entry) const {
    std::vector<std::pair<std::string, base::Node>> all;
    const Uses uses = entry.stage->uses();
    for (const std::string& name : uses.data) {
      if (name == uses.data_on_the_way) continue;
      std::vector<std::string> names = recipe_.parts_of_data(name);
      if (names.front() != name) names.insert(names.begin(), name);
      for (const std::string& part : names) {
        if (recipe_.maker_of_data(part) != nullptr) continue;
        data::DataConfig config = recipe_.data.at(part);
        base::Node settings = base::write_config(config);
        if (!config.file.empty()) settings.set("content of its files", base::Node::scalar(files_fingerprint(part)));
        all.emplace_back("data." + part, std::move(settings));
      }
    }
    return all;
  }

  /// Of a `data:` entry's files as they were when this run first looked.
  std::string files_fingerprint(const std::string& name) const {
    const auto found = data_fingerprints_.find(name);
    if (found != data_fingerprints_.end()) return found->second;
    return data_fingerprints_[name] = data::files_fingerprint(recipe_.data.at(name));
  }

  std::string settings_text(const StageEntry& entry) const {
    std::string text = cat("type: ", entry.type, "\n", decisive_settings(entry).dump());
    const Uses uses = entry.stage->uses();
    for (const auto& [name, settings] : data_settings(entry)) text += cat("# ", name, "\n", settings.dump());
    for (const std::string& name : uses.quant) {
      quant::QuantPolicy policy = recipe_.quant.at(name);
      text += cat("# quant.", name, "\n", base::write_config(policy).dump());
    }
    return text;
  }

  std::string settings_hash(const StageEntry& entry) const {
    std::string text = cat(settings_text(entry), "\nseed ", recipe_.seed, "\nformat ", kStageFormat);
    for (const std::string& name : recipe_.inputs_of(entry)) {
      if (recipe_.maker_of_data(name) != nullptr) text += cat("\n", name, "=", fingerprints_.at(name));
    }
    return base::hex64(base::stable_hash(text));
  }

  std::string stage_fingerprint(const StageEntry& entry) const {
    std::string text = settings_hash(entry);
    for (const std::string& name : recipe_.inputs_of(entry)) text += cat("\n", name, "=", fingerprints_.at(name));
    return base::hex64(base::stable_hash(text));
  }

  /// Whether a model that this run neither made nor found unchanged is there; its fingerprint is noted.
  bool find_on_disk(const std::string& id) {
    if (fingerprints_.count(id) > 0) return true;
    const fs::path stamp = root_ / id / "stage.json";
    if (!fs::exists(stamp)) return false;
    fingerprints_[id] = io::read_json(stamp).value("fingerprint", "");
    return true;
  }

  /// Why the finished stage `id` is not what this recipe would make of it; "" when it is.
  std::string staleness(const std::string& id) {
    const StageEntry* entry = recipe_.find_stage(id);
    if (entry == nullptr) return "";
    const json stamp = io::read_json(root_ / id / "stage.json");
    const json inputs = stamp.value("inputs", json::object());
    for (const std::string& name : recipe_.inputs_of(*entry)) {
      if (!inputs.contains(name)) return cat("it did not read '", name, "'");
      if (!find_on_disk(name)) return cat("its input '", name, "' is not there any more");
      if (inputs[name] != fingerprints_.at(name)) return cat("its input '", name, "' has changed since");
    }
    if (stamp.value("fingerprint", "") != stage_fingerprint(*entry)) {
      const std::string change = changed_line(stamp.value("settings", ""), settings_text(*entry));
      return change.empty() ? "the recipe's seed or the version of rqat has changed since"
                            : cat("its settings have changed since: ", change);
    }
    for (const std::string& name : recipe_.inputs_of(*entry)) {
      const std::string reason = recipe_.find_stage(name) != nullptr ? staleness(name) : "";
      if (!reason.empty()) return cat("its input '", name, "' is stale: ", reason);
    }
    return "";
  }

  /// What stage_fingerprint() condenses, told apart.
  Dependencies dependencies(const StageEntry& entry) const {
    Dependencies all{{"type", entry.type},
                     {"seed", std::to_string(recipe_.seed)},
                     {"version of stage folders", std::to_string(kStageFormat)}};
    add_dependencies(all, "", decisive_settings(entry));
    const Uses uses = entry.stage->uses();
    for (const auto& [name, settings] : data_settings(entry)) add_dependencies(all, name, settings);
    for (const std::string& name : uses.quant) {
      quant::QuantPolicy policy = recipe_.quant.at(name);
      add_dependencies(all, "quant." + name, base::write_config(policy));
    }
    for (const std::string& name : recipe_.inputs_of(entry))
      all[cat(recipe_.maker_of_data(name) == nullptr ? "model " : "data ", name)] = fingerprints_.at(name);
    return all;
  }

  std::string how_to_go_on() const {
    return options_.command.empty() ? "" : cat("; go on with:\n  ", options_.command);
  }

  /// Between stages, where there is nothing to save.
  void stop_if_asked(const std::string& done) const {
    if (const int signal = static_cast<int>(world_.max(base::requested_stop())))
      throw base::Interrupted(signal, cat("stopped after ", done, ", which is finished", how_to_go_on()));
  }

  /// Where a rank writes: below the output folder for the main one, into a scratch folder for the others.
  fs::path own_folder(const std::string& id) {
    if (world_.is_main()) return root_ / id;
    if (!scratch_) scratch_ = std::make_unique<base::ScratchFolder>("rank");
    base::make_folders(scratch_->path() / id);
    return scratch_->path() / id;
  }

  StageRun make_run(const StageEntry& entry, json& summary) {
    return StageRun{recipe_,
                    entry.id,
                    own_folder(entry.id),
                    device_,
                    static_cast<uint64_t>(recipe_.seed),
                    [this](const std::string& id) { return sources_.at(id); },
                    [this](const std::string& id) { return fingerprints_.at(id); },
                    [this](const std::string& id) { return sources_.count(id) > 0; },
                    settings_hash(entry),
                    &summary,
                    /*continuable=*/true,
                    how_to_go_on(),
                    &world_,
                    root_ / entry.id};
  }

  bool is_finished(const StageEntry& entry, const std::string& fingerprint) const {
    const fs::path stamp = root_ / entry.id / "stage.json";
    if (options_.force || !fs::exists(stamp)) return false;
    const json stage = io::read_json(stamp);
    return stage.value("finished", false) && stage.value("fingerprint", "") == fingerprint;
  }

  void require_inputs(const StageEntry& entry) {
    for (const std::string& name : recipe_.inputs_of(entry)) {
      if (sources_.count(name) > 0) continue;
      if (!find_on_disk(name)) {
        throw base::ConfigError(
            cat("stage ", entry.id, " reads '", name, "', which has not run yet; run it first, or drop --only"));
      }
      if (const std::string reason = staleness(name); !reason.empty()) {
        base::log_warning(cat("stage ", entry.id, " reads '", name,
                              "' as it is on disk, although it is stale: ", reason, "; run it again, or drop --only"));
      }
      sources_[name] = root_ / name;
    }
  }

  /// When memory runs out, the message tells which setting of the stage to change, and to what.
  template <class Action>
  void run_naming_memory(const StageEntry& entry, const Action& action) const {
    try {
      action();
    } catch (const std::exception& error) {
      if (!is_out_of_memory(error)) throw;
      throw OutOfMemory(out_of_memory_text(recipe_, entry, error));
    }
  }

  /// False when the stage was finished already.
  bool run_stage(const StageEntry& entry) {
    require_inputs(entry);
    const std::string fingerprint = stage_fingerprint(entry);
    const fs::path folder = root_ / entry.id;
    const bool kept = agreed(is_finished(entry, fingerprint));
    if (kept) {
      base::log_info(cat("stage ", entry.id, " (", entry.type, "): unchanged, kept"));
    } else {
      base::log_info(cat("stage ", entry.id, " (", entry.type, ")"));
      if (world_.is_main()) {
        begin_stage(entry.id, folder, dependencies(entry), entry.stage->makes() == "table",
                    options_.force ? Unfinished::kRestart : options_.unfinished);
      }
      world_.barrier("start of stage " + entry.id);
      json summary = json::object();
      StageRun run = make_run(entry, summary);
      // Files are made of what is on the disk: one rank does that.
      if (world_.is_main() || entry.stage->makes() != "files") run_naming_memory(entry, [&] { entry.stage->run(run); });
      if (world_.is_main()) write_stage_file(entry, fingerprint, summary, run.seconds());
    }
    if (world_.is_main()) end_stage(folder, entry.stage->keeps_checkpoints());
    world_.barrier("end of stage " + entry.id);
    if (is_input(entry)) {
      sources_[entry.id] = folder;
      fingerprints_[entry.id] = fingerprint;
    }
    return !kept;
  }

  void write_stage_file(const StageEntry& entry, const std::string& fingerprint, const json& summary, double seconds) {
    json inputs = json::object();
    for (const std::string& name : recipe_.inputs_of(entry)) inputs[name] = fingerprints_.at(name);
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
      if (selected(entry.id) && entry.stage->makes() == "table") base::remove_folder(root_ / entry.id);
    }
  }

  bool all_data_ready(const std::vector<std::string>& inputs) const {
    return std::all_of(inputs.begin(), inputs.end(), [&](const std::string& name) {
      return recipe_.maker_of_data(name) == nullptr || sources_.count(name) > 0;
    });
  }

  /// Lets evaluations run on what exists by now.
  void announce_ready(const std::string& id) {
    for (const StageEntry& entry : recipe_.stages) {
      if (!selected(entry.id) || entry.stage->makes() != "table") continue;
      const std::vector<std::string> used = recipe_.inputs_of(entry);
      if (!id.empty() && std::find(used.begin(), used.end(), id) == used.end()) continue;
      if (!all_data_ready(used)) continue;
      if (world_.is_main()) base::make_folders(root_ / entry.id);
      json summary = json::object();
      StageRun run = make_run(entry, summary);
      run_naming_memory(entry, [&] { entry.stage->model_ready(run, id); });
    }
  }

  void write_run_file(bool finished) const {
    if (!world_.is_main()) return;
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
                                        {"ranks", world_.size()},
                                        {"seed", recipe_.seed}});
  }

  const Recipe& recipe_;
  const RunOptions& options_;
  dist::Communicator& world_;
  std::unique_ptr<base::ScratchFolder> scratch_;  ///< what ranks beside the main one write
  fs::path root_;
  at::Device device_;
  double started_ = 0;
  std::map<std::string, fs::path> sources_;
  std::map<std::string, std::string> fingerprints_;
  mutable std::map<std::string, std::string> data_fingerprints_;
};

}  // namespace

void run_recipe(const Recipe& recipe, const RunOptions& options) { Runner(recipe, options).run(); }

}  // namespace rqat::pipeline
