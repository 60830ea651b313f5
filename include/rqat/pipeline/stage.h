// One step of a recipe: reads models and data, writes a folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

/// What a stage refers to by name.
struct Uses {
  std::vector<std::string> models;  ///< ids of `models:` entries or of stages that make a model
  std::vector<std::string> data, quant;
};

/// What the runner gives a running stage.
struct StageRun {
  const Recipe& recipe;
  std::string id;
  std::filesystem::path folder;  ///< exists, empty at the start
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

  const data::DataConfig& data(const std::string& name) const { return recipe.data.at(name); }
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual Uses uses() const = 0;
  /// "model", "table" or "files".
  virtual std::string makes() const = 0;
  /// Faults beyond single fields, found without loading weights. `id` = the stage's.
  virtual std::vector<std::string> check(const Recipe& recipe) const {
    (void)recipe;
    return {};
  }
  virtual void run(StageRun& run) = 0;
  /// Called as soon as a model this stage uses exists: an evaluation can run at once instead of at the end.
  virtual void model_ready(StageRun& run, const std::string& model) {
    (void)run;
    (void)model;
  }
};

/// Registry kind "stages": train, quantize, reinforce, evaluate, export.
const base::Registry<Stage>& stages();

}  // namespace rqat::pipeline
