#include "rqat/export/import.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "folder.h"
#include "input_groups.h"
#include "layers.h"
#include "pack_quantized.h"
#include "packed_layers.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/model/causal_lm.h"
#include "rqat/nn/layer_factory.h"
#include "rqat/ops/quantize.h"
#include "rqat/quant/state.h"
#include "tensor_plan.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;
using base::IoError;
using nlohmann::json;

constexpr const char* kFormatsFile = "rqat_quant.json";

at::ScalarType dtype_of(const std::string& name) {
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float32") return at::kFloat;
  throw base::ConfigError(cat("dtype '", name, "' is not supported (one of bfloat16, float32)"));
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// A weight of the checkpoint: that of one linear, or of several.
struct Shape {
  int64_t rows, columns;
  std::vector<StoredRows> parts;  ///< with the linears' own names
};

/// By the names in the files.
std::map<std::string, Shape> shapes_of(const fs::path& source) {
  const base::ScratchFolder scratch("import_config");
  write_plain_config(source, scratch.path());
  nn::FloatLayerFactory factory;
  model::CausalLM model(model::read_model_config(scratch.path()), factory, at::kBFloat16, at::kMeta);
  std::map<std::string, Shape> shapes;
  const std::vector<StoredLinear> stored = stored_linears(model);
  const std::map<std::string, StoredRows> places = stored_rows(stored);
  for (const StoredLinear& linear : stored) {
    Shape shape{linear.rows(), linear.columns(), {}};
    for (nn::LinearBase* part : linear.parts) {
      const StoredRows& place = places.at(part->name());
      shape.parts.push_back({part->name(), place.first, place.count, place.total});
    }
    shapes.emplace(linear.name, std::move(shape));
  }
  return shapes;
}

enum class Method { kGptq, kAwq, kCompressedTensors };

/// A quantized folder of others.
class Checkpoint {
 public:
  explicit Checkpoint(const fs::path& folder)
      : file_(folder / "config.json"), config_(io::read_json(file_)), source_(folder), shapes_(shapes_of(folder)) {
    try {
      read_method();
      find_layers();
    } catch (const json::exception& error) {
      throw IoError(cat(file_.string(), ": quantization_config: ", error.what()));
    }
  }

  const io::TensorSource& source() const { return source_; }
  /// By the names in the files.
  const std::map<std::string, quant::QuantFormat>& formats() const { return formats_; }
  const Shape& shape(const std::string& name) const { return shapes_.at(name); }
  /// By the names of linears.
  std::map<std::string, quant::QuantFormat> linear_formats() const {
    std::map<std::string, quant::QuantFormat> formats;
    for (const auto& [name, format] : formats_) {
      for (const StoredRows& part : shape(name).parts) formats.emplace(part.name, format);
    }
    return formats;
  }
  /// Whether a tensor belongs to a quantized layer (and is not its bias).
  bool is_part_of_a_layer(const std::string& tensor) const {
    const size_t dot = tensor.rfind('.');
    return dot != std::string::npos && formats_.count(tensor.substr(0, dot)) > 0 && tensor.substr(dot) != ".bias";
  }

  StoredLayer read(const std::string& name) const {
    const quant::QuantFormat& format = formats_.at(name);
    StoredLayer layer = read_stored(name, format);
    const Shape& expected = shape(name);
    if (layer.codes.sizes() != at::IntArrayRef{expected.rows, expected.columns}) {
      throw IoError(cat(source_.path().string(), ": layer ", name, " is ", layer.codes.sizes(), ", expected [",
                        expected.rows, ", ", expected.columns, "] by config.json"));
    }
    return layer;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const { throw IoError(cat(file_.string(), ": ", why)); }

  const json& quantization() const { return config_.at("quantization_config"); }

  void read_method() {
    const std::string method = quantization().at("quant_method").get<std::string>();
    if (method == "gptq") {
      method_ = Method::kGptq;
      read_gptq_version();
    } else if (method == "awq") {
      method_ = Method::kAwq;
      const std::string version = quantization().value("version", "gemm");
      if (version != "gemm") fail(cat("AWQ version '", version, "' is not read; only gemm is"));
    } else if (method == "compressed-tensors") {
      method_ = Method::kCompressedTensors;
    } else {
      fail(cat("quantization method '", method,
               "' is not read (gptq, awq and compressed-tensors are); start from the "
               "model it was made from"));
    }
  }

  void read_gptq_version() {
    const std::string format = quantization().value("checkpoint_format", "gptq");
    if (format != "gptq" && format != "gptq_v2") {
      fail(cat("GPTQ checkpoint_format '", format, "' is not read (gptq and gptq_v2 are)"));
    }
    zeros_minus_one_ = format == "gptq";
  }

  void find_layers() {
    const std::string mark = method_ == Method::kCompressedTensors ? ".weight_packed" : ".qweight";
    for (const std::string& tensor : source_.names()) {
      if (!ends_with(tensor, mark)) continue;
      const std::string name = tensor.substr(0, tensor.size() - mark.size());
      if (shapes_.count(name) == 0)
        fail(cat("the quantized layer ", name, " is no linear of the model that rqat reads"));
      formats_.emplace(name, format_of(name));
    }
    if (formats_.empty()) fail(cat("names a quantization, but no tensor ends with ", mark));
  }

  quant::QuantFormat format_of(const std::string& name) const {
    quant::QuantFormat format;
    const int64_t columns = shape(name).columns;
    if (method_ == Method::kCompressedTensors) {
      const PackedScheme scheme = scheme_of(config_, name, file_);
      format.num_bits = scheme.num_bits;
      format.symmetric = scheme.symmetric;
      format.group_size = scheme.group_size;
    } else {
      format.num_bits = method_ == Method::kAwq ? 4 : rows_of(name + ".qweight") * 32 / columns;
      format.group_size = group_size_of(name, rows_of(name + ".scales"), columns);
      check_bits(name, format);
      format.symmetric = method_ == Method::kGptq && is_symmetric(name, format);
    }
    check_bits(name, format);
    format.scale_dtype = scale_dtype_of(name);
    format.act_order = has_act_order(name, format);
    return format;
  }

  void check_bits(const std::string& name, const quant::QuantFormat& format) const {
    const std::vector<std::string> faults = format.check();
    if (!faults.empty()) fail(cat("layer ", name, " has ", format.num_bits, " bits: ", base::join(faults, "; ")));
  }

  int64_t rows_of(const std::string& tensor) const {
    const std::vector<int64_t>& shape = source_.info(tensor).shape;
    if (shape.size() != 2) fail(cat("tensor '", tensor, "' is ", at::IntArrayRef(shape), ", expected a matrix"));
    return shape[0];
  }

  /// The group size that gives this many groups: the file's own, else an even division.
  int64_t group_size_of(const std::string& name, int64_t groups, int64_t columns) const {
    const int64_t stated = quantization().value("group_size", int64_t{-1});
    if (groups == 1) return -1;
    if (stated > 0 && (columns + stated - 1) / stated == groups) return stated;
    if (groups > 0 && columns % groups == 0) return columns / groups;
    fail(cat("layer ", name, " has ", groups, " groups of scales for ", columns, " inputs, with group_size ", stated));
  }

  /// By the data: files are seen that say version 1 and keep version 2's zeros.
  bool is_symmetric(const std::string& name, const quant::QuantFormat& format) const {
    const int64_t middle = format.max_code() / 2 + 1;
    const at::Tensor zeros = read_stored(name, format).zero_point;
    if (at::eq(zeros, middle).all().item<bool>()) return true;
    const int64_t wrong = zeros_minus_one_ ? middle + 1 : middle - 1;
    if (quantization().value("sym", false) && at::eq(zeros, wrong).all().item<bool>()) {
      fail(cat("says checkpoint_format ", zeros_minus_one_ ? "gptq" : "gptq_v2", " and sym, but the zero points of ",
               name, " are those of ", zeros_minus_one_ ? "gptq_v2" : "gptq",
               ": correct checkpoint_format in config.json"));
    }
    return false;
  }

  bool has_act_order(const std::string& name, const quant::QuantFormat& format) const {
    if (method_ == Method::kAwq) return false;
    const std::string tensor = name + (method_ == Method::kCompressedTensors ? ".weight_g_idx" : ".g_idx");
    const int64_t columns = shape(name).columns;
    return read_spread_groups(source_, tensor, columns, format.resolved_group(columns)).defined();
  }

  std::string scale_dtype_of(const std::string& name) const {
    const std::string tensor = name + (method_ == Method::kCompressedTensors ? ".weight_scale" : ".scales");
    const at::ScalarType dtype = source_.info(tensor).dtype;
    if (dtype == at::kHalf) return "float16";
    if (dtype == at::kBFloat16) return "bfloat16";
    const at::Tensor scale = source_.read(tensor).to(at::kFloat);
    for (const auto& [type, text] : {std::pair{at::kHalf, "float16"}, {at::kBFloat16, "bfloat16"}}) {
      if (at::equal(scale.to(type).to(at::kFloat), scale)) return text;
    }
    throw IoError(
        cat(source_.path().string(), ": tensor '", tensor, "' has scales that neither float16 nor bfloat16 holds"));
  }

  StoredLayer read_stored(const std::string& name, const quant::QuantFormat& format) const {
    const int64_t group = format.resolved_group(shape(name).columns);
    if (method_ == Method::kGptq) return read_gptq(source_, name, format.num_bits, group, zeros_minus_one_);
    if (method_ == Method::kAwq) return read_awq(source_, name, group);
    return read_pack_quantized(source_, {format.num_bits, format.symmetric, format.group_size}, name);
  }

  fs::path file_;
  json config_;
  io::TensorSource source_;
  std::map<std::string, Shape> shapes_;
  Method method_ = Method::kGptq;
  bool zeros_minus_one_ = false;
  std::map<std::string, quant::QuantFormat> formats_;
};

/// A layer as rqat keeps it.
struct ImportedLayer {
  at::Tensor codes;        ///< uint8 [N, K]
  at::Tensor input_order;  ///< int64 [K] of the columns of codes; undefined = the order of the inputs
  quant::QuantParams params;
  int64_t raised = 0;  ///< scales that were too small
};

ImportedLayer import_layer(const Checkpoint& checkpoint, const std::string& name) {
  const quant::QuantFormat& format = checkpoint.formats().at(name);
  const StoredLayer stored = checkpoint.read(name);
  if (!at::gt(stored.scale, 0).all().item<bool>()) {
    throw IoError(cat(checkpoint.source().path().string(), ": layer ", name,
                      " has scales that are not greater than 0, which are not read"));
  }
  ImportedLayer layer;
  layer.params = {quant::round_scale(stored.scale, format.scale_dtype), stored.zero_point.to(at::kByte)};
  if (stored.group_of_input.defined()) layer.input_order = order_of_groups(stored.group_of_input);
  const auto ordered = [&](const at::Tensor& columns) {
    return layer.input_order.defined() ? columns.index_select(1, layer.input_order) : columns;
  };
  layer.codes = ordered(stored.codes).to(at::kByte);
  layer.raised = at::ne(layer.params.scale, stored.scale).sum().item<int64_t>();
  if (layer.raised > 0) {
    layer.codes = ops::quantize(ordered(stored.weight), layer.params.scale, layer.params.zero_point, format.num_bits,
                                format.resolved_group(stored.weight.size(1)));
  }
  return layer;
}

/// What goes into model.safetensors and rqat_state.safetensors. `checkpoint` must outlive the plans.
struct Plans {
  TensorPlan model, state;
};

void plan_layer(const Checkpoint& checkpoint, const std::string& name, at::ScalarType dtype, Plans& plans) {
  const quant::QuantFormat& format = checkpoint.formats().at(name);
  const Shape& shape = checkpoint.shape(name);
  const int64_t columns = shape.columns, bits = format.num_bits;
  const int64_t group = format.resolved_group(columns), groups = format.num_groups(columns);
  const at::ScalarType scale_type = format.scale_dtype == "float16" ? at::kHalf : at::kBFloat16;
  const auto imported = [&checkpoint, name] { return import_layer(checkpoint, name); };
  plans.model.add(name + ".weight", dtype, {shape.rows, columns}, [imported, group, dtype, name] {
    const ImportedLayer read = imported();
    if (read.raised > 0) {
      base::log_warning(cat(name, ": ", read.raised, " of ", read.params.scale.numel(),
                            " scales were below the smallest normal number and were raised to it"));
    }
    const at::Tensor weight = ops::dequantize(read.codes, read.params.scale, read.params.zero_point, group, dtype);
    return read.input_order.defined() ? weight.index_select(1, at::argsort(read.input_order)) : weight;
  });
  for (const StoredRows& part : shape.parts) {
    const auto rows = [part](const at::Tensor& tensor) {
      return tensor.narrow(0, part.first, part.count).contiguous();
    };
    plans.state.add(part.name + ".weight_packed", at::kInt, {part.count, (columns * bits + 31) / 32},
                    [imported, rows, bits] { return ops::pack_codes(rows(imported().codes), bits); });
    plans.state.add(part.name + ".weight_scale", scale_type, {part.count, groups},
                    [imported, rows, scale_type] { return rows(imported().params.scale).to(scale_type); });
    plans.state.add(part.name + ".weight_zero_point", at::kByte, {part.count, groups},
                    [imported, rows] { return rows(imported().params.zero_point); });
    if (!format.act_order) continue;
    plans.state.add(part.name + ".weight_input_order", at::kInt, {columns},
                    [imported] { return imported().input_order.to(at::kInt); });
  }
}

Plans plan_tensors(const Checkpoint& checkpoint, at::ScalarType dtype) {
  Plans plans;
  for (const std::string& name : checkpoint.source().names()) {
    if (checkpoint.is_part_of_a_layer(name)) continue;
    plans.model.add(name, dtype, checkpoint.source().info(name).shape,
                    [&checkpoint, name, dtype] { return checkpoint.source().read(name).to(dtype); });
  }
  for (const auto& [name, format] : checkpoint.formats()) plan_layer(checkpoint, name, dtype, plans);
  return plans;
}

}  // namespace

bool is_mlx_folder(const fs::path& folder) {
  if (!fs::exists(folder / "config.json")) return false;
  const json config = io::read_json(folder / "config.json");
  return config.is_object() && config.contains("quantization") && config.at("quantization").is_object();
}

bool is_quantized_checkpoint(const fs::path& folder) {
  if (!fs::is_directory(folder) || !fs::exists(folder / "config.json") || fs::exists(folder / kFormatsFile))
    return false;
  const json config = io::read_json(folder / "config.json");
  return config.is_object() && config.contains("quantization_config") && !config.at("quantization_config").is_null();
}

void visit_checkpoint(const fs::path& source, const std::function<void(const CheckpointLayer&)>& visit) {
  const Checkpoint checkpoint(source);
  for (const auto& [name, format] : checkpoint.formats()) {
    const StoredLayer layer = checkpoint.read(name);
    visit({name, format, layer.codes.size(0), layer.codes.size(1), layer.scale, layer.zero_point});
  }
}

std::map<std::string, quant::QuantFormat> checkpoint_formats(const fs::path& source) {
  return Checkpoint(source).linear_formats();
}

void write_plain_config(const fs::path& source, const fs::path& folder) {
  json config = io::read_json(source / "config.json");
  config.erase("quantization_config");
  io::write_json(folder / "config.json", config);
  const fs::path generation = source / "generation_config.json";
  if (fs::exists(generation)) base::write_file(folder / "generation_config.json", base::read_file(generation));
}

void import_quantized(const fs::path& source, const fs::path& folder, const std::string& dtype,
                      int64_t max_shard_bytes) {
  const at::ScalarType scalar_type = dtype_of(dtype);
  const Checkpoint checkpoint(source);
  const Plans plans = plan_tensors(checkpoint, scalar_type);
  const auto edit_config = [&](json& config) {
    config.erase("quantization_config");
    set_dtype(config, dtype);
  };
  write_model_folder(source, folder, edit_config, [&](const fs::path& fresh) {
    base::write_file(fresh / kFormatsFile, quant::write_formats(checkpoint.linear_formats()));
    plans.state.write(fresh / "rqat_state.safetensors");
    plans.model.write_model(fresh, max_shard_bytes);
  });
}

}  // namespace rqat::exporting
