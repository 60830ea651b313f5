// Small random models that run everywhere, for debug recipes and tests.
#pragma once

#include <string>

#include "rqat/base/fields.h"

namespace rqat::cli {

struct TinyModelConfig : base::Config {
  std::string out, family = "llama", dtype = "bfloat16";
  int64_t hidden_size = 64, intermediate_size = 128, num_layers = 2, num_heads = 4, num_key_value_heads = 2;
  int64_t max_length = 2048, seed = 1;
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override;
  std::vector<std::string> check() const override;
};

/// Writes the whole folder at `out`: weights N(0, 0.02^2) as usual at the start of training, embeddings tied (but for
/// OLMo), 256 byte tokens and
/// <|im_start|>, <|im_end|>, <|endoftext|>.
void write_tiny_model(const TinyModelConfig& config);

}  // namespace rqat::cli
