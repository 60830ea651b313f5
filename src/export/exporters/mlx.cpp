// MLX folders (mlx-lm's affine quantization): W = scales q + biases.
//
//   weight uint32 [N, K b / 32], a dense bit stream along the inputs; scales and biases [N, K / g], biases = -s z
//
// A bias is exact when s z has a value in its type: always for symmetric formats, whose z is a power of 2. Else it is
// rounded, by up to z / 2048 of a step in float16; scale_dtype: float32 keeps all exact.
#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "layers.h"
#include "packed_folder.h"
#include "packed_layers.h"
#include "round_trip.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "rqat/ops/quantize.h"
#include "serving.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;
using quant::FakeQuantLinear;

constexpr int64_t kGroupSizes[] = {128, 64, 32};

struct MlxConfig : base::Config {
  std::string scale_dtype = "auto";
  void fields(base::FieldVisitor& v) override {
    v.choice("scale_dtype", scale_dtype, {"auto", "float32"},
             "type of scales and biases; auto = as trained, which rounds the biases of asymmetric formats");
  }
};

/// MLX's group size for a layer: its own, or the largest known one that divides it, with repeated scales. 0 = none.
int64_t stored_group(const FakeQuantLinear& layer) {
  const int64_t columns = layer.spec().in_features, group = layer.format().resolved_group(columns);
  if (columns % group != 0) return 0;
  for (const int64_t size : kGroupSizes) {
    if (group % size == 0) return size;
  }
  return 0;
}

json layer_json(const FakeQuantLinear& layer) {
  return {{"group_size", stored_group(layer)}, {"bits", layer.format().num_bits}};
}

/// The settings of most layers, and by name those of the others.
json quantization_config(const std::vector<StoredLinear>& stored) {
  std::map<std::string, int64_t> counts;
  for (const StoredLinear& linear : stored) {
    if (const FakeQuantLinear* layer = linear.quantized()) ++counts[layer_json(*layer).dump()];
  }
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const json common = json::parse(most->first);
  json config = common;
  config["mode"] = "affine";
  for (const StoredLinear& linear : stored) {
    const FakeQuantLinear* layer = linear.quantized();
    if (!layer) {
      config[linear.name] = false;
    } else if (layer_json(*layer) != common) {
      config[linear.name] = layer_json(*layer);
    }
  }
  return config;
}

class Mlx : public Exporter {
 public:
  explicit Mlx(const MlxConfig& config) : float_scales_(config.scale_dtype == "float32") {}

  std::vector<std::string> check(const Linears& linears) const override {
    return layer_faults(linears, [this](const FakeQuantLinear& layer) { return faults_of(layer); });
  }

  std::vector<std::string> check_architecture(const model::ModelConfig& config) const override {
    if (config.num_experts == 0) return {};
    return {"MLX holds the experts of a layer as one tensor, which is not written; export as hf_dequantized"};
  }

  std::string home_engine() const override { return "mlx"; }

  EngineAdvice advise(const std::string& engine, model::CausalLM& model, const fs::path& folder) const override {
    EngineAdvice advice;
    if (engine != "mlx") {
      advice.faults.push_back(other_files_fault(engine));
      return advice;
    }
    if (!needs_of(model.linears()).asymmetric_bits.empty() && !float_scales_) {
      advice.notes.emplace_back(
          "biases of asymmetric layers are rounded to the type of the scales; scale_dtype: float32 keeps them exact, "
          "and "
          "computes in float32");
    }
    advice.command = mlx_command(folder);
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    const auto plan = [this](const StoredLinear& linear, TensorPlan& to) { return plan_linear(linear, to); };
    const PackedFormat format{"mlx", plan, quantization_config, "quantization"};
    return write_packed_folder(*this, format, model, source, folder);
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    return compare_folder(model, folder, probe,
                          [&](const FakeQuantLinear& layer, const StoredRows& rows, const io::TensorSource& stored) {
                            StoredLayer read = rows_of(read_mlx(stored, rows.name, layer.format().num_bits), rows);
                            fold_repeated(layer, read);
                            if (!layer.format().symmetric && !float_scales_) {
                              // Half a unit in the last place of s z, in steps: 11 significant bits of float16, 8 of
                              // bfloat16.
                              const double units = layer.format().scale_dtype == "float16" ? 2048 : 256;
                              read.weight_tolerance = static_cast<double>(layer.format().max_code()) / units + 1e-4;
                            }
                            return read;
                          });
  }

