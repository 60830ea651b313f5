// Shapes: T tokens, D hidden size, V vocabulary, R rows.
#include "rqat/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "checkpointed_block.h"
#include "decoder_block.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/nn/functional.h"
#include "rqat/nn/rope.h"

namespace rqat::model {
namespace {

void check_sizes(const ModelConfig& config, at::ScalarType dtype) {
  const auto fail = [](const std::string& text) { throw base::ConfigError("model: " + text); };
  for (const auto& [name, size] : {std::pair{"vocab_size", config.vocab_size},
                                   {"hidden_size", config.hidden_size},
                                   {"intermediate_size", config.intermediate_size},
                                   {"num_hidden_layers", config.num_hidden_layers},
                                   {"num_attention_heads", config.num_attention_heads},
                                   {"num_key_value_heads", config.num_key_value_heads},
                                   {"head_dim", config.head_dim}}) {
    if (size <= 0) fail(base::cat(name, " is ", size, ", expected > 0"));
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fail(base::cat("num_attention_heads ", config.num_attention_heads, " is not a multiple of num_key_value_heads ",
                   config.num_key_value_heads));
  }
  if (config.head_dim % 2 != 0) fail(base::cat("head_dim ", config.head_dim, " is odd, rope needs pairs"));
  if (dtype != at::kBFloat16 && dtype != at::kFloat) {
    fail(base::cat("compute dtype ", c10::toString(dtype), " is not supported; use bfloat16 or float32"));
  }
}

/// Which tokens belong to sequences longer than rope's original length, bool [T]; undefined where rope does not care. A
/// cached sequence will grow, so there the capacity speaks: keys must not change when the length is passed.
at::Tensor long_tokens(const nn::TokenBatch& batch, const nn::RopeFrequencies& rope, const nn::KvCache* cache) {
  if (!rope.long_inverse.defined()) return {};
  const auto options = at::TensorOptions(batch.positions.device()).dtype(at::kBool);
  if (cache) return at::full({batch.size()}, cache->capacity() > rope.original_length, options);
  const size_t count = batch.segments.size();
  std::vector<size_t> root(count);               // the outermost ancestor
  std::vector<int64_t> end(count), last(count);  // tokens up to a segment's end; the most of those of one root
  for (size_t i = 0; i < count; ++i) {
    const auto [begin, finish, parent] = batch.segments[i];
    root[i] = parent < 0 ? i : root[static_cast<size_t>(parent)];
    end[i] = finish - begin + (parent < 0 ? 0 : end[static_cast<size_t>(parent)]);
    last[root[i]] = std::max(last[root[i]], end[i]);
  }
  at::Tensor is_long = at::zeros({batch.size()}, options);
  for (size_t i = 0; i < count; ++i) {
    const nn::Segment& segment = batch.segments[i];
    if (last[root[i]] > rope.original_length) is_long.slice(0, segment.begin, segment.end).fill_(true);
  }
  return is_long;
}

void check_cache_call(const nn::TokenBatch& batch, const nn::KvCache& cache, const std::vector<int64_t>& slots) {
  const auto fail = [](const std::string& text) { throw std::invalid_argument("forward with cache: " + text); };
  if (slots.size() != batch.segments.size()) {
    fail(base::cat(batch.segments.size(), " segments but ", slots.size(), " slots"));
  }
  if (std::set<int64_t>(slots.begin(), slots.end()).size() != slots.size()) fail("a slot is named twice");
  for (size_t i = 0; i < slots.size(); ++i) {
    const nn::Segment& segment = batch.segments[i];
    if (slots[i] < 0 || slots[i] >= cache.slots())
      fail(base::cat("slot ", slots[i], " is outside 0..", cache.slots() - 1));
    if (segment.parent != -1) fail(base::cat("segment ", i, " has a parent; copy the parent's slot instead"));
    if (!batch.positions.device().is_cpu()) continue;
    const int64_t position = batch.positions.const_data_ptr<int64_t>()[segment.begin];
    if (position != cache.length(slots[i])) {
      fail(base::cat("segment ", i, " begins at position ", position, ", but slot ", slots[i], " holds ",
                     cache.length(slots[i]), " tokens"));
    }
  }
}

}  // namespace

CausalLM::CausalLM(ModelConfig config, nn::LayerFactory& factory, at::ScalarType dtype, at::Device device)
    : config_(std::move(config)), dtype_(dtype), device_(device) {
  check_sizes(config_, dtype);
  options_ = families().make(config_.model_type)->options(config_);
  embedding_.name = "model.embed_tokens.weight";
  embedding_.role = nn::Role::kEmbedding;
  final_norm_.name = "model.norm.weight";
  final_norm_.role = nn::Role::kNorm;
  head_.name = "lm_head.weight";
  head_.role = nn::Role::kHead;
  for (int64_t index = 0; index < config_.num_hidden_layers; ++index) {
    blocks_.push_back(std::make_unique<DecoderBlock>(config_, options_, index, factory));
  }
  for (const nn::RopeParameters& rope : options_.ropes) {
    ropes_.push_back(nn::rope_frequencies(rope, config_.head_dim, config_.max_position_embeddings, device_));
  }
}

CausalLM::~CausalLM() = default;

ForwardContext CausalLM::context(const nn::TokenBatch& batch, const nn::KvCache* cache) const {
  nn::check_token_batch(batch);
  ForwardContext context;
  context.batch = &batch;
  for (const nn::RopeFrequencies& rope : ropes_) {
    context.ropes.push_back(nn::rope_tables(batch.positions, rope, long_tokens(batch, rope, cache)));
  }
  return context;
}

at::Tensor CausalLM::embed(const nn::TokenBatch& batch) {
  at::Tensor hidden_TD = nn::embedding(batch.ids, embedding_);
  if (options_.embedding_scale == 1) return hidden_TD;
  return hidden_TD * at::scalar_tensor(options_.embedding_scale, at::TensorOptions(dtype_)).item<double>();
}

at::Tensor CausalLM::forward_block(int64_t index, const at::Tensor& hidden_TD, const ForwardContext& context) {
  return blocks_.at(static_cast<size_t>(index))->forward(hidden_TD, context);
}

at::Tensor CausalLM::final_norm(const at::Tensor& hidden_TD) {
  return nn::rms_norm(hidden_TD, final_norm_, config_.rms_norm_eps, options_.norm_style);
}

at::Tensor CausalLM::forward_blocks(at::Tensor hidden_TD, const ForwardContext& context) {
  const bool records = at::GradMode::is_enabled() && hidden_TD.requires_grad();
  const auto kept = records && gradient_checkpointing_ ? keep_context(context) : nullptr;
  for (size_t index = 0; index < blocks_.size(); ++index) {
    // The gradient of a block's input is whole when all of the block's own gradients are.
    if (block_backward_observer_ && records) {
      hidden_TD.register_hook(
          [observer = block_backward_observer_, index](const at::Tensor&) { observer(static_cast<int64_t>(index)); });
    }
    DecoderBlock& block = *blocks_[index];
    hidden_TD = kept ? checkpointed_forward(block, hidden_TD, kept) : block.forward(hidden_TD, context);
  }
  return final_norm(hidden_TD);
}

at::Tensor CausalLM::hidden(const nn::TokenBatch& batch) {
  const ForwardContext here = context(batch);
  return forward_blocks(embed(batch), here);
}

at::Tensor CausalLM::hidden(const nn::TokenBatch& batch, nn::KvCache& cache, const std::vector<int64_t>& slots) {
  const at::NoGradGuard no_grad;
  ForwardContext here = context(batch, &cache);
  check_cache_call(batch, cache, slots);
  here.cache = &cache;
  here.slots = slots;
  at::Tensor hidden_TD = forward_blocks(embed(batch), here);
  for (size_t i = 0; i < slots.size(); ++i) {
    cache.set_length(slots[i], cache.length(slots[i]) + batch.segments[i].end - batch.segments[i].begin);
  }
  return hidden_TD;
}

at::Tensor CausalLM::logits(const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  at::Tensor logits = ops::matmul_nt_float(hidden.contiguous(), prepared_head());
  const double cap = options_.logit_softcap;
  return cap > 0 ? logits.div_(cap).tanh_().mul_(cap) : logits;
}

std::unique_ptr<nn::KvCache> CausalLM::make_cache(int64_t slots, int64_t capacity) const {
  return std::make_unique<nn::KvCache>(config_.num_hidden_layers, slots, capacity, config_.num_key_value_heads,
                                       config_.head_dim, dtype_, device_);
}

std::vector<nn::LinearBase*> CausalLM::block_linears(int64_t index) {
  return blocks_.at(static_cast<size_t>(index))->linears();
}

std::vector<nn::LinearBase*> CausalLM::linears() {
  std::vector<nn::LinearBase*> all;
  for (const auto& block : blocks_) {
    for (nn::LinearBase* linear : block->linears()) all.push_back(linear);
  }
  return all;
}

nn::ParameterList CausalLM::own_parameters() {
  nn::ParameterList list{&embedding_};
  for (const auto& block : blocks_) {
    for (nn::Parameter* parameter : block->parameters()) list.push_back(parameter);
  }
  list.push_back(&final_norm_);
  if (!config_.tie_word_embeddings) list.push_back(&head_);
  return list;
}

nn::ParameterList CausalLM::parameters() {
  nn::ParameterList list = own_parameters();
  for (nn::LinearBase* linear : linears()) {
    for (nn::Parameter* parameter : linear->parameters()) list.push_back(parameter);
  }
  return list;
}

nn::Parameter& CausalLM::embedding() { return embedding_; }

nn::Parameter& CausalLM::head() { return config_.tie_word_embeddings ? embedding_ : head_; }

const ops::PreparedWeight& CausalLM::prepared_head() {
  const at::Tensor& weight = head().compute;
  // Made again also when an initializer has put another tensor there, or changed it in place.
  if (!prepared_head_.plain.is_same(weight) || prepared_head_version_ != weight._version()) {
    const at::NoGradGuard no_grad;
    prepared_head_ = ops::prepare_weight(weight);
    prepared_head_version_ = weight._version();
  }
  return prepared_head_;
}

void CausalLM::share_frozen(CausalLM& other) {
  const auto like = [](const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.device() == b.device();
  };
  std::map<std::string, const at::Tensor*> others;
  for (const nn::Parameter* parameter : other.own_parameters()) others[parameter->name] = &parameter->compute;
  for (nn::Parameter* parameter : own_parameters()) {
    const auto found = others.find(parameter->name);
    if (parameter->trainable || found == others.end()) continue;
    const at::Tensor& theirs = *found->second;
    if (like(parameter->compute, theirs) && at::equal(parameter->compute, theirs)) parameter->compute = theirs;
  }
  if (!head().compute.is_same(other.head().compute)) return;
  prepared_head_ = other.prepared_head();
  prepared_head_version_ = other.prepared_head_version_;
}

void CausalLM::prepare_training() {
  for (nn::Parameter* parameter : own_parameters()) {
    if (parameter->trainable) parameter->make_master();
  }
  for (nn::LinearBase* linear : linears()) linear->prepare_training();
}

void CausalLM::zero_grad() {
  for (nn::Parameter* parameter : parameters()) parameter->zero_grad();
}

void CausalLM::reduce_gradients() {
  for (nn::LinearBase* linear : linears()) linear->reduce_gradients();
}

void CausalLM::refresh() {
  for (nn::Parameter* parameter : own_parameters()) parameter->refresh();
  for (nn::LinearBase* linear : linears()) linear->refresh();
  if (head().trainable) prepared_head_ = {};
}

void CausalLM::set_execution(nn::Execution execution) {
  for (nn::LinearBase* linear : linears()) linear->set_execution(execution);
}

int64_t CausalLM::weight_bytes() {
  int64_t bytes = 0;
  for (nn::LinearBase* linear : linears()) bytes += linear->weight_bytes();
  return bytes;
}

}  // namespace rqat::model
