// The work that `rqat bench` times.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/quant/format.h"

namespace rqat::cli {

struct BenchmarkConfig : base::Config {
  std::string name, model, device = "auto";
  int64_t repeats = 5, batch_size = 16, max_new_tokens = 64;
  quant::QuantFormat format;
  BenchmarkConfig();
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override { return format.check(); }
};

struct BenchmarkResult {
  std::string what;             ///< the size of one repeat, in words
  std::vector<double> seconds;  ///< of each repeat; a first one that warms up is not among them
  double tokens = 0;            ///< of one repeat, on average; 0 = does not apply
};

/// `config.model` must be a full-precision model folder. Throws ConfigError when it is quantised.
BenchmarkResult run_benchmark(const BenchmarkConfig& config);

}  // namespace rqat::cli
