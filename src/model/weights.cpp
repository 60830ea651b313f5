// Between a checkpoint's names and the model's parts.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <set>

#include "decoder_block.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::model {
namespace {

constexpr size_t kNamesShown = 5;

std::string shape_text(at::IntArrayRef shape) { return base::cat(shape); }

std::string list_text(const std::vector<std::string>& names) {
  const std::vector<std::string> shown(names.begin(),
                                       names.begin() + static_cast<int64_t>(std::min(names.size(), kNamesShown)));
  return base::cat(names.size(), " (", base::join(shown, ", "), names.size() > kNamesShown ? ", ...)" : ")");
}

/// A tensor some exporters add and no forward reads.
bool harmless_extra(const std::string& name, bool tied) {
  return base::starts_with(name, "model.layers.") && name.find("rotary_emb.inv_freq") != std::string::npos
             ? true
             : name == "model.rotary_emb.inv_freq" || (tied && name == "lm_head.weight");
}

/// Whether a float has all exponent bits set: NaN or Inf.
template <class Word, Word kExponent>
bool any_special(const at::Tensor& tensor) {
  const auto* words = static_cast<const Word*>(tensor.const_data_ptr());
  std::atomic<bool> found{false};
  at::parallel_for(0, tensor.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    int special = 0;
    for (int64_t i = begin; i < end; ++i) special |= (words[i] & kExponent) == kExponent;
    if (special) found = true;
  });
  return found;
}

void check_finite(const at::Tensor& tensor, const std::string& name, const std::filesystem::path& path) {
  const bool special = tensor.scalar_type() == at::kBFloat16 ? any_special<uint16_t, 0x7f80>(tensor)
                                                             : any_special<uint32_t, 0x7f800000>(tensor);
  if (!special) return;
  const at::Tensor places = at::isfinite(tensor).logical_not().flatten().nonzero();
  throw base::DataError(base::cat(path.string(), ": tensor '", name, "' holds ", places.size(0), " NaN or Inf of ",
                                  tensor.numel(), " values, the first at flat index ", places[0][0].item<int64_t>(),
                                  "; the checkpoint is damaged"));
}

at::Tensor read_checked(const io::TensorSource& source, const std::string& name, at::IntArrayRef shape,
                        at::ScalarType dtype, at::Device device) {
  const at::ScalarType stored = source.info(name).dtype;
  if (stored != at::kFloat && stored != at::kBFloat16 && stored != at::kHalf && stored != at::kDouble) {
    throw base::IoError(base::cat(source.path().string(), ": tensor '", name, "' is ", c10::toString(stored),
                                  ", expected a float dtype; a quantized checkpoint must be imported"));
  }
  const auto& stored_shape = source.info(name).shape;
  if (at::IntArrayRef(stored_shape) != shape) {
    throw base::IoError(base::cat(source.path().string(), ": tensor '", name, "' is ", shape_text(stored_shape),
                                  ", expected ", shape_text(shape), " by config.json"));
  }
  const at::Tensor tensor = source.read(name).to(dtype).contiguous();
  check_finite(tensor, name, source.path());
  return tensor.to(device);
}

}  // namespace

struct CausalLM::Slot {
  std::string name;
  std::vector<int64_t> shape;
  nn::Parameter* parameter = nullptr;  ///< embedding, norms and head
  nn::LinearBase* linear = nullptr;    ///< the weight, or with `is_bias` the bias, of a linear
  bool is_bias = false;
  std::string fused{};    ///< the tensor that holds it, where that is not one of its own
  int64_t first_row = 0;  ///< of `fused`
  const std::string& stored() const { return fused.empty() ? name : fused; }
};

/// Lets the parts of one fused tensor of a block, `prefix`, lie in it one after the other.
void CausalLM::place_in_fused(const FusedLinear& fused, const std::string& prefix, std::vector<Slot>& slots) {
  for (const char* suffix : {".weight", ".bias"}) {
    int64_t row = 0;
    for (const std::string& part : fused.parts) {
      const auto slot = std::find_if(slots.begin(), slots.end(),
                                     [&](const Slot& candidate) { return candidate.name == prefix + part + suffix; });
      if (slot == slots.end()) continue;
      slot->fused = prefix + fused.name + suffix;
      slot->first_row = row;
      row += slot->shape[0];
    }
  }
}

