// ZeRO stage 1 (1910.02054): each rank keeps the optimizer's state of its share of the parameters.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "rqat/dist/communicator.h"
#include "rqat/optim/optimizer.h"

namespace rqat::train {

class OptimizerShards {
 public:
  /// `stage` 0: every rank owns every slot. Slots are dealt out by size, the same way on every rank.
  OptimizerShards(std::vector<optim::Slot> slots, int64_t stage, dist::Communicator& world);

  /// The slots whose state this rank keeps and whose masters it steps.
  std::vector<optim::Slot> own() const;
  /// After a step of the own slots: every master as its owner has it.
  void share_masters();
  /// The state of all slots from each rank's part; complete on the main rank alone, called by all.
  std::map<std::string, at::Tensor> whole_state(const std::map<std::string, at::Tensor>& own) const;
  /// The part of a whole state that belongs to the own slots, and what belongs to no slot ("step").
  std::map<std::string, at::Tensor> own_state(const std::map<std::string, at::Tensor>& whole) const;

 private:
  bool sharded() const { return !owner_.empty(); }
  std::vector<optim::Slot> slots_;
  std::vector<int> owner_;  ///< by slot; empty = all ranks own all
  dist::Communicator& world_;
};

}  // namespace rqat::train
