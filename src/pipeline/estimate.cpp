#include "rqat/pipeline/estimate.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>

#include "rqat/base/files.h"
#include "rqat/base/progress.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/objective/objective.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/stage.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/estimator.h"
#include "settings_view.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using base::Node;

constexpr double kFloat = 4;  ///< bytes of fp32

/// Numbers of weights, and widths.
struct Sizes {
  double linears = 0, tables = 0;  ///< tables: embedding, and the head where it is not tied
  double widest = 0;               ///< inputs of the widest linear
  double activations = 0;          ///< values kept per token for the backward pass
  double cached = 0;               ///< values per token in the KV cache
  double hidden = 0, vocabulary = 0, blocks = 0;
};

/// Kept of each block: input and middle of the residual stream; q, k, v, output of attention; gate and up. What norms
/// and the product of the last two give is made again.
Sizes sizes_of(const model::ModelConfig& c) {
  const auto hidden = static_cast<double>(c.hidden_size), inner = static_cast<double>(c.intermediate_size);
  const auto blocks = static_cast<double>(c.num_hidden_layers), head = static_cast<double>(c.head_dim);
  const double q = head * static_cast<double>(c.num_attention_heads);
  const double kv = head * static_cast<double>(c.num_key_value_heads);
  const model::DecoderOptions options = model::families().make(c.model_type)->options(c);
  const model::ExpertOptions& experts = options.experts;
  double held = 0, used = 0;  // widths of all MLPs, and of those that a token passes through
  for (const model::LayerOptions& layer : options.layers) {
    held += layer.experts ? static_cast<double>(experts.count * experts.intermediate_size) : inner;
    used += layer.experts ? static_cast<double>(experts.per_token * experts.intermediate_size) : inner;
  }
  Sizes sizes;
  sizes.linears = blocks * (2 * hidden * q + 2 * hidden * kv) + 3 * hidden * held;
  sizes.tables = static_cast<double>(c.vocab_size) * hidden * (c.tie_word_embeddings ? 1 : 2);
  sizes.widest = std::max({hidden, inner, q});
  sizes.activations = blocks * (2 * hidden + 2 * q + 2 * kv) + 2 * used;
  sizes.cached = blocks * 2 * kv;
  sizes.hidden = hidden;
  sizes.vocabulary = static_cast<double>(c.vocab_size);
  sizes.blocks = blocks;
  return sizes;
}

class Estimator {
 public:
  Estimator(const Recipe& recipe, const StageEntry& entry, const model::ModelConfig& config)
      : recipe_(recipe),
        settings_(base::write_config(*entry.config)),
        entry_(entry),
        uses_(entry.stage->uses()),
        sizes_(sizes_of(config)),
        bytes_(compute_bytes(uses_.models.front())) {}

  StageEstimate run() {
    if (entry_.type == "train") loop("teacher");
    if (entry_.type == "reinforce") reinforce();
    if (entry_.type == "quantize") quantize();
    if (entry_.type == "evaluate") evaluate();
    if (entry_.type == "synthesize") synthesize();
    if (entry_.type == "export") export_files();
    // Program, libraries, tokenizer, data; logits of one tile of rows and their gradient.
    estimate_.fixed_bytes += 300e6 + 2 * 32 * 1024 * 1024;
    return estimate_;
  }

 private:
  /// The number format on the way to a model, nullptr for a float one.
  const quant::QuantPolicy* policy_of(std::string id) const {
    while (const StageEntry* stage = recipe_.find_stage(id)) {
      const Uses uses = stage->stage->uses();
      if (!uses.quant.empty()) return &recipe_.quant.at(uses.quant.front());
      id = uses.models.front();
    }
    return nullptr;
  }

  double compute_bytes(std::string id) const {
    while (const StageEntry* stage = recipe_.find_stage(id)) id = stage->stage->uses().models.front();
    const auto source = recipe_.models.find(id);
    return source != recipe_.models.end() && source->second.dtype == "float32" ? 4 : 2;
  }

  /// Weights for a forward pass; embedding and head lie a second time in the layout of products.
  double weights() const { return bytes_ * (sizes_.linears + 2 * sizes_.tables); }

  double max_length(const std::string& data) const {
    const auto found = recipe_.data.find(data);
    return found == recipe_.data.end() ? 0 : static_cast<double>(found->second.max_length);
  }

  void add_knob(const char* key, double bytes_per_unit) {
    estimate_.knobs.push_back({key, static_cast<int64_t>(number_at(settings_, key, 0)), bytes_per_unit});
  }

  void add_saving(const char* setting, double bytes) { estimate_.savings.push_back({setting, bytes}); }

  /// A model folder: W_hat and tables, for quantized ones codes (one byte) and masters (where training moved them).
  double folder_bytes(bool quantized, bool masters) const {
    return bytes_ * (sizes_.linears + sizes_.tables) + (quantized ? sizes_.linears * (1 + (masters ? kFloat : 0)) : 0);
  }

