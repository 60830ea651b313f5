#include "stage_folder.h"

#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "stage_checkpoints.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;

constexpr size_t kShownChanges = 5;

/// "max_steps: 100 -> 200, data.train.seed: 0 -> 1"; "" when nothing differs.
std::string changes(const Dependencies& before, const Dependencies& now) {
  std::vector<std::string> found;
  const auto text = [](const Dependencies& all, const std::string& name) {
    const auto entry = all.find(name);
    return entry == all.end() ? std::string("(none)") : entry->second;
  };
  Dependencies both = before;
  both.insert(now.begin(), now.end());
  for (const auto& [name, value] : both) {
    if (text(before, name) != text(now, name))
      found.push_back(cat(name, ": ", text(before, name), " -> ", text(now, name)));
  }
  const size_t more = found.size() > kShownChanges ? found.size() - kShownChanges : 0;
  found.resize(found.size() - more);
  return base::join(found, ", ") + (more > 0 ? cat(" and ", more, " more") : "");
}

}  // namespace

void add_dependencies(Dependencies& all, const std::string& prefix, const base::Node& node) {
  const std::string dot = prefix.empty() ? "" : prefix + ".";
  for (const base::Node::Entry& entry : node.entries()) add_dependencies(all, dot + entry.key, entry.value);
  if (node.is_scalar()) all[prefix] = node.value();
  std::vector<std::string> items;
  for (const base::Node& item : node.items()) items.push_back(base::trim(item.dump()));
  if (node.is_list()) all[prefix] = cat("[", base::join(items, ", "), "]");
}

void begin_stage(const std::string& id, const fs::path& folder, const Dependencies& dependencies, bool is_table,
                 Unfinished unfinished) {
  const fs::path running = folder / kRunning;
  bool goes_on = false;
  if (!is_table && unfinished != Unfinished::kRestart && fs::exists(running) && !fs::exists(folder / "stage.json")) {
    const auto before = io::read_json(running).value("depends_on", Dependencies());
    const std::string changed = changes(before, dependencies);
    goes_on = changed.empty();
    if (!goes_on && unfinished == Unfinished::kInsist) {
      throw base::ConfigError(cat("stage ", id, ": cannot go on where it was interrupted, because something changed (",
                                  changed, "); change it back, or leave --resume out to start the stage anew"));
    }
    if (!goes_on) base::log_warning(cat("stage ", id, ": starts anew; changed since it was interrupted: ", changed));
  }
  if (goes_on) {
    base::remove_leftovers(folder);
    return;
  }
  // Tables keep the rows of models that did not change; everything else starts from an empty folder.
  if (!is_table) base::remove_folder(folder);
  base::make_folders(folder);
  base::remove_leftovers(folder);
  fs::remove(folder / "stage.json");
  io::write_json(running, {{"id", id}, {"depends_on", dependencies}});
}

void end_stage(const fs::path& folder, bool keep_checkpoints) {
  fs::remove(folder / kRunning);
  if (!keep_checkpoints) base::remove_folder(checkpoint_folder(folder));
}

}  // namespace rqat::pipeline
