// What exporters share when they say how an engine serves their files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "layers.h"
#include "rqat/export/exporter.h"

namespace rqat::exporting {

/// What config files can tell apart of a layer's format.
struct Scheme {
  int64_t num_bits, group_size;  ///< group_size -1 = one scale per row
  bool symmetric;
  bool operator<(const Scheme& other) const {
    return std::tie(num_bits, group_size, symmetric) < std::tie(other.num_bits, other.group_size, other.symmetric);
  }
};
Scheme scheme_for(const quant::FakeQuantLinear& layer);

/// What the quantized layers of a model ask of an engine.
struct Needs {
  std::set<int64_t> symmetric_bits, asymmetric_bits;
  std::set<Scheme> schemes;
  bool act_order = false;  ///< groups of some layer are spread over its inputs
  std::string dtype;  ///< the compute dtype that keeps the scales exact: an engine in bfloat16 rounds float16 scales
  bool any_bits(std::initializer_list<int64_t> bits) const;
  bool any_asymmetric(std::initializer_list<int64_t> bits) const;
};
Needs needs_of(const Linears& linears);

/// "compute in float16: other dtypes round the stored scales"
std::string dtype_note(const Needs& needs);
/// A note when Marlin, the kernels of vLLM and SGLang for 4 and 8 bits, has none for some group size; else "".
std::string marlin_group_note(const Needs& needs);
/// Fault of an engine that reads other files only, with the formats to choose instead.
std::string other_files_fault(const std::string& engine);

/// Context to serve with: the model's, but no more than engines make room for without being asked.
int64_t served_context(model::CausalLM& model);
std::string vllm_command(const std::filesystem::path& folder, const std::string& dtype, int64_t context,
                         const std::string& more = "");
std::string sglang_command(const std::filesystem::path& folder, const std::string& dtype, int64_t context);
/// Loads the folder in a Python process; `arguments` go to from_pretrained.
std::string transformers_command(const std::filesystem::path& folder, const std::string& dtype,
                                 const std::string& imports = "", const std::string& arguments = "");
std::string mlx_command(const std::filesystem::path& folder);

/// Puts the advice for the exporter's home engine into the report: a fault there is a note, since nobody asked for this
/// engine.
void describe_serving(const Exporter& exporter, model::CausalLM& model, const std::filesystem::path& folder,
                      ExportReport& report);

}  // namespace rqat::exporting
