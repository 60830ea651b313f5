// Files for serving engines, carrying the very codes that were trained.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/model/causal_lm.h"

namespace rqat::exporting {

struct ExportReport {
  struct Layer {
    std::string name, format, stored_as;
    int64_t bytes = 0;
  };
  std::vector<Layer> layers;       ///< one per linear; `stored_as` "float" for those kept in float by the policy
  int64_t total_bytes = 0;         ///< of all files of the folder
  std::string serve_command;       ///< e.g. "vllm serve DIR --max-model-len 4096"
  std::vector<std::string> notes;  ///< what the engine needs for these files
};

/// Result of reading an exported folder back.
struct RoundTrip {
  bool codes_equal = false;
  int64_t codes_compared = 0, codes_different = 0;
  /// Scales and zero points, for formats that store them.
  int64_t parameters_compared = 0, parameters_different = 0;
  double max_logit_difference = 0;  ///< relative to the largest logit, fp32
  /// Codes, scales and zero points are equal and logits agree within `tolerance`.
  bool passed(double tolerance = 1e-4) const;
  std::string text() const;
};

class Exporter {
 public:
  virtual ~Exporter() = default;
  /// Why this model cannot be written in this format, one message per reason; empty = it can. Works on a meta model
  /// too.
  virtual std::vector<std::string> check(const std::vector<nn::LinearBase*>& linears) const = 0;
  /// Writes the folder (atomically); config, generation config, tokenizer and template are taken from `source`. An
  /// older export at `folder` is replaced. Throws ConfigError with what check() says; IoError when `folder` is
  /// `source`, or holds something else than a model; DataError when a layer that `source` says is quantized is float in
  /// `model`, has no quantisation parameters, or has a zero point off the middle in a symmetric format.
  virtual ExportReport write(model::CausalLM& model, const std::filesystem::path& source,
                             const std::filesystem::path& folder) const = 0;
  /// Reads the folder with this format's own reader (not through the trained objects) and compares codes and fp32
  /// logits on `probe` ids (one or more token lists, none empty) with the model. Throws IoError when the folder lacks a
  /// tensor, or one has another shape or dtype than the format says; DataError on a bad probe or on NaN.
  virtual RoundTrip verify(model::CausalLM& model, const std::filesystem::path& source,
                           const std::filesystem::path& folder,
                           const std::vector<std::vector<int64_t>>& probe) const = 0;
};

/// Registry kind "exporters": compressed_tensors, hf_dequantized.
const base::Registry<Exporter>& exporters();

}  // namespace rqat::exporting
