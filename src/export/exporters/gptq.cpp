// GPTQ files (AutoGPTQ's layout, as GPTQModel, vLLM and SGLang read it): codes packed along the inputs.
//
//   qweight int32 [K b / 32, N], qzeros int32 [G, N b / 32], scales float16 [G, N], g_idx int32 [K] = group of input k
//   version 1 keeps z - 1 in qzeros, version 2 keeps z
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
#include "rqat/io/json_file.h"
#include "rqat/ops/quantize.h"
#include "serving.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;
using quant::FakeQuantLinear;

constexpr const char* kVersion1 = "gptq";
constexpr const char* kVersion2 = "gptq_v2";

struct GptqConfig : base::Config {
  std::string checkpoint_format = "auto";
  void fields(base::FieldVisitor& v) override {
    v.choice("checkpoint_format", checkpoint_format, {"auto", kVersion1, kVersion2},
             "gptq = version 1, symmetric only, read by all; gptq_v2 = version 2; auto = version 1 where it can be");
  }
};

std::string regex_text(const std::string& name) { return base::replace_all(name, ".", "\\."); }

/// A pattern for the members of a fused set, and for the name that vLLM gives the set, else for the layer alone.
std::string rule_for(const std::string& name) {
  const size_t dot = name.rfind('.');
  const std::string parent = regex_text(name.substr(0, dot + 1)), last = name.substr(dot + 1);
  if (last == "q_proj" || last == "k_proj" || last == "v_proj") return parent + "(?:q_proj|k_proj|v_proj|qkv_proj)$";
  if (last == "gate_proj" || last == "up_proj") return parent + "(?:gate_proj|up_proj|gate_up_proj)$";
  return parent + last + "$";
}

/// `desc_act` tells readers to heed g_idx; where that is k / group it changes nothing.
json scheme_json(const Scheme& scheme, bool desc_act) {
  return {
      {"bits", scheme.num_bits}, {"group_size", scheme.group_size}, {"sym", scheme.symmetric}, {"desc_act", desc_act}};
}

