// Round to nearest: scales from the weights alone.
#include <ATen/ATen.h>

#include <chrono>

#include "layers.h"
#include "rqat/ptq/initializer.h"
#include "search_config.h"
#include "shared_layers.h"

namespace rqat::ptq {

namespace {

struct RtnConfig : SearchConfig {
  RtnConfig() : SearchConfig("minmax") {}
};

LayerReport quantize_layer(quant::FakeQuantLinear& layer, const quant::SearchOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor weight = float_weight(layer);
  const quant::QuantParams params = layer.quantizer().search(weight, layer.format(), options);
  const at::Tensor w_hat = layer.quantizer().fake_quant(weight, params, layer.format(), at::kFloat);
  LayerReport report;
  report.layer = layer.name();
  report.format = layer.format().text();
  report.error = report.rtn_error = relative_error(w_hat, weight, {});
  layer.set_quantization(params, w_hat);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

class Rtn : public Initializer {
 public:
  explicit Rtn(const RtnConfig& config) : options_(config.search_options()) {}

  std::vector<LayerReport> initialize(model::CausalLM& model, const Calibration&,
                                      const Progress& progress) const override {
    const at::NoGradGuard no_grad;
    const auto layers = quantized_linears(model.linears());
    std::vector<LayerReport> reports;
    for_each_shared(
        layers, *world_, [&](quant::FakeQuantLinear& layer) { return quantize_layer(layer, options_); },
        [&](LayerReport report) {
          reports.push_back(std::move(report));
          if (progress) {
            progress(static_cast<int64_t>(reports.size()), static_cast<int64_t>(layers.size()), reports.back().layer);
          }
        });
    return reports;
  }

 private:
  quant::SearchOptions options_;
};

}  // namespace

base::Entry<Initializer> rtn_entry() {
  return base::make_entry<base::Entry<Initializer>, RtnConfig>(
      "rtn", "round to nearest; scales from each group's range, optionally clipped", "",
      [](const RtnConfig& config) { return std::make_unique<Rtn>(config); });
}

}  // namespace rqat::ptq
