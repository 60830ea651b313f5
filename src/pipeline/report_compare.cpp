// Several runs on one page: their models in one table per task set, their curves over each other, and the settings in
// which they differ.
#include <algorithm>
#include <array>
#include <set>

#include "report_charts.h"
#include "report_data.h"
#include "report_sections.h"
#include "report_svg.h"
#include "report_table.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/node.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/report.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using base::Node;
using nlohmann::json;
using report::RunView;

/// Hues that stay apart for color-blind readers and on both backgrounds.
constexpr std::array<const char*, 8> kColors{"#2d6aa8", "#c0761a", "#3a8f6b", "#b0508f",
                                             "#7d6bc4", "#a8862d", "#c4524a", "#6f7780"};

std::string color_class(size_t run) { return cat("run", run % kColors.size()); }

std::string colors() {
  std::string css;
  for (size_t i = 0; i < kColors.size(); ++i) {
    css += cat(".line.run", i, "{stroke:", kColors[i], "} .dot.run", i, "{fill:", kColors[i], "} .swatch.run", i,
               "{background:", kColors[i], "}\n");
  }
  return css;
}

/// Paths without what all have in common at their beginnings and ends: x/runs/a, x/runs/b -> a, b.
std::vector<std::string> short_paths(const std::vector<fs::path>& paths) {
  std::vector<std::vector<std::string>> parts;
  size_t shortest = std::string::npos;
  for (const fs::path& path : paths) {
    parts.emplace_back();
    for (const fs::path& part : fs::absolute(path).lexically_normal()) {
      if (!part.empty()) parts.back().push_back(part.string());
    }
    shortest = std::min(shortest, parts.back().size());
  }
  const auto all_have = [&](const auto& part_of) {
    return std::all_of(parts.begin(), parts.end(),
                       [&](const auto& path) { return part_of(path) == part_of(parts[0]); });
  };
  size_t first = 0, last = 0;
  while (first + 1 < shortest && all_have([&](const auto& path) { return path[first]; })) ++first;
  while (first + last + 1 < shortest && all_have([&](const auto& path) { return path[path.size() - 1 - last]; }))
    ++last;
  std::vector<std::string> names;
  for (const auto& path : parts) {
    const auto begin = path.begin() + static_cast<std::ptrdiff_t>(first);
    names.push_back(base::join({begin, path.end() - static_cast<std::ptrdiff_t>(last)}, "/"));
  }
  return names;
}

/// A run under a name of its own: that of the recipe, or of the folder when two are alike.
struct Named {
  std::string name;
  RunView view;
};

std::vector<Named> read_all(const std::vector<fs::path>& folders) {
  std::vector<Named> runs;
  for (const fs::path& folder : folders) {
    RunView view = report::read_run(folder);
    const std::string name = view.name;
    runs.push_back({name, std::move(view)});
  }
  std::map<std::string, int> count;
  for (const Named& run : runs) ++count[run.name];
  const std::vector<std::string> paths = short_paths(folders);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (count[runs[i].name] > 1) runs[i].name = paths[i];
  }
  return runs;
}

/// All evaluations of all runs as one; models are called "RUN: MODEL".
json merged_results(const std::vector<Named>& runs) {
  json merged = {{"models", json::array()}, {"task_sets", json::array()}};
  std::set<std::string> sets;
  for (const Named& run : runs) {
    for (const report::StageView& stage : run.view.stages) {
      if (stage.results.is_null()) continue;
      for (const std::string& set : report::task_sets(stage.results)) {
        if (sets.insert(set).second) merged["task_sets"].push_back(set);
      }
      for (json row : report::child(stage.results, "models")) {
        row["model"] = cat(run.name, ": ", report::text(row, "model"));
        merged["models"].push_back(std::move(row));
      }
    }
  }
  return merged;
}

void flatten(const Node& node, const std::string& path, std::map<std::string, std::string>& leaves) {
  for (const Node::Entry& entry : node.entries())
    flatten(entry.value, path.empty() ? entry.key : cat(path, ".", entry.key), leaves);
  for (size_t i = 0; i < node.items().size(); ++i) {
    const Node* id = node.items()[i].find("id");
    flatten(node.items()[i], cat(path, ".", id != nullptr ? id->value() : std::to_string(i)), leaves);
  }
  if (node.is_scalar()) leaves[path] = node.value();
}

