#include <algorithm>
#include <set>

#include "layers.h"
#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"

namespace rqat::exporting {

namespace {

using base::cat;

/// Every quantized weight must be in the report, as packed.
std::vector<std::string> layers_not_packed(const ExportReport& report, const std::vector<StoredLinear>& stored) {
  std::set<std::string> packed;
  for (const ExportReport::Layer& layer : report.layers) {
    if (layer.stored_as != "float") packed.insert(layer.name);
  }
  std::vector<std::string> missing;
  for (const StoredLinear& linear : stored) {
    if (linear.quantized() && packed.count(linear.name) == 0) missing.push_back(linear.name);
  }
  return missing;
}

}  // namespace

std::vector<std::string> Exporter::check_architecture(const model::ModelConfig&) const { return {}; }

std::vector<StoredLinear> Exporter::stored(model::CausalLM& model) const { return stored_linears(model); }

const std::vector<std::string>& engines() {
  static const std::vector<std::string> names{"vllm", "sglang", "llama.cpp", "transformers", "mlx"};
  return names;
}

std::vector<std::string> export_faults(const Exporter& exporter, model::CausalLM& model, const std::string& engine) {
  if (!engine.empty() && std::find(engines().begin(), engines().end(), engine) == engines().end()) {
    throw base::ConfigError(cat("unknown engine '", engine, "' (one of ", base::join(engines(), ", "), ")"));
  }
  std::vector<std::string> faults = exporter.check_architecture(model.config());
  for (std::string& fault : exporter.check(model.linears())) faults.push_back(std::move(fault));
  if (faults.empty()) faults = stored_linear_faults(exporter.stored(model));
  if (!faults.empty() || engine.empty()) return faults;
  return exporter.advise(engine, model, "DIR").faults;
}

Exported export_model(const Exporter& exporter, const std::string& name, model::CausalLM& model,
                      const std::filesystem::path& source, const std::filesystem::path& folder,
                      const std::string& engine, const std::vector<std::vector<int64_t>>& probe) {
  raise_faults(name, export_faults(exporter, model, engine));
  Exported exported;
  exported.report = exporter.write(model, source, folder);
  const auto fail = [&](const std::string& why) {
    base::remove_folder(folder);
    throw base::DataError(cat(folder.string(), ": ", why));
  };
  const std::vector<std::string> missing = layers_not_packed(exported.report, exporter.stored(model));
  if (!missing.empty()) fail(cat("quantized layers that were not packed, removed: ", names_text(missing)));
  if (!engine.empty()) {
    const EngineAdvice advice = exporter.advise(engine, model, folder);
    exported.report.serve_command = advice.command;
    exported.report.notes = advice.notes;
  }
  exported.trip = exporter.verify(model, source, folder, probe);
  if (!exported.trip.faithful()) fail(cat("read back differs, removed: ", exported.trip.text()));
  return exported;
}

}  // namespace rqat::exporting
