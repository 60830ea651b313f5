// The numbers of an evaluation as tables of text, for the terminal and for the page.
#pragma once

#include <string>
#include <vector>

#include "report_json.h"

namespace rqat::pipeline::report {

/// The first column is aligned left, all others right.
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// One task set: model | accuracy of each family % | all with 95 % interval | KL | perplexity | tokens | cut | size |
/// bits per weight. Columns that no model has are left out; a cell that a model lacks is "-".
struct TaskTable {
  std::string task_set;
  int64_t problems = 0;
  Table table;
};

/// A table per task set of results.json, in its order.
std::vector<TaskTable> task_tables(const json& results);

/// Names of the task sets: as listed, else those that the models have.
std::vector<std::string> task_sets(const json& results);

/// "+31.2" from 0.312.
std::string signed_points(double share);
/// "12.5 MiB", "1.2 GiB".
std::string size_text(double bytes);

/// Columns aligned by spaces, long headers in several lines, a rule below them; each line is indented by two.
std::string aligned(const Table& table);

}  // namespace rqat::pipeline::report
