// compressed-tensors "pack-quantized" (github.com/vllm-project/compressed-tensors): codes in a dense bit stream along
// the inputs, read by vLLM, transformers and llama.cpp's converter.
//
//   stored code = q + 2^(b-1) of the format's signed q, which is rqat's unsigned code; the zero point has the same
//   offset, so (q - z) and with it the weight are the same in both.
#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "layers.h"
#include "pack_quantized.h"
#include "packed_folder.h"
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

// The release whose reader the files are tested with; its dense 3-bit stream is what this exporter writes.
constexpr const char* kLayoutVersion = "0.20.0";

json scheme_json(const Scheme& scheme, const std::vector<std::string>& targets) {
  const bool grouped = scheme.group_size > 0;
  const json weights{{"num_bits", scheme.num_bits},
                     {"type", "int"},
                     {"symmetric", scheme.symmetric},
                     {"strategy", grouped ? "group" : "channel"},
                     {"group_size", grouped ? json(scheme.group_size) : json()},
                     {"dynamic", false},
                     {"actorder", nullptr},
                     {"block_structure", nullptr},
                     {"observer", "minmax"},
                     {"observer_kwargs", json::object()}};
  return {{"targets", targets},
          {"weights", weights},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", "pack-quantized"}};
}

json quantization_config(const std::vector<StoredLinear>& stored) {
  std::map<Scheme, std::vector<std::string>> layers;
  std::vector<std::string> ignore{"lm_head"};
  for (const StoredLinear& linear : stored) {
    if (const FakeQuantLinear* layer = linear.quantized()) {
      layers[scheme_for(*layer)].push_back(linear.name);
    } else {
      ignore.push_back(linear.name);
    }
  }
  json groups = json::object();
  for (const auto& [scheme, names] : layers) {
    const std::vector<std::string> targets = layers.size() == 1 ? std::vector<std::string>{"Linear"} : names;
    groups[cat("group_", groups.size())] = scheme_json(scheme, targets);
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", ignore},
          {"config_groups", groups},
          {"version", kLayoutVersion}};
}

at::ScalarType scale_type(const FakeQuantLinear& layer) {
  return layer.format().scale_dtype == "float16" ? at::kHalf : at::kBFloat16;
}

int64_t words(int64_t count, int64_t num_bits) { return (count * num_bits + 31) / 32; }

int64_t plan_packed(const StoredLinear& linear, TensorPlan& plan) {
  const quant::QuantFormat& format = linear.quantized()->format();
  const at::ScalarType scale_dtype = scale_type(*linear.quantized());
  const int64_t rows = linear.rows(), columns = linear.columns();
  const int64_t bits = format.num_bits, groups = format.num_groups(columns);
  const std::string& name = linear.name;
  int64_t bytes = plan.add(name + ".weight_packed", at::kInt, {rows, words(columns, bits)},
                           [linear, bits] { return ops::pack_codes(linear.codes(), bits).to(at::kCPU); });
  bytes += plan.add(name + ".weight_scale", scale_dtype, {rows, groups},
                    [linear, scale_dtype] { return linear.params().scale.to(scale_dtype).contiguous(); });
  bytes += plan.add(name + ".weight_shape", at::tensor({rows, columns}, at::kLong));
  if (format.symmetric) return bytes;
  return bytes + plan.add(name + ".weight_zero_point", at::kInt, {words(rows, bits), groups}, [linear, bits] {
    return ops::pack_codes(linear.params().zero_point.t().contiguous(), bits).t().contiguous();
  });
}

class CompressedTensors : public Exporter {
 public:
  std::vector<std::string> check(const Linears& linears) const override {
    std::vector<std::string> faults = common_faults(linears);
    std::map<int64_t, std::vector<std::string>> short_groups;  // group size -> layers it does not divide
    std::vector<std::string> spread;
    for (nn::LinearBase* linear : linears) {
      const FakeQuantLinear* layer = as_quantized(linear);
      if (!layer) continue;
      const int64_t bits = layer->format().num_bits;
      if (bits < 2 || bits > 8)
        faults.push_back(cat("layer ", layer->name(), " has ", bits, " bits; 2 to 8 can be written"));
      if (!act_order_faults(*layer, "").empty()) spread.push_back(layer->name());
      const int64_t group = layer->format().resolved_group(layer->spec().in_features);
      if (layer->spec().in_features % group != 0) {
        short_groups[group].push_back(cat(layer->name(), " [", layer->spec().in_features, " inputs]"));
      }
    }
    for (const auto& [group, names] : short_groups) {
      faults.push_back(
          cat("group_size ", group, " does not divide the inputs of ", names_text(names),
              ": the last group is short, and engines do not read that; quantize again with a group_size that "
              "divides them (or -1, one scale per row), or export as hf_dequantized"));
    }
    if (!spread.empty()) {
      faults.push_back(cat("groups of ", names_text(spread),
                           " are spread over the inputs (act-order), which compressed-tensors cannot say any more "
                           "(actorder: group was removed in ",
                           kLayoutVersion, "); export as gptq or hf_dequantized"));
    }
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
    advice.notes.push_back(dtype_note(needs));
    if (needs.any_bits({3})) {
      advice.notes.push_back(
          cat("3 bits are packed densely: readers from before June 2026 misread them; compressed-tensors ",
              kLayoutVersion, " reads them"));
    }
    if (engine == "vllm") advise_vllm(needs, advice);
    if (engine == "sglang") advise_sglang(needs, advice);
    if (engine == "transformers") advise_transformers(needs, advice);
    const std::string groups = engine == "transformers" ? "" : marlin_group_note(needs);
    if (!groups.empty()) advice.notes.push_back(groups);
    if (advice.faults.empty()) advice.command = command_for(engine, needs, folder, served_context(model));
    return advice;
  }

  ExportReport write(model::CausalLM& model, const fs::path& source, const fs::path& folder) const override {
    return write_packed_folder(*this, {"compressed_tensors", plan_linear, quantization_config}, model, source, folder);
  }

  RoundTrip verify(model::CausalLM& model, const fs::path&, const fs::path& folder,
                   const std::vector<std::vector<int64_t>>& probe) const override {
    const fs::path file = folder / "config.json";
    const json config = io::read_json(file);
    return compare_folder(model, folder, probe,
                          [&](const FakeQuantLinear&, const StoredRows& rows, const io::TensorSource& stored) {
                            const PackedScheme scheme = scheme_of(config, rows.name, file);
                            return rows_of(read_pack_quantized(stored, scheme, rows.name), rows);
                          });
  }

 private:
  static ExportReport::Layer plan_linear(const StoredLinear& linear, TensorPlan& plan) {
    return {linear.name, linear.format_text(), "pack-quantized", plan_packed(linear, plan)};
  }

  /// vLLM's CompressedTensorsWNA16 takes zero points with 4 and 8 bits alone.
  static void advise_vllm(const Needs& needs, EngineAdvice& advice) {
    if (needs.any_asymmetric({2, 3})) {
      advice.faults.emplace_back(
          "vLLM refuses asymmetric 2 and 3 bits: quantize with symmetric: true to serve packed codes with it, or "
          "export "
          "as hf_dequantized");
    } else if (needs.any_bits({2, 3})) {
      advice.notes.emplace_back(
          "2 and 3 bits need a vLLM of June 2026 or later (Humming kernels) and an NVIDIA GPU of the Turing generation "
          "or "
          "later");
    }
  }

  static void advise_sglang(const Needs& needs, EngineAdvice& advice) {
    if (needs.any_bits({2, 3})) {
      advice.faults.emplace_back(
          "SGLang loads 4 and 8 bits of compressed-tensors, not 2 and 3; export as hf_dequantized");
    }
  }

  /// transformers 5.23 with compressed-tensors 0.20 expects the zero points of packed layers unpacked, also for files
  /// that compressed-tensors wrote; dequantizing on load avoids it, but takes the first group of config.json for all
  /// layers.
  static void advise_transformers(const Needs& needs, EngineAdvice& advice) {
    if (needs.asymmetric_bits.empty()) return;
    advice.notes.emplace_back(
        "transformers 5.23 loads asymmetric files only with CompressedTensorsConfig(dequantize=True)");
    if (needs.schemes.size() > 1) {
      advice.faults.emplace_back(
          "transformers 5.23 loads asymmetric files only when all layers have one format: export as hf_dequantized");
    }
  }

  static std::string command_for(const std::string& engine, const Needs& needs, const fs::path& folder,
                                 int64_t context) {
    if (engine == "vllm") return vllm_command(folder, needs.dtype, context);
    if (engine == "sglang") return sglang_command(folder, needs.dtype, context);
    if (needs.asymmetric_bits.empty()) return transformers_command(folder, needs.dtype);
    return transformers_command(folder, needs.dtype, ", CompressedTensorsConfig",
                                ", quantization_config=CompressedTensorsConfig(dequantize=True)");
  }
};

}  // namespace

base::Entry<Exporter> compressed_tensors_entry() {
  return base::make_entry<base::Entry<Exporter>, base::NoConfig>(
      "compressed_tensors", "packed codes for vLLM and transformers (compressed-tensors, pack-quantized)", "",
      [](const base::NoConfig&) { return std::make_unique<CompressedTensors>(); });
}

}  // namespace rqat::exporting
