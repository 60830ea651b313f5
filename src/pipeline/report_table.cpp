#include "report_table.h"

#include <algorithm>
#include <set>

#include "report_svg.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline::report {

namespace {

using base::cat;
using base::format_fixed;

/// Characters as shown, for UTF-8 text of single-width characters.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string cell_text(const std::optional<double>& value, int digits, double factor = 1) {
  return value ? format_fixed(factor * *value, digits) : "-";
}

std::string accuracy_text(const json& proportion) {
  const auto value = number(proportion, "value"), low = number(proportion, "low"), high = number(proportion, "high");
  if (!value) return "-";
  std::string result = format_fixed(100 * *value, 1);
  if (low && high) result += cat(" [", format_fixed(100 * *low, 1), ", ", format_fixed(100 * *high, 1), "]");
  return result;
}

std::set<std::string> families_of(const json& results, const std::string& task_set) {
  std::set<std::string> names;
  for (const json& row : child(results, "models")) {
    const json& families = child(child(child(row, "tasks"), task_set), "by_family");
    if (!families.is_object()) continue;
    for (const auto& [name, _] : families.items()) names.insert(name);
  }
  return names;
}

std::vector<std::string> row_of(const json& row, const std::string& task_set, const std::set<std::string>& families) {
  const json& task = child(child(row, "tasks"), task_set);
  const auto bytes = number(row, "size_bytes");
  std::vector<std::string> cells{text(row, "model", "?")};
  for (const std::string& family : families) {
    cells.push_back(cell_text(number(child(child(task, "by_family"), family), "value"), 1, 100));
  }
  cells.push_back(accuracy_text(child(task, "overall")));
  cells.push_back(cell_text(number(task, "kl_to_teacher"), 4));
  const auto perplexity = number(task, "perplexity");
  cells.push_back(perplexity.value_or(0) < 1000 ? cell_text(perplexity, 3) : short_number(*perplexity));
  cells.push_back(cell_text(number(task, "mean_response_tokens"), 1));
  cells.push_back(cell_text(number(task, "cut_share"), 1, 100));
  cells.push_back(bytes ? size_text(*bytes) : "-");
  cells.push_back(cell_text(number(row, "bits_per_weight"), 2));
  return cells;
}

void drop_empty_columns(Table& table) {
  for (size_t column = table.header.size(); column-- > 1;) {
    const bool empty =
        std::all_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row[column] == "-"; });
    if (!empty) continue;
    const auto offset = static_cast<std::ptrdiff_t>(column);
    table.header.erase(table.header.begin() + offset);
    for (auto& row : table.rows) row.erase(row.begin() + offset);
  }
}

int64_t problems_of(const json& results, const std::string& task_set) {
  double most = 0;
  for (const json& row : child(results, "models")) {
    most = std::max(most, number(child(child(child(row, "tasks"), task_set), "overall"), "total").value_or(0));
  }
  return static_cast<int64_t>(most);
}

std::string padded(const std::string& text, size_t size, bool left) {
  const std::string space(size - std::min(size, width(text)), ' ');
  return left ? text + space : space + text;
}

/// Lines of at most `limit` characters where the text has spaces, underscores or slashes to break at.
std::vector<std::string> wrapped(const std::string& text, size_t limit) {
  std::vector<std::string> lines{""};
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = text.find_first_of(" _/", begin);
    end = end == std::string::npos ? text.size() : end + 1;
    const std::string piece = text.substr(begin, end - begin);
    if (!lines.back().empty() && width(base::trim(lines.back() + piece)) > limit) lines.emplace_back();
    lines.back() += piece;
  }
  for (std::string& line : lines) line = base::trim(line);
  return lines;
}

}  // namespace

std::string signed_points(double share) {
  const std::string text = format_fixed(100 * share, 1);
  if (text == "-0.0") return "+0.0";
  return share < 0 ? text : "+" + text;
}

std::string size_text(double bytes) { return base::format_bytes(static_cast<int64_t>(bytes)); }

std::vector<std::string> task_sets(const json& results) {
  std::vector<std::string> names = texts(results, "task_sets");
  if (!names.empty()) return names;
  std::set<std::string> found;
  for (const json& row : child(results, "models")) {
    const json& tasks = child(row, "tasks");
    if (!tasks.is_object()) continue;
    for (const auto& [name, _] : tasks.items()) found.insert(name);
  }
  return {found.begin(), found.end()};
}

std::vector<TaskTable> task_tables(const json& results) {
  std::vector<TaskTable> tables;
  for (const std::string& task_set : task_sets(results)) {
    const std::set<std::string> families = families_of(results, task_set);
    Table table;
    table.header.emplace_back("model");
    table.header.insert(table.header.end(), families.begin(), families.end());
    const std::string teacher = text(results, "teacher");
    for (const std::string& name :
         {std::string("all % [low, high]"), teacher.empty() ? "KL" : cat("KL to ", teacher), std::string("perplexity"),
          std::string("tokens"), std::string("cut %"), std::string("size"), std::string("bits/weight")}) {
      table.header.push_back(name);
    }
    for (const json& row : child(results, "models")) table.rows.push_back(row_of(row, task_set, families));
    drop_empty_columns(table);
    tables.push_back({task_set, problems_of(results, task_set), std::move(table)});
  }
  return tables;
}

std::string aligned(const Table& table) {
  std::vector<size_t> widths;
  std::vector<std::vector<std::string>> headers;
  size_t height = 0;
  for (size_t column = 0; column < table.header.size(); ++column) {
    size_t widest = 0;
    for (const auto& row : table.rows) widest = std::max(widest, width(row[column]));
    headers.push_back(wrapped(table.header[column], std::max<size_t>(8, widest)));
    for (const std::string& piece : headers.back()) widest = std::max(widest, width(piece));
    widths.push_back(widest);
    height = std::max(height, headers.back().size());
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string result;
    for (size_t i = 0; i < cells.size(); ++i) result += "  " + padded(cells[i], widths[i], i == 0);
    return result.substr(0, result.find_last_not_of(' ') + 1) + "\n";
  };
  std::vector<std::string> rule;
  rule.reserve(widths.size());
  for (const size_t size : widths) rule.emplace_back(size, '-');
  std::string result;
  for (size_t level = height; level > 0; --level) {  // headers stand on the rule
    std::vector<std::string> cells;
    cells.reserve(headers.size());
    for (const auto& pieces : headers) cells.push_back(level <= pieces.size() ? pieces[pieces.size() - level] : "");
    result += line(cells);
  }
  result += line(rule);
  for (const auto& row : table.rows) result += line(row);
  return result;
}

}  // namespace rqat::pipeline::report
