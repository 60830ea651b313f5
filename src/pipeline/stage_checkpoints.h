// Saved states of a stage that is running: <stage>/checkpoints/<prefix>-N.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "rqat/io/checkpoint.h"
#include "rqat/pipeline/stage.h"

namespace rqat::pipeline {

std::filesystem::path checkpoint_folder(const std::filesystem::path& stage_folder);

class StageCheckpoints {
 public:
  /// Keeps the `total_limit` newest (0 = all). Does nothing in a run that cannot be continued.
  StageCheckpoints(StageRun& run, std::string prefix, int64_t total_limit);

  /// The newest one that can be read; one that cannot be is told and passed over.
  std::optional<io::Checkpoint> newest() const;
  /// Number `number`, when it is there and can be read.
  std::optional<io::Checkpoint> find(int64_t number) const;

  /// Copies the tensors and returns; they are written beside the computation. Throws what the save before failed with.
  void save(int64_t number, nlohmann::json state, const io::TensorMap& tensors);
  /// Throws what a save failed with, if one did.
  void check() { writer_.check(); }
  void wait() { writer_.wait(); }
  /// After a stop was asked for: waits for the save and throws Interrupted, "stage kd: stopped after step 3 of 100".
  [[noreturn]] void stop(const std::string& progress);

 private:
  std::optional<io::Checkpoint> read(const std::filesystem::path& path) const;
  StageRun& run_;
  std::string prefix_;
  io::CheckpointWriter writer_;
};

}  // namespace rqat::pipeline
