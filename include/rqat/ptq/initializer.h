// Post-training quantisation: finds scales, zero points and starting masters of all quantised layers of a model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/dist/communicator.h"
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

/// Keeps the finished blocks of an initialisation, so that one that was interrupted goes on behind them.
class BlockStore {
 public:
  virtual ~BlockStore() = default;
  /// Puts back the state of the layers of `block` (from 0) and appends its reports; false when it was not saved.
  virtual bool restore(int64_t block, const std::vector<nn::LinearBase*>& layers,
                       std::vector<LayerReport>& reports) = 0;
  /// `reports`: of this block alone. May throw Interrupted.
  virtual void save(int64_t block, const std::vector<nn::LinearBase*>& layers,
                    const std::vector<LayerReport>& reports) = 0;
};

class Initializer {
 public:
  virtual ~Initializer() = default;
  virtual bool needs_calibration() const { return false; }
  /// Whether layers of several groups get an input order (QuantFormat::act_order), which few file formats can say.
  virtual bool gives_act_order() const { return false; }
  /// `model` is built with quantised linears holding float masters. Afterwards each has its parameters and
  /// master = W_hat (so that step 0 of QAT has exactly these codes). `progress(done, total, status)` may be empty.
  /// Throws DataError when calibration is needed and empty, or a layer holds codes without a float weight.
  virtual std::vector<LayerReport> initialize(model::CausalLM& model, const Calibration& calibration,
                                              const Progress& progress) const = 0;
  /// For initialisers that work block by block; the others start again from the beginning. Null = none; must outlive
  /// initialize().
  void set_block_store(BlockStore* store) { block_store_ = store; }
  /// The ranks that share the work: each solves some of the layers and takes over the others, so that all have the same
  /// codes; each gets the whole calibration set and walks a part of it. Must outlive initialize().
  void set_world(dist::Communicator& world) { world_ = &world; }

 protected:
  dist::Communicator* world_ = &dist::solo();
  BlockStore* block_store_ = nullptr;
};

/// Registry kind "initializers": rtn, gptq.
const base::Registry<Initializer>& initializers();

}  // namespace rqat::ptq
