// What this machine can do at best, to set other figures against.
#pragma once

#include <ATen/core/Tensor.h>

#include "benchmarks.h"

namespace rqat::cli {

/// Measured in turns: bf16 products by at::mm of 2048^3 and of 1024 tokens through a linear of SmolLM2-135M (576 to
/// 1536 features), in GFLOP, and reading 1 GiB that no cache holds, in GB.
BenchmarkResult machine_speed(int64_t repeats, at::Device device);

}  // namespace rqat::cli
