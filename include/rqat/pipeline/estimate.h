// What a stage will need, worked out from the recipe and the sizes of the models before anything loads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/model/model_config.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::pipeline {

/// A setting on which memory depends in proportion.
struct MemoryKnob {
  std::string key;  ///< below the stage: "max_tokens_per_micro_batch"
  int64_t value = 0;
  double bytes_per_unit = 0;
};

/// A setting that would need less memory.
struct MemorySaving {
  const char* setting;  ///< below the stage: "gradient_checkpointing=true"
  double bytes = 0;
};

struct StageEstimate {
  double fixed_bytes = 0;             ///< weights, masters, gradients, optimizer state, teacher, buffers
  std::vector<MemoryKnob> knobs;      ///< what grows with settings: activations, KV cache
  std::vector<MemorySaving> savings;  ///< not made use of
  double disk_bytes = 0;              ///< left when the stage has finished
  double checkpoint_bytes = 0;        ///< more while it runs
  double memory_bytes() const;
};

/// Sizes of the model that `id` (a `models:` entry or a stage) comes from. nullopt when its files are not there.
/// Throws IoError on a corrupt config.json or GGUF file.
std::optional<model::ModelConfig> source_config(const Recipe& recipe, const std::string& id);

/// nullopt when the model's files are not there. The estimate counts what the code holds: see the source for the sums.
std::optional<StageEstimate> estimate_stage(const Recipe& recipe, const StageEntry& entry);

/// Memory that this process may use: free memory of the machine, or what is left to its control group.
int64_t available_memory();

/// Memory ran out in a stage; the message names the setting to change and a value that fits.
class OutOfMemory : public base::Error {
 public:
  using Error::Error;
};

/// Whether this is a failed allocation: std::bad_alloc or one of LibTorch's messages for CPU or GPU memory.
bool is_out_of_memory(const std::exception& error);

/// "stage kd: out of memory (...); set stages.kd.max_tokens_per_micro_batch to 1024 (now 4096): ...".
std::string out_of_memory_text(const Recipe& recipe, const StageEntry& entry, const std::exception& error);

/// Whether the stage's estimate exceeds `available` bytes, and what to change; "" when it fits or is not known.
std::string memory_warning(const Recipe& recipe, const StageEntry& entry, int64_t available);

}  // namespace rqat::pipeline
