// Finished blocks of an initialiser that works block by block, as checkpoints block-1, block-2 ... of its stage.
#pragma once

#include <vector>

#include "rqat/ptq/initializer.h"
#include "stage_checkpoints.h"

namespace rqat::pipeline {

class BlockCheckpoints : public ptq::BlockStore {
 public:
  explicit BlockCheckpoints(StageRun& run) : run_(run), checkpoints_(run, "block", 0) {}
  bool restore(int64_t block, const std::vector<nn::LinearBase*>& layers,
               std::vector<ptq::LayerReport>& reports) override;
  /// Throws Interrupted after saving when a stop was asked for.
  void save(int64_t block, const std::vector<nn::LinearBase*>& layers,
            const std::vector<ptq::LayerReport>& reports) override;
  void wait() { checkpoints_.wait(); }

 private:
  StageRun& run_;
  StageCheckpoints checkpoints_;
};

nlohmann::json to_json(const std::vector<ptq::LayerReport>& reports);

}  // namespace rqat::pipeline