std::string differing_settings(const std::vector<Named>& runs) {
  std::vector<std::map<std::string, std::string>> settings;
  std::set<std::string> keys;
  for (const Named& run : runs) {
    settings.emplace_back();
    if (!run.view.recipe.empty()) flatten(Node::parse(run.view.recipe, run.name), "", settings.back());
    for (const auto& [key, value] : settings.back()) keys.insert(key);
  }
  std::vector<std::vector<std::string>> rows;
  for (const std::string& key : keys) {
    std::vector<std::string> row{key};
    for (const auto& leaves : settings) row.push_back(leaves.count(key) > 0 ? leaves.at(key) : "-");
    if (std::any_of(row.begin() + 2, row.end(), [&](const std::string& value) { return value != row[1]; })) {
      rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) return "<p class=\"remark\">The recipes are equal.</p>\n";
  std::vector<std::string> header{"setting"};
  for (const Named& run : runs) header.push_back(run.name);
  return report::table_html(header, rows, "");
}

std::string results_html(const std::vector<Named>& runs) {
  std::string html;
  for (const report::TaskTable& task : report::task_tables(merged_results(runs))) {
    html += cat("<h3>", report::escape(task.task_set), "</h3>\n",
                report::table_html(task.table.header, task.table.rows, "numbers"));
  }
  return html.empty() ? "" : cat("<section>\n<h2>Results</h2>\n", html, "</section>\n");
}

/// Curves of `metric` of the stages called `stage`; "" when no run has them.
std::string curves(const std::vector<Named>& runs, const std::string& stage, const std::string& metric,
                   const std::string& title) {
  report::LineChart chart;
  chart.label = cat(metric, " of ", stage);
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const report::StageView& view : runs[i].view.stages) {
      const auto found = view.metrics.find(metric);
      if (view.id != stage || found == view.metrics.end()) continue;
      chart.lines.push_back({runs[i].name, report::smoothed(found->second), color_class(i)});
    }
  }
  return chart.lines.empty() ? "" : report::figure(title, "", report::draw(chart));
}

std::string training_html(const std::vector<Named>& runs) {
  std::vector<std::string> stages;
  for (const Named& run : runs) {
    for (const report::StageView& view : run.view.stages) {
      const bool known = std::find(stages.begin(), stages.end(), view.id) != stages.end();
      if (!view.metrics.empty() && !known) stages.push_back(view.id);
    }
  }
  std::string html;
  for (const std::string& stage : stages) {
    html += cat("<h3>", report::escape(stage), "</h3>\n<div class=\"curves\">\n");
    for (const auto& [metric, title] : {std::pair{"loss", "Loss"},
                                        {"reward", "Mean reward"},
                                        {"eval_accuracy", "Accuracy meanwhile"},
                                        {"grad_norm", "Gradient norm"},
                                        {"entropy", "Entropy"},
                                        {"tokens_per_second", "Tokens per second"}}) {
      html += curves(runs, stage, metric, title);
    }
    html += "</div>\n";
  }
  if (html.empty()) return "";
  std::vector<std::pair<std::string, std::string>> names;
  for (size_t i = 0; i < runs.size(); ++i) names.emplace_back(cat("swatch ", color_class(i)), runs[i].name);
  return cat("<section>\n<h2>Training</h2>\n<p class=\"remark\">Moving averages; stages of the same id together.</p>\n",
             report::legend(names), html, "</section>\n");
}

}  // namespace

std::string comparison_tables(const std::vector<fs::path>& run_folders) {
  return results_table(merged_results(read_all(run_folders)));
}

void write_comparison(const std::vector<fs::path>& run_folders, const fs::path& file) {
  const std::vector<Named> runs = read_all(run_folders);
  std::string titles;
  for (const Named& run : runs) titles += cat(titles.empty() ? "" : ", ", report::escape(run.name));
  base::write_file(file, cat("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
                             titles, " - rqat</title>\n<style>", report::style_sheet(), colors(),
                             "</style>\n</head>\n<body>\n<header>\n<h1>", runs.size(), " runs compared</h1>\n",
                             "<p class=\"remark\">", titles, "</p>\n</header>\n", results_html(runs),
                             training_html(runs), "<section>\n<h2>Settings that differ</h2>\n",
                             differing_settings(runs), "</section>\n</body>\n</html>\n"));
}

}  // namespace rqat::pipeline
