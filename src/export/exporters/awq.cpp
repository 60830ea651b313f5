// AWQ files (AutoAWQ's GEMM layout): 4 bits, any zero point, packed along the outputs.
//
//   qweight int32 [K, N / 8], qzeros int32 [G, N / 8], scales float16 [G, N]
//   nibble i of a word holds column [0, 2, 4, 6, 1, 3, 5, 7][i] of its eight
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <set>

#include "layers.h"
#include "packed_folder.h"
#include "packed_layers.h"
#include "round_trip.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "serving.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;
using quant::FakeQuantLinear;

constexpr int64_t kNibbles = 8;
constexpr int64_t kColumnOfNibble[kNibbles] = {0, 2, 4, 6, 1, 3, 5, 7};

/// int32 [K, N / 8] of values 0..15 [N, K]; transposed as words, of which there are fewer than values.
at::Tensor pack_outputs(const at::Tensor& values) {
  const at::Tensor eights = values.contiguous().view({-1, kNibbles, values.size(1)});
  at::Tensor words = at::zeros({eights.size(0), eights.size(2)}, eights.options().dtype(at::kInt));
  for (int64_t i = 0; i < kNibbles; ++i)
    words.bitwise_or_(eights.select(1, kColumnOfNibble[i]).to(at::kInt).bitwise_left_shift_(4 * i));
  return words.to(at::kCPU).t().contiguous();
}

/// Names of layers kept in float. vLLM looks for them inside the names of fused layers, so these stand beside.
std::vector<std::string> float_names(const std::vector<StoredLinear>& stored) {
  std::set<std::string> names{"lm_head"};
  for (const StoredLinear& linear : stored) {
    if (linear.quantized()) continue;
    const std::string& name = linear.name;
    const size_t dot = name.rfind('.');
    const std::string parent = name.substr(0, dot + 1), last = name.substr(dot + 1);
    names.insert(name);
    if (last == "q_proj" || last == "k_proj" || last == "v_proj") names.insert(parent + "qkv_proj");
    if (last == "gate_proj" || last == "up_proj") names.insert(parent + "gate_up_proj");
  }
  return {names.begin(), names.end()};
}

class Awq : public Exporter {
 public:
  std::vector<std::string> check(const Linears& linears) const override {
    std::vector<std::string> faults = layer_faults(linears, faults_of);
    std::set<int64_t> groups;
    for (nn::LinearBase* linear : linears) {
      if (const FakeQuantLinear* layer = as_quantized(linear)) groups.insert(scheme_for(*layer).group_size);
    }
    if (groups.size() > 1) {
      faults.emplace_back(
          "AWQ files have one group_size for all layers; give them one, or export as compressed_tensors");
    }
    for (std::string& fault : fused_set_faults(linears)) faults.push_back(std::move(fault));
    return faults;
  }

  std::string home_engine() const override { return "vllm"; }

  EngineAdvice advise(const std::string& engine, model::CausalLM& model, const fs::path& folder) const override {
    EngineAdvice advice;
    if (engine == "llama.cpp" || engine == "mlx") {
      advice.faults.push_back(other_files_fault(engine));
      return advice;
    }
    advice.notes.emplace_back("compute in float16: bfloat16 rounds the stored scales");
    if (engine == "transformers") {
      advice.notes.emplace_back("transformers loads AWQ files by way of the accelerate and gptqmodel packages");
      advice.command = transformers_command(folder, "float16");
      return advice;
    }
    const std::string groups = marlin_group_note(needs_of(model.linears()));
    if (!groups.empty()) advice.notes.push_back(groups);
    advice.command = engine == "vllm" ? vllm_command(folder, "float16", served_context(model))
                                      : sglang_command(folder, "float16", served_context(model));
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    return write_packed_folder(*this, {"awq", plan_linear, quantization_config}, model, source, folder);
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    return compare_folder(model, folder, probe,
                          [](const FakeQuantLinear& layer, const StoredRows& rows, const io::TensorSource& stored) {
                            const int64_t group = layer.format().resolved_group(layer.spec().in_features);
                            return rows_of(read_awq(stored, rows.name, group), rows);
                          });
  }

 private:
  static std::vector<std::string> faults_of(const FakeQuantLinear& layer) {
    std::vector<std::string> faults = short_group_faults(layer);
    if (layer.format().num_bits != 4) faults.push_back(cat("AWQ holds 4 bits, not ", layer.format().num_bits));
    if (layer.spec().out_features % kNibbles != 0) {
      faults.push_back(cat("outputs are no multiple of 8 (", layer.spec().out_features, ")"));
    }
    for (std::string& fault : float16_faults(layer, "AWQ files")) faults.push_back(std::move(fault));
    for (std::string& fault : act_order_faults(layer, "an AWQ file")) faults.push_back(std::move(fault));
    return faults;
  }

  /// One group size holds for all layers: check() saw to it.
  static json quantization_config(const std::vector<StoredLinear>& stored) {
    int64_t group_size = -1;
    for (const StoredLinear& linear : stored) {
      if (const FakeQuantLinear* layer = linear.quantized()) group_size = scheme_for(*layer).group_size;
    }
    return {{"quant_method", "awq"},
            {"bits", 4},
            {"group_size", group_size},
            {"zero_point", true},
            {"version", "gemm"},
            {"backend", "autoawq"},
            {"modules_to_not_convert", float_names(stored)}};
  }

  static ExportReport::Layer plan_linear(const StoredLinear& linear, TensorPlan& plan) {
    const FakeQuantLinear* layer = linear.quantized();
    const int64_t rows = linear.rows(), columns = linear.columns();
    const int64_t groups = layer->format().num_groups(columns);
    const std::string& name = linear.name;
    int64_t bytes = plan.add(name + ".qweight", at::kInt, {columns, rows / kNibbles},
                             [linear] { return pack_outputs(linear.codes()); });
    bytes += plan.add(name + ".qzeros", at::kInt, {groups, rows / kNibbles},
                      [linear] { return pack_outputs(linear.params().zero_point); });
    bytes += plan.add(name + ".scales", at::kHalf, {groups, rows},
                      [linear] { return linear.params().scale.t().to(at::kHalf).contiguous(); });
    return {name, layer->format().text(), "AWQ", bytes};
  }
};

}  // namespace

base::Entry<Exporter> awq_entry() {
  return base::make_entry<base::Entry<Exporter>, base::NoConfig>(
      "awq", "AWQ files, 4 bits symmetric or not, for vLLM and SGLang", "2306.00978",
      [](const base::NoConfig&) { return std::make_unique<Awq>(); });
}

}  // namespace rqat::exporting
