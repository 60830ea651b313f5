// The quantized weights as plain Hugging Face weights: any reader gets the trained model, at full size.
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "folder.h"
#include "layers.h"
#include "round_trip.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "serving.h"
#include "tensor_plan.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using quant::FakeQuantLinear;

struct HfDequantizedConfig : base::Config {
  std::string dtype = "float32";
  void fields(base::FieldVisitor& v) override {
    v.choice("dtype", dtype, {"float32", "bfloat16"}, "float32 holds the weights exactly; bfloat16 rounds them");
  }
};

// Rounding s * k to bfloat16 moves it by less than s / 2, so that k can be told, up to this k.
constexpr int64_t kBFloat16Steps = 128;
constexpr double kBFloat16Tolerance = 0.25;  // of a step, at 128 steps

/// Largest |q - z| of a format.
int64_t largest_step(const quant::QuantFormat& format) {
  return format.symmetric ? int64_t{1} << (format.num_bits - 1) : format.max_code();
}

at::Tensor dequantized(const StoredLinear& linear, at::ScalarType dtype) {
  const FakeQuantLinear* layer = linear.quantized();
  if (!layer) return linear.dense_weight().to(dtype);
  return linear.by_input(layer->quantizer().dequantize(linear.codes(), linear.params(), layer->format(), dtype));
}

/// The codes that the stored weight stands for on the layer's grid: rint(w / s) + z, in plain tensor arithmetic and
/// without a clamp, so that a weight off the grid shows.
StoredLayer read_dequantized(const FakeQuantLinear& layer, const StoredRows& rows, const io::TensorSource& source,
                             double tolerance) {
  StoredLayer stored;
  stored.weight_tolerance = tolerance;
  stored.weight = source.read(rows.name + ".weight").to(layer.params().scale.device(), at::kFloat);
  stored.weight = stored.weight.narrow(0, rows.first, rows.count);
  const quant::QuantParams params = layer.params();
  const int64_t columns = layer.spec().in_features;
  if (stored.weight.size(-1) != columns) {
    throw base::IoError(cat(source.path().string(), ": tensor '", rows.name, ".weight' has rows of ",
                            stored.weight.size(-1), ", expected ", columns));
  }
  const at::Tensor column_group = layer.group_of_input().to(params.scale.device());
  const at::Tensor scale = params.scale.index_select(1, column_group);
  const at::Tensor zero_point = params.zero_point.to(at::kInt).index_select(1, column_group);
  stored.codes = at::round(stored.weight / scale).to(at::kInt) + zero_point;
  return stored;
}

class HfDequantized : public Exporter {
 public:
  explicit HfDequantized(const HfDequantizedConfig& config) : dtype_name_(config.dtype) {}

  std::vector<std::string> check(const Linears& linears) const override {
    std::vector<std::string> faults = common_faults(linears), coarse;
    for (nn::LinearBase* linear : linears) {
      const FakeQuantLinear* layer = as_quantized(linear);
      if (layer && dtype() == at::kBFloat16 && largest_step(layer->format()) > kBFloat16Steps)
        coarse.push_back(layer->name());
    }
    if (!coarse.empty()) {
      faults.push_back(cat("bfloat16 has 8 significant bits, which cannot tell all codes apart in ", names_text(coarse),
                           " (8 bits, asymmetric); use dtype float32"));
    }
    return faults;
  }

  std::string home_engine() const override { return "vllm"; }

  EngineAdvice advise(const std::string& engine, model::CausalLM& model, const fs::path& folder) const override {
    EngineAdvice advice;
    if (engine == "llama.cpp") {
      advice.faults.push_back(other_files_fault(engine));
      return advice;
    }
    advice.notes.emplace_back("plain weights at full size: for tools that read no packed format");
    if (engine == "vllm") advice.command = vllm_command(folder, dtype_name_, served_context(model));
    if (engine == "sglang") advice.command = sglang_command(folder, dtype_name_, served_context(model));
    if (engine == "transformers") advice.command = transformers_command(folder, dtype_name_);
    if (engine == "mlx") advice.command = mlx_command(folder);
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    raise_faults("hf_dequantized", export_faults(*this, model, ""));
    check_layers(model.linears(), source);
    ExportReport report;
    TensorPlan plan;
    for (const auto& [name, tensor] : other_tensors(model)) {
      plan.add(name, dtype(), tensor.sizes().vec(), [this, tensor = tensor] { return tensor.to(dtype()); });
    }
    for (const StoredLinear& linear : stored_linears(model)) {
      const int64_t bytes = plan.add(linear.name + ".weight", dtype(), {linear.rows(), linear.columns()},
                                     [this, linear] { return dequantized(linear, dtype()); });
      report.layers.push_back({linear.name, linear.format_text(), linear.quantized() ? dtype_name_ : "float", bytes});
    }
    const auto edit_config = [&](nlohmann::json& config) {
      set_dtype(config, dtype_name_);
      config.erase("quantization_config");
    };
    write_model_folder(source, folder, edit_config,
                       [&](const fs::path& fresh) { plan.write_model(fresh, max_shard_bytes()); });
    report.total_bytes = base::folder_bytes(folder);
    describe_serving(*this, model, folder, report);
    return report;
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    const double tolerance = dtype() == at::kFloat ? 0 : kBFloat16Tolerance;
    return compare_folder(model, folder, probe,
                          [&](const FakeQuantLinear& layer, const StoredRows& rows, const io::TensorSource& stored) {
                            return read_dequantized(layer, rows, stored, tolerance);
                          });
  }

 private:
  at::ScalarType dtype() const { return dtype_name_ == "float32" ? at::kFloat : at::kBFloat16; }

  std::string dtype_name_;
};

}  // namespace

base::Entry<Exporter> hf_dequantized_entry() {
  return base::make_entry<base::Entry<Exporter>, HfDequantizedConfig>(
      "hf_dequantized", "plain Hugging Face weights with the quantized values, exact in float32", "",
      [](const HfDequantizedConfig& config) { return std::make_unique<HfDequantized>(config); });
}

}  // namespace rqat::exporting