std::vector<CausalLM::Slot> CausalLM::weight_slots() {
  std::vector<Slot> slots;
  const std::vector<int64_t> table{config_.vocab_size, config_.hidden_size};
  slots.push_back({embedding_.name, table, &embedding_});
  for (const auto& block : blocks_) {
    for (nn::Parameter* parameter : block->parameters()) {
      slots.push_back({parameter->name, block->shape_of(*parameter), parameter});
    }
    for (nn::LinearBase* linear : block->linears()) {
      const nn::LinearSpec& spec = linear->spec();
      slots.push_back({spec.name + ".weight", {spec.out_features, spec.in_features}, nullptr, linear});
      if (spec.bias) slots.push_back({spec.name + ".bias", {spec.out_features}, nullptr, linear, true});
    }
  }
  for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    for (const FusedLinear& fused : options_.fused)
      place_in_fused(fused, base::cat("model.layers.", layer, "."), slots);
  }
  slots.push_back({final_norm_.name, {config_.hidden_size}, &final_norm_});
  if (!config_.tie_word_embeddings) slots.push_back({head_.name, table, &head_});
  return slots;
}

void CausalLM::load_weights(const io::TensorSource& source) {
  const std::vector<Slot> slots = weight_slots();
  std::vector<std::string> missing, unexpected;
  std::set<std::string> expected;
  for (const Slot& slot : slots) {
    if (expected.insert(slot.stored()).second && !source.has(slot.stored())) missing.push_back(slot.stored());
  }
  for (const std::string& name : source.names()) {
    if (!expected.count(name) && !harmless_extra(name, config_.tie_word_embeddings)) unexpected.push_back(name);
  }
  if (!missing.empty() || !unexpected.empty()) {
    throw base::IoError(base::cat(source.path().string(), ": the tensors do not fit a ", config_.model_type, " of ",
                                  config_.num_hidden_layers,
                                  " layers:", missing.empty() ? "" : " missing " + list_text(missing),
                                  missing.empty() || unexpected.empty() ? "" : ";",
                                  unexpected.empty() ? "" : " unexpected " + list_text(unexpected),
                                  "; do config.json and the weights belong together?"));
  }

  const auto shapes = weight_shapes();
  const auto read = [&](const Slot& slot) {
    const at::Tensor tensor = read_checked(source, slot.stored(), shapes.at(slot.stored()), dtype_, device_);
    // A copy of the rows: a view would keep the whole tensor alive.
    return slot.fused.empty() ? tensor : tensor.narrow(0, slot.first_row, slot.shape[0]).clone();
  };
  for (size_t i = 0; i < slots.size(); ++i) {
    const Slot& slot = slots[i];
    if (slot.parameter) {
      slot.parameter->compute = read(slot);
      slot.parameter->master = slot.parameter->grad = at::Tensor();
    } else if (!slot.is_bias) {
      // The slot of a bias follows its weight's.
      slot.linear->load(read(slot), slot.linear->spec().bias ? read(slots[i + 1]) : at::Tensor());
    }
  }
  prepared_head_ = {};
}

io::TensorMap CausalLM::weights() {
  std::map<std::string, std::vector<at::Tensor>> parts;
  for (const Slot& slot : weight_slots()) {
    const at::Tensor own = slot.parameter ? slot.parameter->compute
                           : slot.is_bias ? slot.linear->bias()
                                          : slot.linear->dense_weight();
    parts[slot.stored()].push_back(own);
  }
  io::TensorMap map;
  for (const auto& [name, tensors] : parts) map[name] = tensors.size() == 1 ? tensors.front() : at::cat(tensors);
  return map;
}

std::map<std::string, std::vector<int64_t>> CausalLM::weight_shapes() {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const Slot& slot : weight_slots()) {
    const auto [place, fresh] = shapes.try_emplace(slot.stored(), slot.shape);
    if (!fresh) place->second[0] += slot.shape[0];
  }
  return shapes;
}

std::unique_ptr<CausalLM> load_model(const std::filesystem::path& folder, nn::LayerFactory& factory,
                                     at::ScalarType dtype, at::Device device) {
  auto model = std::make_unique<CausalLM>(read_model_config(folder), factory, dtype, device);
  model->load_weights(io::TensorSource(folder));
  return model;
}

}  // namespace rqat::model
