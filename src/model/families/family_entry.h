// What each file of this folder returns, and what they share.
#pragma once

#include <memory>
#include <string>

#include "rqat/model/causal_lm.h"

namespace rqat::model {

using FamilyEntry = base::Entry<Family>;

template <class FamilyT>
FamilyEntry family_entry(std::string model_type, std::string help, std::string paper) {
  return base::make_entry<FamilyEntry, base::NoConfig>(
      std::move(model_type), std::move(help), std::move(paper),
      [](const base::NoConfig&) { return std::make_unique<FamilyT>(); });
}

/// A pre-norm decoder with SwiGLU or GeGLU as hidden_act says, one rope, full attention, no biases.
DecoderOptions plain_options(const ModelConfig& config);

/// Gives layers the window and, where config.local_rope is there, ropes[1]: those that layer_types names, or, when that
/// is empty, those for which `usual(layer)`.
void set_windows(const ModelConfig& config, bool (*usual)(const ModelConfig&, int64_t layer), DecoderOptions& options);

}  // namespace rqat::model
