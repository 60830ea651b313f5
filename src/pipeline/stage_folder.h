// The folder of a stage from its first file to its last: begun, gone on with, finished.
//
//   running.json   while the stage runs: what it depends on
//   stage.json     written last: a folder with it is finished
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "rqat/pipeline/runner.h"

namespace rqat::pipeline {

/// In the folder of a stage while it is not finished.
inline constexpr const char* kRunning = "running.json";

/// What the result of a stage depends on, as text by name: "optimizer.adamw.learning_rate", "data.train.num_examples",
/// "model teacher".
using Dependencies = std::map<std::string, std::string>;

/// Adds every scalar of a tree under "prefix.path".
void add_dependencies(Dependencies& all, const std::string& prefix, const base::Node& node);

/// Makes the folder ready to run the stage `id`: kept as it is when an earlier run with the same dependencies left it
/// unfinished, else emptied (a table is kept). Throws ConfigError by Unfinished::kInsist, IoError.
void begin_stage(const std::string& id, const std::filesystem::path& folder, const Dependencies& dependencies,
                 bool is_table, Unfinished unfinished);

/// After stage.json: removes what only a running stage needs.
void end_stage(const std::filesystem::path& folder, bool keep_checkpoints);

}  // namespace rqat::pipeline
