// Sums the accumulated gradients over the ranks, once per optimizer step, before the estimators see them.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "rqat/dist/communicator.h"
#include "rqat/model/causal_lm.h"

namespace rqat::train {

/// dL/dW_hat of every linear and the gradients of all other trained parameters travel in buckets of about 25 MB
/// (PyTorch DDP, 2006.15704), those of a block as soon as the last backward of the step has passed it.
class GradientSync {
 public:
  GradientSync(model::CausalLM& model, dist::Communicator& world);
  ~GradientSync();
  GradientSync(const GradientSync&) = delete;
  GradientSync& operator=(const GradientSync&) = delete;

  /// To be called before the forward of the step's last micro-batch: its backward starts the sums.
  void expect_last_backward();
  /// Starts what is left, and waits. Afterwards every buffer holds the sum over ranks, the same on all of them.
  void finish();

 private:
  struct Bucket {
    std::vector<at::Tensor> parts;
    at::Tensor flat;  ///< the parts end to end; the part itself when there is one
    dist::Pending sum;
  };
  void add_block(int64_t index);
  void add(const at::Tensor& gradient);
  void send();

  model::CausalLM& model_;
  dist::Communicator& world_;
  nn::ParameterList others_;  ///< trained, outside of linears
  int64_t next_block_ = 0;    ///< blocks are sent from the last to the first: the order of all ranks
  std::vector<at::Tensor> open_;
  int64_t open_bytes_ = 0;
  std::vector<Bucket> sent_;
};

}  // namespace rqat::train
