// What a person sees of a run: the table in the terminal and report.html.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace rqat::pipeline {

/// The table of an evaluate stage (its results.json) as aligned text.
std::string results_table(const nlohmann::json& results);

/// The tables of all evaluations of a run, finished or not, under the names of their stages. Throws IoError when the
/// folder has no readable run.json.
std::string run_tables(const std::filesystem::path& run_folder);

/// Writes `run_folder`/report.html from the files of the run alone: one self-contained page with SVG plots.
/// Throws IoError as run_tables does.
void write_report(const std::filesystem::path& run_folder);

}  // namespace rqat::pipeline
