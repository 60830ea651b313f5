#include "serving.h"

#include <algorithm>
#include <map>

#include "folder.h"
#include "rqat/base/strings.h"

namespace rqat::exporting {

namespace {

using base::cat;

constexpr int64_t kLongestContext = 32768;
constexpr int64_t kMarlinGroups[] = {-1, 32, 64, 128};

bool any_of(const std::set<int64_t>& set, std::initializer_list<int64_t> bits) {
  return std::any_of(bits.begin(), bits.end(), [&](int64_t count) { return set.count(count) > 0; });
}

}  // namespace

Scheme scheme_for(const quant::FakeQuantLinear& layer) {
  const quant::QuantFormat& format = layer.format();
  const bool whole_row = format.group_size <= 0 || format.group_size > layer.spec().in_features;
  return {format.num_bits, whole_row ? -1 : format.group_size, format.symmetric};
}

bool Needs::any_asymmetric(std::initializer_list<int64_t> bits) const { return any_of(asymmetric_bits, bits); }
bool Needs::any_bits(std::initializer_list<int64_t> bits) const {
  return any_of(symmetric_bits, bits) || any_of(asymmetric_bits, bits);
}

Needs needs_of(const Linears& linears) {
  Needs needs;
  needs.dtype = "bfloat16";
  for (nn::LinearBase* linear : linears) {
    const quant::FakeQuantLinear* layer = as_quantized(linear);
    if (!layer) continue;
    const quant::QuantFormat& format = layer->format();
    (format.symmetric ? needs.symmetric_bits : needs.asymmetric_bits).insert(format.num_bits);
    needs.schemes.insert(scheme_for(*layer));
    needs.act_order = needs.act_order || format.act_order;
    if (format.scale_dtype == "float16") needs.dtype = "float16";
  }
  return needs;
}

std::string dtype_note(const Needs& needs) {
  return cat("compute in ", needs.dtype, ": other dtypes round the stored scales");
}

std::string marlin_group_note(const Needs& needs) {
  for (const Scheme& scheme : needs.schemes) {
    const bool known =
        std::find(std::begin(kMarlinGroups), std::end(kMarlinGroups), scheme.group_size) != std::end(kMarlinGroups);
    if (known || (scheme.num_bits != 4 && scheme.num_bits != 8)) continue;
    return cat("group_size ", scheme.group_size,
               " has no Marlin kernel (32, 64, 128 and whole rows have): slower kernels are used, where there are any");
  }
  return "";
}

std::string other_files_fault(const std::string& engine) {
  static const std::map<std::string, std::string> formats{
      {"vllm", "compressed_tensors, gptq, awq or hf_dequantized"},
      {"sglang", "compressed_tensors, gptq, awq or hf_dequantized"},
      {"llama.cpp", "gguf"},
      {"transformers", "hf_dequantized, compressed_tensors or gptq"},
      {"mlx", "mlx or hf_dequantized"}};
  return cat(engine, " does not load these files; export as ", formats.at(engine));
}

int64_t served_context(model::CausalLM& model) {
  return std::min(model.config().max_position_embeddings, kLongestContext);
}

std::string vllm_command(const std::filesystem::path& folder, const std::string& dtype, int64_t context,
                         const std::string& more) {
  return cat("vllm serve ", shell_word(folder), " --dtype ", dtype, " --max-model-len ", context, more);
}

std::string sglang_command(const std::filesystem::path& folder, const std::string& dtype, int64_t context) {
  return cat("python -m sglang.launch_server --model-path ", shell_word(folder), " --dtype ", dtype,
             " --context-length ", context);
}

std::string transformers_command(const std::filesystem::path& folder, const std::string& dtype,
                                 const std::string& imports, const std::string& arguments) {
  return cat("python -c \"import sys, torch; from transformers import AutoModelForCausalLM", imports,
             "; AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.", dtype, arguments, ")\" ",
             shell_word(folder));
}

std::string mlx_command(const std::filesystem::path& folder) {
  return cat("mlx_lm.server --model ", shell_word(folder));
}

void describe_serving(const Exporter& exporter, model::CausalLM& model, const std::filesystem::path& folder,
                      ExportReport& report) {
  EngineAdvice advice = exporter.advise(exporter.home_engine(), model, folder);
  report.serve_command = advice.command;
  report.notes = std::move(advice.notes);
  for (std::string& fault : advice.faults) report.notes.push_back(std::move(fault));
}

}  // namespace rqat::exporting
