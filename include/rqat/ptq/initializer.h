// Post-training quantisation: finds scales, zero points and starting masters of all quantised layers of a model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/model/causal_lm.h"
#include "rqat/nn/batch.h"

namespace rqat::ptq {

/// Calibration sequences as token batches (each a few thousand tokens at most), on the model's device.
using Calibration = std::vector<nn::TokenBatch>;

/// What happened to one layer.
struct LayerReport {
  std::string layer, format;
  double error = 0;       ///< relative output error ||(W_hat - W) X||^2 / ||W X||^2 on calibration inputs; without
                          ///< calibration, of the weight
  double rtn_error = 0;   ///< the same for round-to-nearest
  bool fallback = false;  ///< RTN was taken instead
  std::string note;       ///< "damping 0.04", "3 dead columns", why a fallback
  double seconds = 0;
};

/// (layers done, layers in all, what is shown beside the bar).
using Progress = std::function<void(int64_t, int64_t, const std::string&)>;

class Initializer {
 public:
  virtual ~Initializer() = default;
  virtual bool needs_calibration() const { return false; }
  /// `model` is built with quantised linears holding float masters. Afterwards each has its parameters and
  /// master = W_hat (so that step 0 of QAT has exactly these codes). `progress(done, total, status)` may be empty.
  /// Throws DataError when calibration is needed and empty, or a layer holds codes without a float weight.
  virtual std::vector<LayerReport> initialize(model::CausalLM& model, const Calibration& calibration,
                                              const Progress& progress) const = 0;
};

/// Registry kind "initializers": rtn, gptq.
const base::Registry<Initializer>& initializers();

}  // namespace rqat::ptq