  void loop(const char* companion) {
    const bool quantized = policy_of(uses_.models.front()) != nullptr;
    const double trained = (lists(settings_, "freeze", "weight") ? 0 : sizes_.linears) +
                           (lists(settings_, "freeze", "embedding") ? 0 : sizes_.tables);
    // fp32 masters and gradients, the two moments of Adam; quantized linears keep their master in any case.
    const bool in_8bit =
        at_path(settings_, "optimizer.adamw_8bit") != nullptr || text_at(settings_, "optimizer") == "adamw_8bit";
    const double moments = in_8bit ? 2 : 2 * kFloat;
    estimate_.fixed_bytes +=
        weights() + (2 * kFloat + moments) * trained + (quantized && trained == 0 ? kFloat * sizes_.linears : 0);
    if (!text_at(settings_, companion).empty()) estimate_.fixed_bytes += weights();
    // Computed again, a block holds its activations alone, beside the inputs of all.
    const bool again = text_at(settings_, "gradient_checkpointing") == "true";
    const double fewest = sizes_.blocks * sizes_.hidden + sizes_.activations / sizes_.blocks;
    add_knob("max_tokens_per_micro_batch", 1.15 * bytes_ * (again ? fewest : sizes_.activations));
    if (!again) {
      const double tokens = number_at(settings_, "max_tokens_per_micro_batch", 0);
      add_saving("gradient_checkpointing=true", tokens * 1.15 * bytes_ * (sizes_.activations - fewest));
    }
    if (!in_8bit) add_saving("optimizer=adamw_8bit", (2 * kFloat - 2) * trained);
    estimate_.disk_bytes += folder_bytes(quantized, true);
    const double saved = number_at(settings_, "save_total_limit", 0) + 1;
    if (number_at(settings_, "save_steps", 0) > 0) estimate_.checkpoint_bytes += saved * (kFloat + moments) * trained;
  }

  void reinforce() {
    loop("reference");
    if (const quant::QuantPolicy* policy = policy_of(uses_.models.front()))
      estimate_.fixed_bytes += sizes_.linears * static_cast<double>(policy->num_bits) / 8;
    const double length = max_length(text_at(settings_, "data")) + number_at(settings_, "max_completion_length", 0);
    add_knob("max_slots", bytes_ * sizes_.cached * length);
  }

  void quantize() {
    // fp32 masters beside W_hat; the largest Hessian and its two factors; inputs and outputs of one block.
    estimate_.fixed_bytes += weights() + kFloat * sizes_.linears;
    const std::string data = text_at(settings_, "calibration.data");
    if (!data.empty()) {
      estimate_.fixed_bytes += 3 * kFloat * sizes_.widest * sizes_.widest;
      add_knob("calibration.num_samples", 2 * bytes_ * sizes_.hidden * std::min(512.0, max_length(data)));
      add_knob("calibration.max_tokens_per_batch", 2 * bytes_ * sizes_.activations / sizes_.blocks);
    }
    estimate_.disk_bytes += folder_bytes(true, false);
  }

  void evaluate() {
    estimate_.fixed_bytes += weights() * (text_at(settings_, "teacher").empty() ? 1 : 2) + sizes_.linears;
    double length = 0;
    for (const std::string& name : uses_.data) length = std::max(length, max_length(name));
    add_knob("batch_size", bytes_ * sizes_.cached * (length + number_at(settings_, "sampling.max_new_tokens", 0)));
    estimate_.disk_bytes += 2e6 * static_cast<double>(uses_.models.size());
  }

  void synthesize() {
    estimate_.fixed_bytes += weights() + sizes_.linears;
    const double length = max_length(text_at(settings_, "data")) + number_at(settings_, "sampling.max_new_tokens", 0);
    add_knob("batch_size", bytes_ * sizes_.cached * length);
    estimate_.disk_bytes += 2e6;
  }

  void export_files() {
    estimate_.fixed_bytes += weights() + kFloat * sizes_.linears;
    const Node* formats = settings_.find("formats");
    const double count = formats != nullptr && formats->is_list() ? static_cast<double>(formats->items().size()) : 1;
    estimate_.disk_bytes += count * kFloat * (sizes_.linears + sizes_.tables);
  }

  const Recipe& recipe_;
  Node settings_;
  const StageEntry& entry_;
  Uses uses_;
  Sizes sizes_;
  double bytes_;
  StageEstimate estimate_;
};

double file_number(const char* path) {
  std::ifstream in(path);
  double number = 0;
  return in >> number ? number : -1;
}

std::string bytes_text(double bytes) { return base::format_bytes(static_cast<int64_t>(bytes)); }

