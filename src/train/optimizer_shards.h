// ZeRO stage 1 (1910.02054): each rank keeps the masters and the optimizer's state of its share of the parameters.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "rqat/dist/communicator.h"
#include "rqat/model/causal_lm.h"
#include "rqat/optim/optimizer.h"

namespace rqat::train {

/// Of a quantised linear the other ranks have the integer codes only, made by the owner, so that all have the same
/// ones; of other weights what the forward reads. Scales, zero points and biases are small: their masters are on every
/// rank.
class OptimizerShards {
 public:
  /// `stage` 0: every rank owns every parameter. Linears and single parameters are dealt out by size, the same way on
  /// every rank; masters owned elsewhere are released.
  OptimizerShards(model::CausalLM& model, const nn::ParameterList& trained, int64_t stage, dist::Communicator& world);

  bool sharded() const { return sharded_; }
  /// All trained parameters, in order.
  std::vector<optim::Slot> all() const;
  /// Those whose masters this rank steps.
  std::vector<optim::Slot> own() const;
  /// One number for each of all(), from the numbers that every rank has for its own().
  std::vector<double> over_ranks(const std::vector<double>& of_own) const;
  /// After the own masters were changed: all ranks get what follows from them. A refresh of the model follows.
  void share();
  /// The tensors of all ranks by name, complete on the main rank alone, called by all.
  std::map<std::string, at::Tensor> gather(const std::map<std::string, at::Tensor>& own) const;
  /// Optimizer state without what belongs to parameters of other ranks ("m.<parameter>").
  std::map<std::string, at::Tensor> own_state(const std::map<std::string, at::Tensor>& whole) const;
  /// Ends the sharding on the main rank: it has the masters of all linears again. Called by all.
  void gather_masters();

 private:
  struct Shard {
    nn::Parameter* parameter = nullptr;
    nn::LinearBase* weight_of = nullptr;  ///< the linear whose weight it is
    int64_t unit = 0;                     ///< shards of one linear stay together
    int owner = 0;
    bool small = false;  ///< scale, zero point or bias of a linear
  };
  bool is_own(const Shard& shard) const { return !sharded_ || shard.owner == world_.rank(); }
  void deal(int64_t units);

  std::vector<Shard> shards_;
  bool sharded_;
  dist::Communicator& world_;
};

}  // namespace rqat::train
