// Lets tests/interop/test_families.py see what no command writes: gradients of all parameters, logits of cached
// decoding, and the weights under the names they are saved by. Disabled in ordinary runs, because the oracle is a
// Python package.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "rqat/io/safetensors.h"
#include "rqat/model/forward.h"
#include "rqat/objective/objective.h"

namespace rqat::train {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

using Ids = std::vector<std::vector<int64_t>>;

/// Gradients of the mean cross-entropy of all next tokens, by parameter.
io::TensorMap gradients(model::CausalLM& model, const Ids& ids) {
  model.prepare_training();
  const nn::TokenBatch batch = nn::make_token_batch(ids);
  std::vector<int64_t> rows, targets;
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t t = 0; t + 1 < ids[i].size(); ++t) {
      rows.push_back(batch.segments[i].begin + static_cast<int64_t>(t));
      targets.push_back(ids[i][t + 1]);
    }
  }
  const at::Tensor hidden = model.hidden(batch), index = at::tensor(rows, at::kLong);
  objective::ObjectiveInput input;
  input.hidden = hidden.detach().index_select(0, index);
  input.targets = at::tensor(targets, at::kLong);
  input.head = {&model.prepared_head(), &model.head().grad_buffer(), model.options().logit_softcap};
  input.normalizer = static_cast<double>(rows.size());
  const auto objective = objective::objectives().make("cross_entropy");
  const at::Tensor row_gradient = objective->compute(input).grad_hidden;
  hidden.backward(at::zeros_like(hidden.detach()).index_copy_(0, index, row_gradient));
  model.reduce_gradients();
  io::TensorMap map;
  for (nn::Parameter* parameter : model.parameters()) {
    map["grad." + parameter->name] = parameter->grad_buffer();
  }
  return map;
}

/// Logits [B, L, V] of the same, a few tokens at a time: a prefill, a longer piece behind it, then one by one.
at::Tensor cached_logits(model::CausalLM& model, const Ids& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(ids.front().size());
  const auto cache = model.make_cache(static_cast<int64_t>(ids.size()), length);
  std::vector<int64_t> slots(ids.size());
  std::iota(slots.begin(), slots.end(), 0);
  std::vector<at::Tensor> pieces;
  for (int64_t begin = 0, count = 4; begin < length; begin += count, count = begin < 12 ? 5 : 1) {
    const int64_t end = std::min(length, begin + count);
    Ids part;
    for (const auto& list : ids) part.emplace_back(list.begin() + begin, list.begin() + end);
    nn::TokenBatch batch = nn::make_token_batch(part);
    batch.positions += begin;
    pieces.push_back(
        model.logits(model.hidden(batch, *cache, slots)).view({-1, end - begin, model.config().vocab_size}));
  }
  return at::cat(pieces, 1);
}

// RQAT_DRIVER_MODEL: folder; RQAT_DRIVER_IDS: JSON list of lists of token ids; RQAT_DRIVER_DTYPE; RQAT_DRIVER_OUT:
// safetensors with `logits`, `cached_logits` and `grad.NAME`; RQAT_DRIVER_WEIGHTS: safetensors with all weights.
TEST(DISABLED_InteropDriver, ModelFamily) {
  std::ifstream file(variable("RQAT_DRIVER_IDS"));
  const Ids ids = nlohmann::json::parse(file).get<Ids>();
  const at::ScalarType dtype = variable("RQAT_DRIVER_DTYPE") == "bfloat16" ? at::kBFloat16 : at::kFloat;
  nn::FloatLayerFactory factory;
  const auto model = model::load_model(variable("RQAT_DRIVER_MODEL"), factory, dtype, at::kCPU);
  io::TensorMap out{{"logits", model::forward_logits(*model, ids)}, {"cached_logits", cached_logits(*model, ids)}};
  io::write_safetensors(variable("RQAT_DRIVER_WEIGHTS"), model->weights());
  out.merge(gradients(*model, ids));
  io::write_safetensors(variable("RQAT_DRIVER_OUT"), out);
}

}  // namespace
}  // namespace rqat::train
