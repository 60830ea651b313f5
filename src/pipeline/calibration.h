// Inputs for initializers that look at activations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rqat/data/dataset.h"
#include "rqat/nn/batch.h"

namespace rqat::pipeline {

struct CalibrationConfig : base::Config {
  std::string data;  ///< name of a `data:` entry; "" = none
  int64_t num_samples = 128;
  int64_t sequence_length = 0;  ///< 0 = samples are examples; else windows of so many tokens
  int64_t max_tokens_per_batch = 4096;
  void fields(base::FieldVisitor& v) override;
};

/// `num_samples` token sequences.
///  - sequence_length 0: the first examples of the data that its `too_long` does not drop. Where the data holds fewer,
///  all
///    of them, with a warning that names the numbers.
///  - else: windows at random places (they may overlap) of all examples laid end to end, each followed by "\n\n": what
///    QRM (arXiv 2504.04823) calibrates on. Drawn from `seed`.
/// Throws DataError when the data is shorter than one window, and what load_records and encode_examples throw.
std::vector<std::vector<int64_t>> calibration_samples(const CalibrationConfig& config, const data::DataConfig& data,
                                                      const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                                      int64_t seed);

/// The samples in batches of at most `max_tokens_per_batch` tokens (a longer sample is a batch of its own).
std::vector<nn::TokenBatch> calibration_batches(const std::vector<std::vector<int64_t>>& samples,
                                                int64_t max_tokens_per_batch, at::Device device);

}  // namespace rqat::pipeline
