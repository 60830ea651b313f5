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
};

std::vector<CausalLM::Slot> CausalLM::weight_slots() {
  std::vector<Slot> slots;
  const std::vector<int64_t> table{config_.vocab_size, config_.hidden_size};
  slots.push_back({embedding_.name, table, &embedding_});
  for (const auto& block : blocks_) {
    for (nn::Parameter* norm : block->norms()) slots.push_back({norm->name, block->norm_shape(*norm), norm});
    for (nn::LinearBase* linear : block->linears()) {
      const nn::LinearSpec& spec = linear->spec();
      slots.push_back({spec.name + ".weight", {spec.out_features, spec.in_features}, nullptr, linear});
      if (spec.bias) slots.push_back({spec.name + ".bias", {spec.out_features}, nullptr, linear, true});
    }
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
    expected.insert(slot.name);
    if (!source.has(slot.name)) missing.push_back(slot.name);
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

  const auto read = [&](const std::string& name, at::IntArrayRef shape) {
    return read_checked(source, name, shape, dtype_, device_);
  };
  for (const Slot& slot : slots) {
    if (slot.parameter) {
      slot.parameter->compute = read(slot.name, slot.shape);
      slot.parameter->master = slot.parameter->grad = at::Tensor();
    } else if (!slot.is_bias) {
      const nn::LinearSpec& spec = slot.linear->spec();
      slot.linear->load(read(slot.name, slot.shape),
                        spec.bias ? read(spec.name + ".bias", {spec.out_features}) : at::Tensor());
    }
  }
  prepared_head_ = {};
}

io::TensorMap CausalLM::weights() {
  io::TensorMap map;
  for (const Slot& slot : weight_slots()) {
    if (slot.parameter) {
      map[slot.name] = slot.parameter->compute;
    } else {
      map[slot.name] = slot.is_bias ? slot.linear->bias() : slot.linear->dense_weight();
    }
  }
  return map;
}

std::unique_ptr<CausalLM> load_model(const std::filesystem::path& folder, nn::LayerFactory& factory,
                                     at::ScalarType dtype, at::Device device) {
  auto model = std::make_unique<CausalLM>(read_model_config(folder), factory, dtype, device);
  model->load_weights(io::TensorSource(folder));
  return model;
}

}  // namespace rqat::model
