#include "rqat/pipeline/model_folder.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"
#include "rqat/export/import.h"
#include "rqat/io/gguf.h"
#include "rqat/io/gguf_import.h"
#include "rqat/io/json_file.h"
#include "rqat/io/model_files.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/missing_model.h"
#include "rqat/quant/fake_quant_linear.h"
#include "rqat/quant/state.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;

constexpr const char* kFormatsFile = "rqat_quant.json";

std::string stored_dtype(const fs::path& folder) {
  if (!fs::exists(folder / "config.json")) model::read_model_config(folder);  // says what is wrong with the folder
  const nlohmann::json config = io::read_json(folder / "config.json");
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key) && config[key].is_string()) return config[key].get<std::string>();
  }
  return "float32";
}

at::ScalarType compute_dtype(const fs::path& folder, const std::string& wanted) {
  const std::string name = wanted == "auto" ? stored_dtype(folder) : wanted;
  // fp16 checkpoints are computed in bfloat16: same size, and no overflow in training.
  return dtype_by_name(name == "float16" ? "bfloat16" : name);
}

void add_stop_id(std::vector<int64_t>& ids, int64_t id) {
  if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

std::unique_ptr<nn::LayerFactory> make_factory(const fs::path& folder, const LoadOptions& options, bool quantized) {
  if (quantized) {
    const fs::path file = folder / kFormatsFile;
    return std::make_unique<quant::QuantLayerFactory>(quant::read_formats(base::read_file(file), file.string()),
                                                      options.estimator);
  }
  if (options.policy != nullptr) return std::make_unique<quant::QuantLayerFactory>(*options.policy, options.estimator);
  return std::make_unique<nn::FloatLayerFactory>();
}

void restore_state(model::CausalLM& model, const fs::path& folder, bool with_masters) {
  const io::SafetensorsReader reader(folder / kStateFile);
  // Layer by layer: packed codes of the whole model would stand beside the unpacked ones.
  for (nn::LinearBase* linear : model.linears()) {
    std::map<std::string, at::Tensor> tensors;
    const std::string prefix = linear->name() + ".weight_";
    for (auto place = reader.tensors().lower_bound(prefix); place != reader.tensors().end(); ++place) {
      if (!base::starts_with(place->first, prefix)) break;
      tensors.emplace(place->first, reader.read(place->first));
    }
    quant::load_state({linear}, tensors);
    if (!with_masters && tensors.erase(prefix + "master") > 0) quant::load_state({linear}, tensors);
  }
}

}  // namespace

at::Device pick_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const bool has_cuda = at::hasCUDA();
  if (name == "auto") return has_cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name != "cuda") throw base::ConfigError(cat("unknown device '", name, "' (auto, cpu, cuda)"));
  if (!has_cuda)
    throw base::ConfigError("device: cuda was asked for, but no CUDA GPU is visible; `rqat env` tells more");
  return at::Device(at::kCUDA, 0);
}

at::ScalarType dtype_by_name(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw base::ConfigError(cat("unknown dtype '", name, "' (bfloat16, float32)"));
}

void copy_model_files(const fs::path& source, const fs::path& folder) {
  if (fs::weakly_canonical(source) == fs::weakly_canonical(folder)) return;
  if (fs::exists(source / "config.json"))
    base::write_file(folder / "config.json", base::read_file(source / "config.json"));
  io::copy_companion_files(source, folder);
}

bool needs_import(const fs::path& path) {
  return path.extension() == ".gguf" || exporting::is_quantized_checkpoint(path);
}

void import_model(const fs::path& path, const fs::path& folder, const std::string& dtype) {
  if (path.extension() == ".gguf") {
    io::import_gguf(path, folder, dtype);
  } else {
    exporting::import_quantized(path, folder, dtype);
  }
}

model::ModelConfig config_of(const fs::path& path) {
  if (!needs_import(path)) return model::read_model_config(path);
  const base::ScratchFolder scratch("import");
  if (path.extension() == ".gguf") {
    const io::GgufReader reader(path);
    io::write_json(scratch.path() / "config.json", io::gguf_model_config(reader, "bfloat16"));
    io::write_json(scratch.path() / "generation_config.json", io::gguf_generation_config(reader));
  } else {
    exporting::write_plain_config(path, scratch.path());
  }
  return model::read_model_config(scratch.path());
}

LoadedModel load_model_folder(const fs::path& path, const LoadOptions& options) {
  if (!fs::exists(path))
    throw base::IoError(cat(path.string(), ": no such model folder or GGUF file", missing_model_advice(path)));
  if (needs_import(path)) {
    const base::ScratchFolder scratch("import");
    const fs::path imported = scratch.path() / "model";
    import_model(path, imported, options.dtype == "float32" ? "float32" : "bfloat16");
    LoadedModel loaded = load_model_folder(imported, options);
    loaded.folder = path;
    return loaded;
  }
  LoadedModel loaded;
  loaded.folder = path;
  loaded.quantized = fs::exists(path / kFormatsFile);
  const std::unique_ptr<nn::LayerFactory> factory = make_factory(path, options, loaded.quantized);
  loaded.model = model::load_model(path, *factory, compute_dtype(path, options.dtype), options.device);
  if (loaded.quantized) restore_state(*loaded.model, path, options.with_masters);
  loaded.stop_ids = loaded.model->config().eos_token_ids;
  if (options.with_tokenizer) {
    loaded.tokenizer = text::load_tokenizer(path);
    loaded.chat = text::load_chat_template(path);
    add_stop_id(loaded.stop_ids, loaded.tokenizer->eos_id());
    add_stop_id(loaded.stop_ids, loaded.tokenizer->token_id(base::trim(loaded.chat->stop_text())));
  }
  return loaded;
}

void save_model_folder(model::CausalLM& model, const fs::path& source, const fs::path& folder) {
  fs::create_directories(folder);
  copy_model_files(source, folder);
  nlohmann::json config = io::read_json(folder / "config.json");
  const std::string dtype = model.dtype() == at::kFloat ? "float32" : "bfloat16";
  config["torch_dtype"] = dtype;
  if (config.contains("dtype")) config["dtype"] = dtype;
  io::write_json(folder / "config.json", config);
  const std::map<std::string, quant::QuantFormat> formats = quant::formats_of(model.linears());
  if (!formats.empty()) {
    base::write_file(folder / kFormatsFile, quant::write_formats(formats));
    io::write_safetensors(folder / kStateFile, quant::state_tensors(model.linears()));
  }
  const io::TensorMap weights = model.weights();
  std::map<std::string, io::TensorInfo> layout;
  for (const auto& [name, tensor] : weights) layout[name] = {tensor.scalar_type(), tensor.sizes().vec()};
  io::write_model_tensors(folder, layout, [&](const std::string& name) { return weights.at(name); });
}

}  // namespace rqat::pipeline
