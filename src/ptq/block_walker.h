// Calibration sequences on their way through a model, one block after another.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "rqat/model/causal_lm.h"
#include "rqat/ptq/initializer.h"

namespace rqat::ptq {

/// Linears of one block that read the same tensor, e.g. {q, k, v}.
using InputGroup = std::vector<nn::LinearBase*>;

class BlockWalker {
 public:
  /// Starts at block 0. Throws DataError when `calibration` is empty. Both arguments must outlive the walker.
  /// With several ranks in `world` each walks a share of the sequences.
  BlockWalker(model::CausalLM& model, const Calibration& calibration, dist::Communicator& world = dist::solo());

  int64_t block() const { return block_; }
  /// The present block's linears by their inputs: groups as the forward reaches them, members as in block_linears().
  std::vector<InputGroup> input_groups();
  /// H = 2/n sum x x^T, fp32 [K, K], over the n calibration inputs x of each layer, with the block's weights as they
  /// are now; the identity for a layer that saw none, an expert that no token was sent to. The forward ends when all
  /// layers have been met.
  std::vector<at::Tensor> hessians(const std::vector<nn::LinearBase*>& layers);
  /// Takes the hidden states through the present block to the next one.
  void advance();

 private:
  /// Sums over ranks in place.
  void add_over_ranks(std::vector<at::Tensor>& sums, std::vector<double>& rows) const;
  at::Tensor forward(size_t batch) { return model_.forward_block(block_, hidden_[batch], contexts_[batch]); }

  model::CausalLM& model_;
  dist::Communicator& world_;
  std::vector<model::ForwardContext> contexts_;
  std::vector<at::Tensor> hidden_;  // [T, D] at the input of block_
  int64_t block_ = 0;
};

}  // namespace rqat::ptq
