#include "rqat/pipeline/report.h"

#include "report_data.h"
#include "report_sections.h"
#include "report_svg.h"
#include "report_table.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline {

namespace {

using base::cat;
using base::format_fixed;
using nlohmann::json;
using report::Table;

std::string differences_text(const json& results) {
  Table table{{"", "task set", "points", "[low, high]", ""}, {}};
  for (const json& difference : report::child(results, "differences")) {
    const auto mean = report::number(difference, "mean"), low = report::number(difference, "low"),
               high = report::number(difference, "high");
    if (!mean || !low || !high) continue;
    table.rows.push_back({cat(report::text(difference, "from"), " -> ", report::text(difference, "to")),
                          report::text(difference, "task_set"), report::signed_points(*mean),
                          cat("[", format_fixed(100 * *low, 1), ", ", format_fixed(100 * *high, 1), "]"),
                          report::flag(difference, "shown") ? "shown" : "not shown"});
  }
  if (table.rows.empty()) return "";
  return cat("paired differences on the same problems: percentage points [95 % interval]\n", report::aligned(table));
}

}  // namespace

std::string results_table(const json& results) {
  std::string result;
  for (const report::TaskTable& task : report::task_tables(results)) {
    result += cat(task.task_set, task.problems > 0 ? cat(" (", task.problems, " problems)") : "",
                  ": accuracy in % [95 % interval]", "\n", report::aligned(task.table), "\n");
  }
  return result + differences_text(results);
}

std::string run_tables(const std::filesystem::path& run_folder) {
  std::string tables;
  for (const report::StageView& stage : report::read_run(run_folder).stages) {
    if (stage.results.is_null()) continue;
    tables += cat("stage ", stage.id, stage.results_partial ? " (not complete)" : "", ":\n",
                  results_table(stage.results), "\n");
  }
  return tables;
}

void write_report(const std::filesystem::path& run_folder) {
  const report::RunView run = report::read_run(run_folder);
  base::write_file(run_folder / "report.html",
                   cat("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
                       report::escape(run.name), " - rqat</title>\n<style>", report::style_sheet(),
                       "</style>\n</head>\n<body>\n", report::header_section(run), report::results_section(run),
                       report::training_section(run), report::quantization_section(run), report::export_section(run),
                       report::stages_section(run), "</body>\n</html>\n"));
}

}  // namespace rqat::pipeline