/// "; or set stages.kd.gradient_checkpointing=true (about 2.0 GiB less) ...", the largest first; "" without any.
std::string savings_text(const StageEstimate& estimate, const StageEntry& entry) {
  std::vector<MemorySaving> savings = estimate.savings;
  std::sort(savings.begin(), savings.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  std::vector<std::string> parts;
  for (const MemorySaving& saving : savings) {
    if (saving.bytes < 1e6) continue;
    parts.push_back(cat("stages.", entry.id, ".", saving.setting, " (about ", bytes_text(saving.bytes), " less)"));
  }
  return parts.empty() ? "" : cat("; or set ", base::join(parts, ", "));
}

/// The knob that holds most, and a value of it that would fit into `bytes` altogether; between a sixteenth and half of
/// the present one.
std::string advice(const StageEstimate& estimate, const StageEntry& entry, double bytes) {
  const auto most = std::max_element(estimate.knobs.begin(), estimate.knobs.end(), [](const auto& a, const auto& b) {
    return static_cast<double>(a.value) * a.bytes_per_unit < static_cast<double>(b.value) * b.bytes_per_unit;
  });
  if (most == estimate.knobs.end() || most->value <= 1) {
    return cat("the weights and what belongs to them need about ", bytes_text(estimate.fixed_bytes),
               ": take a smaller model, or a machine with more memory", savings_text(estimate, entry));
  }
  const double share = static_cast<double>(most->value) * most->bytes_per_unit;
  const double fitting = (bytes - (estimate.memory_bytes() - share)) / most->bytes_per_unit;
  const double half = std::floor(static_cast<double>(most->value) / 2);
  // Between a sixteenth and half of what it is: the estimate is no better than that.
  const double least = std::max(1.0, std::floor(half / 8));
  const double wanted = std::clamp(std::exp2(std::floor(std::log2(std::max(1.0, fitting)))), least, half);
  std::string text = cat("set stages.", entry.id, ".", most->key, "=", static_cast<int64_t>(wanted), " (now ",
                         most->value, ", about ", bytes_text(share), ")");
  if (fitting < 1) {
    text += cat("; without it the stage needs about ", bytes_text(estimate.memory_bytes() - share),
                " still, so that a smaller model or more memory may be called for");
  }
  return text + savings_text(estimate, entry);
}

}  // namespace

double StageEstimate::memory_bytes() const {
  double bytes = fixed_bytes;
  for (const MemoryKnob& knob : knobs) bytes += static_cast<double>(knob.value) * knob.bytes_per_unit;
  return bytes;
}

std::optional<model::ModelConfig> source_config(const Recipe& recipe, const std::string& id) {
  std::string source = id;
  while (const StageEntry* stage = recipe.find_stage(source)) source = stage->stage->uses().models.front();
  const auto found = recipe.models.find(source);
  if (found == recipe.models.end() || !fs::exists(found->second.path)) return std::nullopt;
  return config_of(found->second.path);
}

std::optional<StageEstimate> estimate_stage(const Recipe& recipe, const StageEntry& entry) {
  const std::vector<std::string> models = entry.stage->uses().models;
  if (models.empty()) return std::nullopt;
  const std::optional<model::ModelConfig> config = source_config(recipe, models.front());
  if (!config) return std::nullopt;
  return Estimator(recipe, entry, *config).run();
}

int64_t available_memory() {
  double available = 0;
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (base::starts_with(line, "MemAvailable:")) available = std::strtod(line.c_str() + 13, nullptr) * 1024;
  }
  const double limit = file_number("/sys/fs/cgroup/memory.max"), used = file_number("/sys/fs/cgroup/memory.current");
  if (limit > 0 && used >= 0) available = std::min(available, std::max(0.0, limit - used));
  return static_cast<int64_t>(available);
}

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return true;
  return std::string(error.what()).find("DefaultCPUAllocator: can't allocate memory") != std::string::npos;
}

std::string out_of_memory_text(const Recipe& recipe, const StageEntry& entry, const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::string cause = torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  cause = cause.substr(0, cause.find('\n'));
  const auto held = static_cast<double>(base::peak_resident_bytes());
  std::string text =
      cat("stage ", entry.id, ": out of memory, this process holding ", bytes_text(held), " (", cause, ")");
  const std::optional<StageEstimate> estimate = estimate_stage(recipe, entry);
  if (!estimate) return text;
  return cat(text, "; ", advice(*estimate, entry, std::min(held, 0.9 * estimate->memory_bytes())));
}

std::string memory_warning(const Recipe& recipe, const StageEntry& entry, int64_t available) {
  const std::optional<StageEstimate> estimate = estimate_stage(recipe, entry);
  if (!estimate || estimate->memory_bytes() < static_cast<double>(available)) return "";
  return cat("stage ", entry.id, " needs about ", bytes_text(estimate->memory_bytes()), " of memory, ",
             base::format_bytes(available), " are free; ", advice(*estimate, entry, static_cast<double>(available)));
}

}  // namespace rqat::pipeline
