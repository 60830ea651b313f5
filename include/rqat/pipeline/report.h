// What a person sees of a run: the table in the terminal and report.html.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace rqat::pipeline {

/// The table of an evaluate stage (its results.json) as aligned text.
std::string results_table(const nlohmann::json& results);

/// The tables of all evaluations of a run, finished or not, under the names of their stages. Throws IoError when the
/// folder has no readable run.json.
std::string run_tables(const std::filesystem::path& run_folder);

/// Writes `run_folder`/report.html from the files of the run alone: one self-contained page with SVG plots.
/// Throws IoError as run_tables does.
void write_report(const std::filesystem::path& run_folder);

/// One table per task set with the models of all runs, called "RUN: MODEL" (the folder names a run whose name is not
/// the only one of its kind). Throws IoError as run_tables does.
std::string comparison_tables(const std::vector<std::filesystem::path>& run_folders);

/// One self-contained page: those tables, the curves of stages with the same id over each other, and the settings in
/// which the recipes differ.
void write_comparison(const std::vector<std::filesystem::path>& run_folders, const std::filesystem::path& file);

}  // namespace rqat::pipeline