/// The scheme of most layers is the file's; the others, and layers in float, are named in `dynamic`.
Scheme main_scheme(const std::vector<StoredLinear>& stored) {
  std::map<Scheme, int64_t> counts;
  for (const StoredLinear& linear : stored) {
    if (const FakeQuantLinear* layer = linear.quantized()) ++counts[scheme_for(*layer)];
  }
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

json quantization_config(const std::vector<StoredLinear>& stored, const std::string& checkpoint_format) {
  const Scheme scheme = main_scheme(stored);
  const bool desc_act = std::any_of(stored.begin(), stored.end(), [](const StoredLinear& linear) {
    return linear.quantized() && linear.quantized()->format().act_order;
  });
  json config = scheme_json(scheme, desc_act), dynamic{{"-:.*lm_head.*", json::object()}};
  for (const StoredLinear& linear : stored) {
    const FakeQuantLinear* layer = linear.quantized();
    if (!layer) {
      dynamic["-:" + rule_for(linear.name)] = json::object();
    } else if (const Scheme own = scheme_for(*layer); own < scheme || scheme < own) {
      dynamic["+:" + rule_for(linear.name)] = scheme_json(own, desc_act);
    }
  }
  config.update({{"quant_method", "gptq"},
                 {"checkpoint_format", checkpoint_format},
                 {"pack_dtype", "int32"},
                 {"lm_head", false},
                 {"true_sequential", true},
                 {"damp_percent", 0.01},
                 {"static_groups", false},
                 {"dynamic", dynamic},
                 {"modules_in_block_to_quantize", nullptr},
                 {"meta", {{"quantizer", {cat("rqat:", RQAT_VERSION)}}}}});
  return config;
}

class Gptq : public Exporter {
 public:
  explicit Gptq(const GptqConfig& config) : format_(config.checkpoint_format) {}

  std::vector<std::string> check(const Linears& linears) const override {
    std::vector<std::string> faults =
        layer_faults(linears, [this](const FakeQuantLinear& layer) { return faults_of(layer); });
    for (std::string& fault : fused_set_faults(linears)) faults.push_back(std::move(fault));
    return faults;
  }

  std::string home_engine() const override { return "vllm"; }

  EngineAdvice advise(const std::string& engine, model::CausalLM& model, const fs::path& folder) const override {
    const Needs needs = needs_of(model.linears());
    EngineAdvice advice;
    if (engine == "llama.cpp" || engine == "mlx") {
      advice.faults.push_back(other_files_fault(engine));
      return advice;
    }
    if (engine == "transformers") {
      advice.notes.emplace_back("transformers loads GPTQ files by way of the optimum and gptqmodel packages");
      advice.command = transformers_command(folder, "float16");
      return advice;
    }
    advice.notes.push_back("compute in float16: bfloat16 rounds the stored scales");
    if (!needs.asymmetric_bits.empty()) {
      advice.faults.push_back(cat(engine,
                                  " has no GPTQ kernel for asymmetric formats: export 4 bits as awq, others as "
                                  "compressed_tensors, or quantize with symmetric: true"));
    }
    const bool low_bits = needs.any_bits({2, 3});
    if (low_bits && engine == "sglang") advice.faults.emplace_back("SGLang loads 4 and 8 bits of GPTQ, not 2 and 3");
    if (low_bits && engine == "vllm") {
      advice.notes.emplace_back(
          "2 and 3 bits need a vLLM of June 2026 or later (Humming kernels) and an NVIDIA GPU of the Turing generation "
          "or "
          "later");
    }
    if (low_bits && needs.act_order && engine == "vllm") {
      advice.faults.emplace_back(
          "vLLM's kernels for 2 and 3 bits (Humming) take no act-order (desc_act); export as hf_dequantized");
    }
    const std::string groups = marlin_group_note(needs);
    if (!groups.empty()) advice.notes.push_back(groups);
    if (!advice.faults.empty()) return advice;
    advice.command = engine == "vllm" ? vllm_command(folder, "float16", served_context(model),
                                                     low_bits ? " --quantization humming" : "")
                                      : sglang_command(folder, "float16", served_context(model));
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    const std::string version = checkpoint_format(model.linears());
    const bool minus_one = version == kVersion1;
    const auto plan = [=](const StoredLinear& linear, TensorPlan& to) { return plan_linear(linear, minus_one, to); };
    const auto quantization = [=](const std::vector<StoredLinear>& stored) {
      return quantization_config(stored, version);
    };
    const PackedFormat format{"gptq", plan, quantization, "quantization_config", "quantize_config.json"};
    return write_packed_folder(*this, format, model, source, folder);
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    const json config = io::read_json(folder / "config.json");
    const bool minus_one = config.at("quantization_config").at("checkpoint_format") == kVersion1;
    return compare_folder(model, folder, probe,
                          [&](const FakeQuantLinear& layer, const StoredRows& rows, const io::TensorSource& stored) {
                            const int64_t group = layer.format().resolved_group(layer.spec().in_features);
                            return rows_of(read_gptq(stored, rows.name, layer.format().num_bits, group, minus_one),
                                           rows);
                          });
  }

 private:
  std::vector<std::string> faults_of(const FakeQuantLinear& layer) const {
    std::vector<std::string> faults = short_group_faults(layer);
    const int64_t columns = layer.spec().in_features;
    if (columns % 32 != 0) faults.push_back(cat("inputs are no multiple of 32 (", columns, ")"));
    if (layer.spec().out_features % 32 != 0) {
      faults.push_back(cat("outputs are no multiple of 32 (", layer.spec().out_features, ")"));
    }
    if (format_ == kVersion1 && !layer.format().symmetric) {
      faults.emplace_back(
          "version 1 keeps z - 1, which readers take wrong for zero points of 0: asymmetric formats need "
          "checkpoint_format: gptq_v2");
    }
    for (std::string& fault : float16_faults(layer, "GPTQ files")) faults.push_back(std::move(fault));
    return faults;
  }

  std::string checkpoint_format(const Linears& linears) const {
    if (format_ != "auto") return format_;
    return needs_of(linears).asymmetric_bits.empty() ? kVersion1 : kVersion2;
  }

  static ExportReport::Layer plan_linear(const StoredLinear& linear, bool minus_one, TensorPlan& plan) {
    const FakeQuantLinear* layer = linear.quantized();
    const int64_t rows = linear.rows(), columns = linear.columns();
    const int64_t bits = layer->format().num_bits, groups = layer->format().num_groups(columns);
    const std::string& name = linear.name;
    int64_t bytes = plan.add(name + ".qweight", at::kInt, {columns * bits / 32, rows}, [linear, bits] {
      return ops::pack_codes(linear.by_input(linear.codes()).contiguous(), bits).to(at::kCPU).t().contiguous();
    });
    bytes += plan.add(name + ".qzeros", at::kInt, {groups, rows * bits / 32}, [linear, bits, minus_one] {
      // Field by field: in whole words a borrow would run into the neighbors.
      const int64_t mask = (int64_t{1} << bits) - 1;
      const at::Tensor zeros = linear.params().zero_point.t().to(at::kInt).sub(minus_one ? 1 : 0).bitwise_and(mask);
      return ops::pack_codes(zeros.to(at::kByte).contiguous(), bits).to(at::kCPU);
    });
    bytes += plan.add(name + ".scales", at::kHalf, {groups, rows},
                      [linear] { return linear.params().scale.t().to(at::kHalf).contiguous(); });
    bytes += plan.add(name + ".g_idx", at::kInt, {columns},
                      [layer] { return layer->group_of_input().to(at::kCPU, at::kInt); });
    return {name, layer->format().text(), minus_one ? "GPTQ v1" : "GPTQ v2", bytes};
  }

  std::string format_;
};

}  // namespace

base::Entry<Exporter> gptq_entry() {
  return base::make_entry<base::Entry<Exporter>, GptqConfig>(
      "gptq", "GPTQ files, versions 1 and 2, for vLLM, SGLang and GPTQModel", "2210.17323",
      [](const GptqConfig& config) { return std::make_unique<Gptq>(config); });
}

}  // namespace rqat::exporting
