// One step of a recipe: reads models and data, writes a folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/dist/communicator.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

/// What a stage refers to by name.
struct Uses {
  std::vector<std::string> models;  ///< ids of `models:` entries or of stages that make a model
  std::vector<std::string> data;    ///< names of `data:` entries or of stages that write data
  std::vector<std::string> quant;
  std::string data_on_the_way =
      {};  ///< the one of `data` that is measured with alone; what comes out depends on no such
};

/// What the runner gives a running stage.
struct StageRun {
  const Recipe& recipe;
  std::string id;
  std::filesystem::path folder;  ///< exists; empty at the start, but for checkpoints of an interrupted run
  at::Device device;
  uint64_t seed;  ///< of this recipe; streams are named after stage and purpose
  /// Folder of a model by its id (an imported GGUF included).
  std::function<std::filesystem::path(const std::string&)> model_folder;
  /// Fingerprint of a model by its id: changes when anything that made it changes.
  std::function<std::string(const std::string&)> fingerprint;
  /// Whether the model exists yet.
  std::function<bool(const std::string&)> ready;
  /// Hash of the stage's own settings and of the `data:` and `quant:` entries it names, without its inputs.
  std::string settings_hash;
  /// Numbers and texts for stage.json and the report.
  nlohmann::json* summary;

  /// Whether the folder lasts beyond a run that ends early, so that its checkpoints can be gone on from. What the
  /// folder holds at the start belongs to the present settings and inputs.
  bool continuable = false;
  /// Ending of messages about an interrupted stage: "; go on with: ..."
  std::string how_to_go_on = "";
  /// The ranks that run this stage together. All but the main one write into a folder of their own that is thrown away.
  dist::Communicator* world = &dist::solo();
  std::filesystem::path shared_folder = folder;  ///< the main rank's `folder`
  bool is_main() const { return world->is_main(); }
  double seconds_before = 0;  ///< of work in interrupted runs of this stage, set when the stage goes on from them
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  /// Seconds of work on this stage so far.
  double seconds() const {
    return seconds_before + std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  }

  const data::DataConfig& data(const std::string& name) const { return recipe.data.at(name); }
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual Uses uses() const = 0;
  /// "model", "data", "table" or "files".
  virtual std::string makes() const = 0;
  /// How the data that a stage writes into `folder` is read.
  virtual data::DataConfig data_made(const Recipe& recipe, const std::filesystem::path& folder) const {
    (void)recipe;
    (void)folder;
    return {};
  }
  /// Faults beyond single fields, found without loading weights. `id` = the stage's.
  virtual std::vector<std::string> check(const Recipe& recipe) const {
    (void)recipe;
    return {};
  }
  /// Settings that decide what is saved and measured on the way, not what comes out: changing them keeps finished
  /// stages and checkpoints.
  virtual std::vector<std::string> settings_on_the_way() const { return {}; }
  /// Whether checkpoints stay when the stage has finished.
  virtual bool keeps_checkpoints() const { return false; }
  virtual void run(StageRun& run) = 0;
  /// Called as soon as a model this stage uses exists: an evaluation can run at once instead of at the end.
  virtual void model_ready(StageRun& run, const std::string& model) {
    (void)run;
    (void)model;
  }
};

/// Registry kind "stages": train, quantize, reinforce, synthesize, evaluate, export.
const base::Registry<Stage>& stages();

}  // namespace rqat::pipeline
