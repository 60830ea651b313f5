// Every number that a run writes, with its unit: the page docs/reference/metrics.md and the check that none is left
// out.
#pragma once

#include <string>
#include <vector>

namespace rqat::pipeline {

struct MetricInfo {
  std::string name;
  std::string unit;     ///< "nats per token", "share", "seconds", "1" for plain numbers
  std::string better;   ///< "lower", "higher", "" where neither is better by itself
  std::string meaning;  ///< one sentence
};

/// Metrics of one kind of file.
struct MetricTable {
  std::string title;  ///< "Training steps"
  std::string where;  ///< the file they stand in
  std::vector<MetricInfo> metrics;
};

/// All tables, in the order of the page.
const std::vector<MetricTable>& metric_tables();

/// The metric `name` of a training or reinforcement step, nullptr when it is not in the tables.
const MetricInfo* find_step_metric(const std::string& name);

}  // namespace rqat::pipeline
