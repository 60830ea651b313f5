// What a person sees of a run: the table in the terminal and report.html.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace rqat::pipeline {

/// The table of an evaluate stage (its results.json) as aligned text.
std::string results_table(const nlohmann::json& results);

/// Writes `run_folder`/report.html from the files of the run alone: one self-contained page with SVG plots.
void write_report(const std::filesystem::path& run_folder);

}  // namespace rqat::pipeline
