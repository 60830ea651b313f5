// The work that `rqat bench` times.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/quant/format.h"

namespace rqat::cli {

struct BenchmarkConfig : base::Config {
  std::string name, model, ids, device = "auto";
  int64_t repeats = 5, batch_size = 16, sequence_length = 0, max_tokens_per_micro_batch = 4096, max_new_tokens = 64;
  double temperature = 0;
  bool json = false, gradient_checkpointing = false;
  quant::QuantFormat format;
  base::Component estimator{"lsq"}, optimizer{"adamw"}, exporter{"compressed_tensors"};
  BenchmarkConfig();
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;
};

/// Repeats of one kind of work.
struct BenchmarkSeries {
  std::string name;
  std::vector<double> seconds;  ///< of each repeat; a first one that warms up is not among them
  double amount = 0;            ///< done in one repeat, on average
  std::string unit;             ///< of the amount: "tokens", "GFLOP", ...; "" = has none
};

struct BenchmarkResult {
  std::string what;                     ///< the size of one repeat, in words
  std::vector<BenchmarkSeries> series;  ///< several were measured in turns
  int64_t peak_bytes = 0;               ///< most memory that was resident during the work, the models' included
};

/// `config.model` must be a full-precision model folder (benchmark `machine` needs none). Throws ConfigError when it is
/// quantised, and what reading `config.ids` throws.
BenchmarkResult run_benchmark(const BenchmarkConfig& config);

/// By linear interpolation between the sorted values; `share` 0.5 is the median.
double quantile(std::vector<double> values, double share);

}  // namespace rqat::cli