 private:
  std::vector<std::string> faults_of(const FakeQuantLinear& layer) const {
    const quant::QuantFormat& format = layer.format();
    std::vector<std::string> faults;
    if (!float_scales_ && !format.symmetric && format.num_bits == 8 && format.scale_dtype == "bfloat16") {
      faults.emplace_back(
          "biases of asymmetric 8 bits need more digits than bfloat16 has; use scale_dtype: float32 here");
    }
    for (std::string& fault : act_order_faults(layer, "an MLX file")) faults.push_back(std::move(fault));
    const int64_t columns = layer.spec().in_features;
    if (stored_group(layer) == 0) {
      faults.push_back(cat("group_size ", format.resolved_group(columns), " of ", columns,
                           " inputs is not made of groups of 32, 64 or 128, which MLX has"));
    }
    return faults;
  }

  at::ScalarType scale_type(const FakeQuantLinear& layer) const {
    if (float_scales_) return at::kFloat;
    return layer.format().scale_dtype == "float16" ? at::kHalf : at::kBFloat16;
  }

  /// Scales of MLX's groups as those of the layer's wider groups; unequal ones are left as they are, and differ.
  static void fold_repeated(const FakeQuantLinear& layer, StoredLayer& stored) {
    const int64_t columns = layer.spec().in_features, groups = layer.format().num_groups(columns);
    for (at::Tensor* table : {&stored.scale, &stored.zero_point}) {
      const int64_t repeats = table->size(1) / groups;
      const at::Tensor wide = table->view({table->size(0), groups, repeats});
      if (at::equal(wide, wide.slice(2, 0, 1).expand_as(wide))) *table = wide.select(2, 0).contiguous();
    }
  }

  ExportReport::Layer plan_linear(const StoredLinear& linear, TensorPlan& plan) const {
    const FakeQuantLinear* layer = linear.quantized();
    const int64_t rows = linear.rows(), columns = linear.columns();
    const int64_t bits = layer->format().num_bits, groups = columns / stored_group(*layer);
    const int64_t repeats = groups / layer->format().num_groups(columns);
    const at::ScalarType dtype = scale_type(*layer);
    const std::string& name = linear.name;
    int64_t bytes = plan.add(name + ".weight", at::kUInt32, {rows, columns * bits / 32}, [linear, bits] {
      return ops::pack_codes(linear.codes(), bits).to(at::kCPU).view(at::kUInt32);
    });
    bytes += plan.add(name + ".scales", dtype, {rows, groups}, [linear, repeats, dtype] {
      return linear.params().scale.repeat_interleave(repeats, 1).to(dtype);
    });
    bytes += plan.add(name + ".biases", dtype, {rows, groups}, [linear, repeats, dtype] {
      const quant::QuantParams params = linear.params();
      return params.scale.mul(params.zero_point.to(at::kFloat)).neg().repeat_interleave(repeats, 1).to(dtype);
    });
    return {name, layer->format().text(), "MLX affine", bytes};
  }

  bool float_scales_;
};

}  // namespace

base::Entry<Exporter> mlx_entry() {
  return base::make_entry<base::Entry<Exporter>, MlxConfig>(
      "mlx", "MLX folders (mlx-lm, affine quantization) for Apple silicon", "",
      [](const MlxConfig& config) { return std::make_unique<Mlx>(config); });
}

}  // namespace rqat::exporting
