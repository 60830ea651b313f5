// Decoder-only language model: embed -> blocks -> final norm -> head. One decoder serves all families; a family is a
// set of options and weight names (src/model/families).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rqat/base/registry.h"
#include "rqat/io/safetensors.h"
#include "rqat/model/decoder_options.h"
#include "rqat/model/model_config.h"
#include "rqat/nn/batch.h"
#include "rqat/nn/kv_cache.h"
#include "rqat/nn/layer_factory.h"
#include "rqat/ops/linear.h"

namespace rqat::model {

/// A family knows its fields of config.json and turns a config into options; registry kind "families".
class Family {
 public:
  virtual ~Family() = default;
  /// Sets fields that config.json may leave out and whose values are then others than ModelConfig's own.
  virtual void set_defaults(ModelConfig& config) const { (void)config; }
  /// Fields of config.json that this family has beyond those of every family, by their names there.
  virtual std::vector<std::string> fields() const = 0;
  /// More fields that checkpoints of this family hold and that leave its maths alone.
  virtual std::vector<std::string> neutral_fields() const { return {}; }
  virtual DecoderOptions options(const ModelConfig& config) const = 0;
};
const base::Registry<Family>& families();

/// One decoder block; `forward` maps hidden [T, D] -> [T, D].
class DecoderBlock;

/// Where and how attention looks: segments alone, or segments appended to cache slots.
struct ForwardContext {
  const nn::TokenBatch* batch = nullptr;
  std::vector<std::pair<at::Tensor, at::Tensor>> ropes;  ///< (cos, sin) of DecoderOptions::ropes, fp32 [T, R/2]
  nn::KvCache* cache = nullptr;  ///< when set, segment i is appended to slots[i] and attends to all of it
  std::vector<int64_t> slots;
};

class CausalLM {
 public:
  /// Builds the structure; weights come by load_weights. `device` may be meta for validation. Throws ConfigError when
  /// sizes do not fit each other (heads, head_dim) or dtype is neither bfloat16 nor float32.
  CausalLM(ModelConfig config, nn::LayerFactory& factory, at::ScalarType dtype, at::Device device);
  ~CausalLM();

  const ModelConfig& config() const { return config_; }
  const DecoderOptions& options() const { return options_; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }

  /// Loads every weight, converted to dtype(). Throws IoError that names missing, unexpected or wrongly shaped tensors
  /// (the first few of each and their number) or one that is not of a float dtype; DataError on NaN/Inf.
  void load_weights(const io::TensorSource& source);
  /// All weights as the forward sees them (W_hat for quantised linears), HF names.
  io::TensorMap weights();
  /// Shapes of the same, known before there are weights.
  std::map<std::string, std::vector<int64_t>> weight_shapes();

  // --- whole forward ---
  /// Hidden states [T, D] after the final norm. In grad mode the graph starts at the embedding's output.
  at::Tensor hidden(const nn::TokenBatch& batch);
  /// The same with a cache: segment i is appended to slots[i]; slot lengths are advanced. Never records gradients.
  /// Where rope has factors for long sequences, they apply when the cache's capacity exceeds the original length;
  /// without a cache, when a sequence does.
  /// Throws std::invalid_argument (slots and segments differ in number, a slot twice, a segment with a parent,
  /// positions that do not continue the slot; the last on CPU only) and DataError (slot full).
  at::Tensor hidden(const nn::TokenBatch& batch, nn::KvCache& cache, const std::vector<int64_t>& slots);
  /// fp32 logits [R, V] of hidden states [R, D], no gradient, with options().logit_softcap applied. For few rows only:
  /// generation, tests, `rqat forward`.
  at::Tensor logits(const at::Tensor& hidden);
  std::unique_ptr<nn::KvCache> make_cache(int64_t slots, int64_t capacity) const;

  // --- walking block by block (ptq) ---
  ForwardContext context(const nn::TokenBatch& batch) const { return context(batch, nullptr); }
  at::Tensor embed(const nn::TokenBatch& batch);
  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  /// Gradients are recorded in grad mode when `hidden_TD` requires grad.
  at::Tensor forward_block(int64_t index, const at::Tensor& hidden_TD, const ForwardContext& context);
  at::Tensor final_norm(const at::Tensor& hidden_TD);
  /// Linears of block `index` in the order q, k, v, o, gate, up, down; with experts, the last three of each in turn.
  std::vector<nn::LinearBase*> block_linears(int64_t index);

  // --- parameters ---
  std::vector<nn::LinearBase*> linears();  ///< all of all blocks
  nn::ParameterList parameters();          ///< trainable or not, each once (tied head = embedding)
  nn::Parameter& embedding();
  nn::Parameter& head();  ///< the embedding itself when tied
  /// The head laid out for logits; made again after refresh() when the head was trained.
  const ops::PreparedWeight& prepared_head();
  /// Embedding, norms and head that are frozen here and equal those of `other` take its memory from now on, the head's
  /// layout too: a student and its teacher, most often. `other` must not change them in place any more.
  void share_frozen(CausalLM& other);

  void prepare_training();  ///< masters for all trainable parameters
  void zero_grad();
  void reduce_gradients();                      ///< of all linears
  void refresh();                               ///< of all parameters, after an optimizer step
  void set_execution(nn::Execution execution);  ///< of all linears
  int64_t weight_bytes();                       ///< of all linears as held now
  /// Called in a backward as soon as all gradients of block `index` are there, from the last block to the first; empty
  /// = none. Holds for forwards that begin after it was set.
  void set_block_backward_observer(std::function<void(int64_t index)> observer) {
    block_backward_observer_ = std::move(observer);
  }
  /// In grad mode `hidden` keeps each block's input alone and the backward computes the block once more: the same
  /// gradients with far less memory, for a third more time in the student. Holds for forwards that begin after it.
  void set_gradient_checkpointing(bool enabled) { gradient_checkpointing_ = enabled; }

 private:
  struct Slot;  ///< a place for one tensor of a checkpoint
  std::vector<Slot> weight_slots();
  static void place_in_fused(const FusedLinear& fused, const std::string& prefix, std::vector<Slot>& slots);
  nn::ParameterList own_parameters();  ///< all but those of linears
  at::Tensor forward_blocks(at::Tensor hidden_TD, const ForwardContext& context);
  ForwardContext context(const nn::TokenBatch& batch, const nn::KvCache* cache) const;

  ModelConfig config_;
  DecoderOptions options_;
  at::ScalarType dtype_;
  at::Device device_;
  nn::Parameter embedding_, final_norm_, head_;
  std::vector<std::unique_ptr<DecoderBlock>> blocks_;
  ops::PreparedWeight prepared_head_;
  uint32_t prepared_head_version_ = 0;
  std::vector<nn::RopeFrequencies> ropes_;
  std::function<void(int64_t)> block_backward_observer_;
  bool gradient_checkpointing_ = false;
};

/// Reads config and weights of a folder. dtype: compute dtype.
std::unique_ptr<CausalLM> load_model(const std::filesystem::path& folder, nn::LayerFactory& factory,
                                     at::ScalarType dtype, at::Device device);

}  // namespace rqat::model
