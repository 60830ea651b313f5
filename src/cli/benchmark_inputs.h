// Sequences that benchmarks work on.
#pragma once

#include <vector>

#include "benchmarks.h"
#include "rqat/data/example.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::cli {

/// `count` sequences to learn from. Of the file `config.ids` (again from its beginning when it holds fewer) or with
/// `config.sequence_length`, which then all have: every token but the first counts. Else problems of the generators,
/// whose responses count. Throws DataError when a list of `config.ids` is empty or shorter than `sequence_length`.
std::vector<data::Example> benchmark_examples(const BenchmarkConfig& config, const pipeline::LoadedModel& loaded,
                                              int64_t count);

/// `config.batch_size` prompts, likewise; those of problems end where the answer begins.
std::vector<std::vector<int64_t>> benchmark_prompts(const BenchmarkConfig& config, const pipeline::LoadedModel& loaded);

}  // namespace rqat::cli
