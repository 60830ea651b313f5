// Short measurements on models of one and two blocks with random weights: how long a stage will take.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "rqat/base/scratch.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/stage.h"

namespace rqat::pipeline {

/// Work of a stage and its expected time.
struct StageWork {
  double tokens = 0;   ///< trained, sampled (as expected) or calibrated on; 0 = not known
  double seconds = 0;  ///< 0 = not measured
  std::string what;    ///< "100 steps x 16 examples", "at most 480 x 80 tokens for each of 6 models"
};

class Probe {
 public:
  /// Keeps its small models in a folder for temporary files while it lives.
  explicit Probe(const Recipe& recipe);
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  /// Empty `what` when the models' files are not there.
  StageWork measure(const StageEntry& entry);

 private:
  struct Source;
  const Source& source_of(const std::string& model);
  std::filesystem::path small_model(const Source& source, int64_t blocks);
  const quant::QuantPolicy* policy_of(const std::string& model) const;
  StageWork train(const StageEntry& entry);
  StageWork quantize(const StageEntry& entry);
  StageWork reinforce(const StageEntry& entry);
  StageWork evaluate(const StageEntry& entry);
  StageWork synthesize(const StageEntry& entry);
  /// Mean tokens of a whole example.
  double example_tokens(const StageEntry& entry, const std::string& data);
  /// A data entry; for one that a stage will write, the problems it will answer.
  const data::DataConfig& data_of(const std::string& name) const;
  double step_seconds(const StageEntry& entry, const base::Node& settings, const std::string& objective,
                      const std::string& companion, double tokens_per_step);
  /// Mean tokens of prompts and responses among the first examples of a data entry; response 0 = they have none.
  struct Lengths {
    double prompt = 0, response = 0;
    /// Of an answer in the manner of the data, within a limit.
    double answer(double limit) const { return response > 0 ? std::min(response, limit) : limit; }
  };
  Lengths lengths_of(const std::string& model, const std::string& data);
  double forward_tokens_per_second(const std::string& model);
  double sampled_tokens_per_second(const std::string& model, const std::string& data, int64_t sequences);

  const Recipe& recipe_;
  const base::ScratchFolder scratch_{"probe"};
  std::map<std::string, Source> sources_;
  std::map<std::string, double> sampling_;  ///< tokens per second by model and number of sequences
  std::map<std::string, double> forward_;   ///< tokens per second by model
};

}  // namespace rqat::pipeline
