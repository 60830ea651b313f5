#include "gptq_layer.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cmath>

#include "layers.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::ptq {

namespace {

using base::cat;

std::string note_of(const InverseFactor& factor, const GptqOptions& options) {
  std::vector<std::string> notes;
  if (factor.damping > options.damping) notes.push_back(cat("damping ", factor.damping));
  if (factor.dead_columns > 0) notes.push_back(cat(factor.dead_columns, " dead columns"));
  return base::join(notes, ", ");
}

void check_quantizer(const quant::FakeQuantLinear& layer) {
  if (layer.format().quantizer == "int_affine") return;
  throw base::ConfigError(cat("gptq: ", layer.name(), " has quantizer '", layer.format().quantizer,
                              "', but gptq rounds to int_affine only; use rtn, or another quantizer"));
}

}  // namespace

LayerReport gptq_layer(quant::FakeQuantLinear& layer, const at::Tensor& hessian, const InverseFactor& factor,
                       const quant::SearchOptions& search, const GptqOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_quantizer(layer);
  const at::Tensor weight = float_weight(layer);
  const quant::QuantFormat& format = layer.format();
  const quant::QuantParams params = layer.quantizer().search(weight, format, search);
  at::Tensor chosen = layer.quantizer().fake_quant(weight, params, format, at::kFloat);

  LayerReport report;
  report.layer = layer.name();
  report.format = format.text();
  // Without a usable Hessian the error of the weights is all that can be told.
  const bool measurable = at::isfinite(hessian).all().item<bool>();
  report.error = report.rtn_error = relative_error(chosen, weight, measurable ? hessian : at::Tensor());
  report.note = factor.failure;
  if (factor.failure.empty()) {
    const at::Tensor solved = gptq_solve(weight, factor, params, format, options.block_size);
    const double error = relative_error(solved, weight, hessian);
    report.note = note_of(factor, options);
    if (error <= report.rtn_error) {
      report.error = error;
      chosen = solved;
    } else {
      report.fallback = true;
      report.note = cat("output error ", error, " is above ", report.rtn_error, " of round-to-nearest");
    }
  } else {
    report.fallback = true;
  }
  layer.set_quantization(params, chosen);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace rqat::ptq
