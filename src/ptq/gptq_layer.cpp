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

/// The order whose neighbors are to share a scale; undefined = that of the inputs.
at::Tensor group_order(const quant::FakeQuantLinear& layer, const InverseFactor& factor, const GptqOptions& options) {
  const int64_t columns = layer.spec().in_features;
  const bool one_group = layer.format().resolved_group(columns) == columns;
  return options.static_groups || one_group ? at::Tensor() : factor.order;
}

/// The same factor for a weight whose columns are in its order.
InverseFactor in_own_order(const InverseFactor& factor) {
  InverseFactor own = factor;
  own.order = at::arange(factor.order.numel(), factor.order.options());
  return own;
}

}  // namespace

LayerReport gptq_layer(quant::FakeQuantLinear& layer, const at::Tensor& hessian, const InverseFactor& factor,
                       const quant::SearchOptions& search, const GptqOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_quantizer(layer);
  const at::Tensor original = float_weight(layer), order = group_order(layer, factor, options);
  const at::Tensor weight = order.defined() ? original.index_select(1, order) : original;
  const at::Tensor place = order.defined() ? at::argsort(order) : at::Tensor();
  const auto error_of = [&](const at::Tensor& w_hat, const at::Tensor& hessian_or_none) {
    return relative_error(order.defined() ? w_hat.index_select(1, place) : w_hat, original, hessian_or_none);
  };
  const quant::QuantFormat& format = layer.format();
  const quant::QuantParams params = layer.quantizer().search(weight, format, search);
  at::Tensor chosen = layer.quantizer().fake_quant(weight, params, format, at::kFloat);

  LayerReport report;
  report.layer = layer.name();
  // Without a usable Hessian the error of the weights is all that can be told.
  const bool measurable = at::isfinite(hessian).all().item<bool>();
  report.error = report.rtn_error = error_of(chosen, measurable ? hessian : at::Tensor());
  report.note = factor.failure;
  if (factor.failure.empty()) {
    const at::Tensor solved =
        gptq_solve(weight, order.defined() ? in_own_order(factor) : factor, params, format, options.block_size);
    const double error = error_of(solved, hessian);
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
  layer.set_quantization(params, chosen, order);
  report.format = format.text();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace rqat::ptq
