// Evaluations on the page.
#include <algorithm>

#include "report_charts.h"
#include "report_sections.h"
#include "report_svg.h"
#include "report_table.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline::report {

namespace {

using base::cat;
using base::format_fixed;

constexpr double kFloatBits = 15;  // more bits per weight than this are a floating-point model

bool is_quantized(const json& row) { return number(row, "bits_per_weight").value_or(16) < kFloatBits; }

const json& overall(const json& row, const std::string& task_set) {
  return child(child(child(row, "tasks"), task_set), "overall");
}

std::optional<double> accuracy(const json& row, const std::string& task_set) {
  return number(overall(row, task_set), "value");
}

const json& teacher_row(const json& results) {
  static const json kNull;
  for (const json& row : child(results, "models")) {
    if (text(row, "model") == text(results, "teacher")) return row;
  }
  return kNull;
}

BarChart bars_of(const json& results, const std::string& task_set, double highest) {
  BarChart chart;
  chart.label = cat("Accuracy of each model on ", task_set);
  chart.highest = highest;
  for (const json& row : child(results, "models")) {
    const auto value = accuracy(row, task_set);
    if (!value) continue;
    const json& all = overall(row, task_set);
    const std::string name = text(row, "model", "?");
    std::string hover = cat(name, ": ", format_fixed(100 * *value, 1), " %");
    const auto successes = number(all, "successes"), total = number(all, "total");
    if (successes && total) hover += cat(", ", short_number(*successes), " of ", short_number(*total), " problems");
    if (const auto bits = number(row, "bits_per_weight"))
      hover += cat(", ", format_fixed(*bits, 2), " bits per weight");
    chart.bars.push_back({name, *value, number(all, "low").value_or(*value), number(all, "high").value_or(*value),
                          is_quantized(row), hover});
  }
  if (const auto value = accuracy(teacher_row(results), task_set)) {
    chart.reference = value;
    chart.reference_label = text(results, "teacher");
  }
  return chart;
}

double highest_accuracy(const json& results) {
  double highest = 0.05;
  for (const std::string& task_set : task_sets(results)) {
    for (const json& row : child(results, "models")) {
      const double value = accuracy(row, task_set).value_or(0);
      highest = std::max(highest, number(overall(row, task_set), "high").value_or(value));
    }
  }
  return std::min(1.0, highest);
}

/// "heldout: rl answers 57.3 % at 2.25 bits per weight; teacher, at full precision, 62.1 %."
std::string finding(const json& results, const std::string& task_set) {
  const json* best = nullptr;
  for (const json& row : child(results, "models")) {
    if (!is_quantized(row) || !accuracy(row, task_set)) continue;
    if (best == nullptr || *accuracy(row, task_set) > *accuracy(*best, task_set)) best = &row;
  }
  if (best == nullptr) return "";
  std::string sentence =
      cat("<p>On <em>", escape(task_set), "</em>, the best quantized model, <b>", escape(text(*best, "model")),
          "</b>, solves ", format_fixed(100 * *accuracy(*best, task_set), 1), " % at ",
          format_fixed(number(*best, "bits_per_weight").value_or(0), 2), " bits per weight");
  const json& teacher = teacher_row(results);
  if (const auto value = accuracy(teacher, task_set); value && !is_quantized(teacher)) {
    sentence +=
        cat("; its teacher, <b>", escape(text(teacher, "model")), "</b>, solves ", format_fixed(100 * *value, 1), " %");
  }
  return sentence + ".</p>\n";
}

std::string accuracy_figures(const json& results) {
  const double highest = highest_accuracy(results);
  bool floating = false, quantized = false;
  for (const json& row : child(results, "models")) (is_quantized(row) ? quantized : floating) = true;
  std::vector<std::pair<std::string, std::string>> entries;
  if (floating) entries.emplace_back("swatch other", "full precision");
  if (quantized) entries.emplace_back("swatch main", "quantized");
  entries.emplace_back("range", "95 % interval");
  std::string html = legend(entries);
  html += "<div class=\"pair\">\n";
  for (const TaskTable& task : task_tables(results)) {
    html +=
        figure(cat("Accuracy on ", task.task_set), task.problems > 0 ? cat("% of ", task.problems, " problems") : "%",
               draw(bars_of(results, task.task_set, highest)));
  }
  return html + "</div>\n";
}

std::string difference_figures(const json& results) {
  std::vector<std::pair<std::string, IntervalChart>> charts;
  double lowest = 0, highest = 0;
  for (const json& difference : child(results, "differences")) {
    const auto mean = number(difference, "mean"), low = number(difference, "low"), high = number(difference, "high");
    if (!mean || !low || !high) continue;
    const std::string task_set = text(difference, "task_set");
    auto found = std::find_if(charts.begin(), charts.end(), [&](const auto& chart) { return chart.first == task_set; });
    if (found == charts.end()) found = charts.insert(charts.end(), {task_set, {}});
    found->second.label = cat("Paired differences of accuracy on ", task_set);
    found->second.rows.push_back(
        {text(difference, "from"), text(difference, "to"), *mean, *low, *high, flag(difference, "shown")});
    lowest = std::min(lowest, *low);
    highest = std::max(highest, *high);
  }
  if (charts.empty()) return "";
  std::string html =
      "<h3>Step by step, on the same problems</h3>\n<p class=\"remark\">Change of accuracy in percentage points with "
      "its 95 % "
      "interval (paired bootstrap). Filled: the interval excludes zero, the difference is shown. Open: it is not "
      "shown.</p>\n"
      "<div class=\"pair\">\n";
  for (auto& [task_set, chart] : charts) {
    chart.lowest = lowest;
    chart.highest = highest;
    html += figure(task_set, "percentage points", draw(chart));
  }
  return html + "</div>\n";
}

std::string evaluation(const StageView& stage, bool alone) {
  const json& results = stage.results;
  std::string html = alone ? "" : cat("<h3>", escape(stage.id), "</h3>\n");
  if (stage.results_partial) {
    html += "<p class=\"notice\">This evaluation is not complete: the models measured so far are shown.</p>\n";
  }
  for (const std::string& task_set : task_sets(results)) html += finding(results, task_set);
  html += accuracy_figures(results);
  html += difference_figures(results);
  for (const TaskTable& task : task_tables(results)) {
    html += cat("<h3>All numbers on ", escape(task.task_set), "</h3>\n");
    html += "<p class=\"remark\">Accuracy in % by family of problems and over all";
    if (task.problems > 0) html += cat(" ", task.problems);
    html += ", with a 95 % interval (Wilson).</p>\n";
    html += table_html(task.table.header, task.table.rows, "numbers");
  }
  return html;
}

}  // namespace

std::string results_section(const RunView& run) {
  const auto count =
      std::count_if(run.stages.begin(), run.stages.end(), [](const auto& s) { return s.results.is_object(); });
  if (count == 0) return "";
  std::string html = "<section>\n<h2>Results</h2>\n";
  for (const StageView& stage : run.stages) {
    if (stage.results.is_object()) html += evaluation(stage, count == 1);
  }
  return html + "</section>\n";
}

}  // namespace rqat::pipeline::report
