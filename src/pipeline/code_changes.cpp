#include "code_changes.h"

#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/safetensors.h"
#include "rqat/ops/quantize.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::pipeline {

namespace {

constexpr size_t kCountAllUpTo = 64;  // linears
constexpr size_t kStride = 13;        // shares no factor with the 7 linears of a block: every kind is met

std::vector<quant::FakeQuantLinear*> quantized_linears(model::CausalLM& model) {
  std::vector<quant::FakeQuantLinear*> found;
  for (nn::LinearBase* linear : model.linears()) {
    if (auto* quantized = dynamic_cast<quant::FakeQuantLinear*>(linear)) found.push_back(quantized);
  }
  return found;
}

int64_t num_weights(const nn::LinearBase& linear) { return linear.spec().in_features * linear.spec().out_features; }

}  // namespace

FlipCounter::FlipCounter(model::CausalLM& model) {
  const std::vector<quant::FakeQuantLinear*> linears = quantized_linears(model);
  for (size_t i = 0; i<linears.size(); i += linears.size()> kCountAllUpTo ? kStride : 1) {
    linears[i]->set_count_flips(true);
    counted_.push_back(linears[i]);
    weights_ += num_weights(*linears[i]);
  }
}

train::Callbacks FlipCounter::added_to(const train::Callbacks& callbacks) const {
  if (counted_.empty() || !callbacks.on_metrics) return callbacks;
  train::Callbacks counting = callbacks;
  counting.on_metrics = [this, told = callbacks.on_metrics](int64_t step, train::Metrics metrics) {
    int64_t flips = 0;
    for (const nn::LinearBase* linear : counted_) flips += linear->flipped();
    metrics["codes_flipped"] = static_cast<double>(flips) / static_cast<double>(weights_);
    told(step, metrics);
  };
  return counting;
}

std::optional<double> changed_codes(model::CausalLM& model, const std::filesystem::path& folder) {
  const std::vector<quant::FakeQuantLinear*> linears = quantized_linears(model);
  if (linears.empty()) return std::nullopt;
  const io::SafetensorsReader stored(folder / kStateFile);
  double changed = 0, all = 0;
  for (const quant::FakeQuantLinear* linear : linears) {
    const at::Tensor now = linear->codes().cpu();
    const at::Tensor before = ops::unpack_codes(stored.read(linear->name() + ".weight_packed"),
                                                linear->format().num_bits, linear->spec().in_features);
    if (before.sizes() != now.sizes()) {
      throw base::IoError(base::cat((folder / kStateFile).string(), ": ", linear->name(),
                                    ".weight_packed has not the shape of the layer"));
    }
    changed += static_cast<double>(at::ne(now, before).sum().item<int64_t>());
    all += static_cast<double>(now.numel());
  }
  return changed / all;
}

}  // namespace rqat::pipeline
