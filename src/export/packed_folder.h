// The course that exporters of packed Hugging Face folders share.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "layers.h"
#include "rqat/export/exporter.h"
#include "tensor_plan.h"

namespace rqat::exporting {

/// What tells one packed format from another.
struct PackedFormat {
  const char* name;  ///< of the exporter
  /// Adds the tensors of a quantized weight to the plan.
  std::function<ExportReport::Layer(const StoredLinear&, TensorPlan&)> plan;
  /// What config.json says of the format, under `config_key`.
  std::function<nlohmann::json(const std::vector<StoredLinear>&)> quantization;
  const char* config_key = "quantization_config";
  const char* own_file = nullptr;  ///< holds `quantization` a second time
};

/// Writes `folder` atomically: packed weights, the others in the model's dtype, and the model files of `source`. Throws
/// ConfigError with all faults of export_faults(), DataError of check_layers(), IoError of write_model_folder().
ExportReport write_packed_folder(const Exporter& exporter, const PackedFormat& format, model::CausalLM& model,
                                 const std::filesystem::path& source, const std::filesystem::path& folder);

}  // namespace rqat::exporting
