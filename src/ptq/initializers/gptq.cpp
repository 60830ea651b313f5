// GPTQ block by block: each layer is solved for the inputs that the quantized layers before it produce.
#include <ATen/ATen.h>

#include <optional>

#include "block_walker.h"
#include "gptq_layer.h"
#include "layers.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/strings.h"
#include "rqat/ptq/initializer.h"
#include "search_config.h"
#include "shared_layers.h"

namespace rqat::ptq {

namespace {

struct GptqConfig : SearchConfig {
  GptqOptions options;
  bool true_sequential = true;
  void fields(base::FieldVisitor& v) override {
    SearchConfig::fields(v);
    v.field("block_size", options.block_size, "columns between two updates of the rest of the matrix",
            base::Range{1, 4096});
    v.field("damping", options.damping, "share of the mean diagonal added to it; doubled while the factorization fails",
            base::Range{0, 1});
    v.field("act_order", options.act_order,
            "columns in descending order of their inputs' energy; groups stay as they are, but see static_groups");
    v.field(
        "static_groups", options.static_groups,
        "groups are of neighboring inputs; false: of neighbors in act_order (desc_act), which only the exporters gptq "
        "and hf_dequantized can say");
    v.field("true_sequential", true_sequential,
            "inside a block, too, inputs come from the layers quantized before; else from the block in float");
  }
  std::vector<std::string> check() const override {
    if (options.static_groups || options.act_order) return {};
    return {"static_groups: false groups the inputs in act_order, which is false; set act_order: true"};
  }
};

class Gptq : public Initializer {
 public:
  explicit Gptq(const GptqConfig& config) : config_(config), search_(config.search_options()) {}
  bool needs_calibration() const override { return true; }
  bool gives_act_order() const override { return !config_.options.static_groups; }

  std::vector<LayerReport> initialize(model::CausalLM& model, const Calibration& calibration,
                                      const Progress& progress) const override {
    const at::NoGradGuard no_grad;
    model.set_execution(nn::Execution::kTrain);
    const int64_t total = static_cast<int64_t>(quantized_linears(model.linears()).size());
    std::vector<LayerReport> reports;
    const auto quantize = [&](const std::vector<quant::FakeQuantLinear*>& layers, const at::Tensor& hessian) {
      std::optional<InverseFactor> factor;
      const auto solve = [&](quant::FakeQuantLinear& layer) {
        if (!factor) factor = factorize(hessian, config_.options);
        return gptq_layer(layer, hessian, *factor, search_, config_.options);
      };
      for_each_shared(layers, *world_, solve, [&](LayerReport report) {
        reports.push_back(std::move(report));
        if (progress) progress(static_cast<int64_t>(reports.size()), total, status(reports.back()));
      });
    };
    BlockWalker walker(model, calibration, *world_);
    while (walker.block() < model.num_blocks()) {
      const std::vector<nn::LinearBase*> layers = model.block_linears(walker.block());
      if (block_store_ == nullptr || !block_store_->restore(walker.block(), layers, reports)) {
        const size_t before = reports.size();
        quantize_block(walker, quantize);
        agree_on_stop();
        if (block_store_ != nullptr)
          block_store_->save(walker.block(), layers,
                             {reports.begin() + static_cast<std::ptrdiff_t>(before), reports.end()});
      }
      if (walker.block() + 1 == model.num_blocks()) break;
      walker.advance();
    }
    return reports;
  }

 private:
  /// Whichever rank was asked to stop: all stop after the same block.
  void agree_on_stop() const {
    if (const double signal = world_->max(base::requested_stop()); signal > 0)
      base::request_stop(static_cast<int>(signal));
  }

  static std::string status(const LayerReport& report) {
    return base::cat(report.layer, ": error ", base::format_fixed(report.error, 5), ", rtn ",
                     base::format_fixed(report.rtn_error, 5), report.fallback ? " (rtn taken)" : "");
  }

  template <class Quantize>
  void quantize_block(BlockWalker& walker, const Quantize& quantize) const {
    std::vector<std::vector<quant::FakeQuantLinear*>> groups;
    std::vector<nn::LinearBase*> observed;  // one of each group: they share the input
    for (const InputGroup& group : walker.input_groups()) {
      const auto layers = quantized_linears(group);
      if (layers.empty()) continue;
      groups.push_back(layers);
      observed.push_back(layers.front());
    }
    if (config_.true_sequential) {
      for (size_t i = 0; i < groups.size(); ++i) quantize(groups[i], walker.hessians({observed[i]}).front());
      return;
    }
    for (const auto& group : groups) {
      for (quant::FakeQuantLinear* layer : group) layer->set_bypass(true);
    }
    const std::vector<at::Tensor> hessians = walker.hessians(observed);
    for (size_t i = 0; i < groups.size(); ++i) {
      for (quant::FakeQuantLinear* layer : groups[i]) layer->set_bypass(false);
      quantize(groups[i], hessians[i]);
    }
  }

  GptqConfig config_;
  quant::SearchOptions search_;
};

}  // namespace

base::Entry<Initializer> gptq_entry() {
  return base::make_entry<base::Entry<Initializer>, GptqConfig>(
      "gptq", "second-order rounding on calibration inputs: later columns make up for the error of earlier ones",
      "2210.17323", [](const GptqConfig& config) { return std::make_unique<Gptq>(config); });
}

}  // namespace rqat::ptq
