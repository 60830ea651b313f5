// Frame of the page: header, export, stages, shared pieces.
#include <cmath>
#include <ctime>

#include "report_sections.h"
#include "report_svg.h"
#include "report_table.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline::report {

namespace {

using base::cat;
using base::format_fixed;

/// Lets long names break at underscores and slashes, and keeps "[low, high]" in one piece.
std::string breakable(const std::string& text) {
  const std::string names = base::replace_all(base::replace_all(escape(text), "/", "/<wbr>"), "_", "_<wbr>");
  return base::replace_all(names, ", ", ",&nbsp;");
}

std::string codes_text(const json& report) {
  const auto compared = number(report, "codes_compared"), different = number(report, "codes_different");
  if (!compared) return "-";
  if (!flag(report, "codes_equal"))
    return cat(short_number(different.value_or(0)), " of ", short_number(*compared), " DIFFER");
  return *compared == 0 ? "none stored" : cat("all ", short_number(*compared), " equal");
}

std::string export_of(const StageView& stage) {
  std::vector<std::vector<std::string>> rows;
  std::string commands;
  for (const auto& [format, report] : stage.export_report.items()) {
    const auto bytes = number(report, "total_bytes"), logits = number(report, "max_logit_difference");
    const json& layers = child(report, "layers");
    rows.push_back({format, bytes ? size_text(*bytes) : "-", layers.is_array() ? cat(layers.size()) : "-",
                    codes_text(report), logits ? short_number(*logits) : "-"});
    const std::string command = text(report, "serve_command");
    if (!command.empty())
      commands += cat("<p class=\"remark\">Serve ", escape(format), ":</p>\n<pre>", escape(command), "</pre>\n");
    for (const json& note : child(report, "notes")) {
      if (note.is_string())
        commands += cat("<p class=\"remark\">", escape(format), ": ", escape(note.get<std::string>()), "</p>\n");
    }
  }
  return cat("<h3>", escape(stage.id), "</h3>\n",
             table_html({"format", "size", "layers", "codes read back", "largest logit difference"}, rows, "numbers"),
             commands);
}

/// An evaluation measures models as they appear, so most of its time lies before the stage itself.
std::optional<double> seconds_of(const StageView& stage) {
  double measuring = 0;
  for (const json& row : child(stage.results, "models")) measuring += number(row, "seconds").value_or(0);
  const auto seconds = number(stage.stamp, "seconds");
  return seconds ? std::max(*seconds, measuring) : seconds;
}

double total_seconds(const RunView& run) {
  double total = 0;
  for (const StageView& stage : run.stages) total += seconds_of(stage).value_or(0);
  return total;
}

std::string stage_row(const StageView& stage, double longest) {
  const auto seconds = seconds_of(stage);
  std::string html =
      cat("<tr><td>", escape(stage.id), "</td><td>", escape(stage.type), "</td><td>", escape(stage.state), "</td><td>");
  if (seconds) html += duration_text(*seconds);
  html += "</td><td class=\"wide\">";
  if (seconds && longest > 0)
    html += cat("<div class=\"time\" style=\"width:", format_fixed(100 * *seconds / longest, 1), "%\"></div>");
  html += "</td></tr>\n";
  return html;
}

std::string stage_settings(const StageView& stage) {
  const std::string settings = text(stage.stamp, "settings");
  if (settings.empty()) return "";
  std::string html = cat("<pre>", escape(settings), "</pre>\n");
  const json& summary = child(stage.stamp, "summary");
  if (summary.is_object() && !summary.empty()) {
    html += cat("<p class=\"remark\">Summary</p>\n<pre>",
                escape(summary.dump(2, ' ', false, json::error_handler_t::replace)), "</pre>\n");
  }
  return details(cat("Settings of ", stage.id), html);
}

}  // namespace

std::string figure(const std::string& title, const std::string& remark, const std::string& svg) {
  return cat("<figure><figcaption><b>", escape(title), "</b>",
             remark.empty() ? "" : cat(" <span class=\"remark\">", escape(remark), "</span>"), "</figcaption>\n", svg,
             "</figure>\n");
}

std::string legend(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string html = "<p class=\"legend\">";
  for (const auto& [mark, name] : entries) html += cat("<span><i class=\"", mark, "\"></i>", escape(name), "</span>");
  return html + "</p>\n";
}

std::string table_html(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                       const std::string& style) {
  std::string html = cat("<div class=\"scroll\"><table class=\"", style, "\">\n<thead><tr>");
  for (const std::string& cell : header) html += cat("<th>", breakable(cell), "</th>");
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (const std::string& cell : row) html += cat("<td>", escape(cell), "</td>");
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string details(const std::string& summary, const std::string& html) {
  return cat("<details><summary>", escape(summary), "</summary>\n", html, "</details>\n");
}

std::string duration_text(double seconds) {
  if (seconds < 60) return cat(format_fixed(seconds, seconds < 10 ? 1 : 0), " s");
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return cat(whole / 60, " min ", whole % 60, " s");
  return cat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string date_text(double unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return "";
  char buffer[64];
  return std::string(buffer, std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M UTC", &parts));
}

std::string header_section(const RunView& run) {
  std::vector<std::string> facts;
  if (const auto started = number(run.run, "started")) facts.push_back(date_text(*started));
  if (const double total = total_seconds(run); total > 0)
    facts.push_back(cat(duration_text(total), " in ", run.stages.size(), " stages"));
  if (const std::string device = text(run.run, "device"); !device.empty())
    facts.push_back(cat("device ", escape(device)));
  if (const auto seed = number(run.run, "seed")) facts.push_back(cat("seed ", format_fixed(*seed, 0)));
  if (const std::string version = text(run.run, "version"); !version.empty())
    facts.push_back(cat("rqat ", escape(version)));
  std::string html =
      cat("<header>\n<h1>", escape(run.name), "</h1>\n<p class=\"remark\">", base::join(facts, " &middot; "), "</p>\n");
  if (!flag(run.run, "finished"))
    html += "<p class=\"notice\">This run is not finished; the page shows what there is so far.</p>\n";
  for (const std::string& fault : run.faults)
    html += cat("<p class=\"notice\">Could not be read: ", escape(fault), "</p>\n");
  return html + "</header>\n";
}

std::string export_section(const RunView& run) {
  std::string html;
  for (const StageView& stage : run.stages) {
    if (stage.export_report.is_object()) html += export_of(stage);
  }
  if (html.empty()) return "";
  return cat(
      "<section>\n<h2>Exported files</h2>\n<p class=\"remark\">Each folder was read back by a reader of its own: codes "
      "compared one by "
      "one, logits relative to the largest logit (fp32).</p>\n",
      html, "</section>\n");
}

std::string stages_section(const RunView& run) {
  double longest = 0;
  for (const StageView& stage : run.stages) longest = std::max(longest, seconds_of(stage).value_or(0));
  std::string html =
      "<section>\n<h2>Stages</h2>\n<div class=\"scroll\"><table "
      "class=\"stages\">\n<thead><tr><th>stage</th><th>type</th>"
      "<th>state</th><th>time</th><th></th></tr></thead>\n<tbody>\n";
  for (const StageView& stage : run.stages) html += stage_row(stage, longest);
  html += "</tbody></table></div>\n";
  for (const StageView& stage : run.stages) html += stage_settings(stage);
  if (!run.recipe.empty()) html += details("The whole recipe, resolved", cat("<pre>", escape(run.recipe), "</pre>\n"));
  return html + "</section>\n";
}

}  // namespace rqat::pipeline::report
