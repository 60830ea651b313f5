// What a run folder holds, read as far as it is there.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "report_json.h"

namespace rqat::pipeline::report {

/// (step, value) in the order of metrics.jsonl.
using Series = std::vector<std::pair<double, double>>;

struct StageView {
  std::string id, type;
  /// "done", "source" (a model folder used where it is), "under way", "unfinished", "waiting", "not run".
  std::string state;
  json stamp;                             ///< stage.json, or null
  std::map<std::string, Series> metrics;  ///< by key, without "step"
  json results;                           ///< of an evaluation: results.json, else {"models": [rows so far]}, or null
  bool results_partial = false;
  json quant_report, export_report;  ///< or null
};

struct RunView {
  std::string name;
  json run;            ///< run.json
  std::string recipe;  ///< text of recipe.yaml, or ""
  std::vector<StageView> stages;
  std::vector<std::string> faults;  ///< files that are there and cannot be read, with the reason
};

/// Throws IoError when the folder has no readable run.json. Faults of all other files are collected.
RunView read_run(const std::filesystem::path& folder);

}  // namespace rqat::pipeline::report
