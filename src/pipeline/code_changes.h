// How far training moves the integer codes of a quantised model.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "rqat/model/causal_lm.h"
#include "rqat/train/trainer.h"

namespace rqat::pipeline {

/// Adds `codes_flipped` to the metrics of a loop: the share of codes that the step changed. Counted in all quantised
/// linears of a small model, in every 13th of a large one (a pass over all codes would cost a tenth of a step). A model
/// without codes has no such metric.
class FlipCounter {
 public:
  /// To be made before the loop, and kept until its end.
  explicit FlipCounter(model::CausalLM& model);
  /// The same callbacks, whose rows of metrics are told with the count.
  train::Callbacks added_to(const train::Callbacks& callbacks) const;

 private:
  std::vector<nn::LinearBase*> counted_;
  int64_t weights_ = 0;  ///< of the counted linears
};

/// Share of the model's codes that differ from those stored in `folder`; nothing for a model without codes. Throws
/// IoError when the folder's state does not fit the model.
std::optional<double> changed_codes(model::CausalLM& model, const std::filesystem::path& folder);

}  // namespace rqat::pipeline
