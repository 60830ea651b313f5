#include "layer_table.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/export/import.h"
#include "rqat/io/gguf.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/missing_model.h"
#include "rqat/quant/state.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;
using base::cat;

constexpr const char* kPackedSuffix = ".weight_packed";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> parts;
  parts.reserve(shape.size());
  for (int64_t size : shape) parts.push_back(std::to_string(size));
  return base::join(parts, " x ");
}

int64_t count(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (int64_t size : shape) product *= size;
  return product;
}

std::string scale_text(const at::Tensor& scale) {
  const at::Tensor values = scale.to(at::kFloat);
  std::vector<std::string> parts;
  for (const at::Tensor& value : {values.min(), values.mean(), values.max()}) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", value.item<double>());
    parts.emplace_back(text);
  }
  return base::join(parts, " / ");
}

std::string zero_point_text(const at::Tensor& zero_point) {
  const at::Tensor values = zero_point.to(at::kFloat);
  return cat(values.min().item<float>(), "..", values.max().item<float>(), ", mean ",
             base::format_fixed(values.mean().item<double>(), 2));
}

LayerRow plain_row(const io::TensorSource& source, const std::string& name) {
  const io::TensorInfo& info = source.info(name);
  LayerRow row;
  row.name = name;
  row.format = c10::getDtypeNames(info.dtype).first;  // as the keys of config.json and recipes have it
  row.shape = shape_text(info.shape);
  row.weights = count(info.shape);
  row.bytes = info.end - info.begin;
  return row;
}

/// A layer of codes. `shape` of the weight it stands for.
LayerRow packed_row(const io::TensorSource& source, const std::string& layer, const std::vector<int64_t>& shape,
                    std::string format) {
  LayerRow row;
  row.name = layer;
  row.format = std::move(format);
  row.shape = shape_text(shape);
  row.weights = count(shape);
  for (const char* part : {"_packed", "_scale", "_zero_point", "_shape", "_g_idx"}) {
    const std::string name = cat(layer, ".weight", part);
    if (source.has(name)) row.bytes += source.info(name).end - source.info(name).begin;
  }
  const std::string zero_point = layer + ".weight_zero_point";
  row.scales = scale_text(source.read(layer + ".weight_scale"));
  // Where zero points are packed like the codes (compressed-tensors), their words say little.
  if (source.has(zero_point) && source.info(zero_point).dtype == at::kByte)
    row.zero_points = zero_point_text(source.read(zero_point));
  return row;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string layer_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

/// rqat's own quantized folder: codes and scales stand beside W_hat, and are what is served.
std::vector<LayerRow> own_rows(const fs::path& folder, const io::TensorSource& source) {
  const fs::path file = folder / "rqat_quant.json";
  const auto formats = quant::read_formats(base::read_file(file), file.string());
  const io::TensorSource state(folder / "rqat_state.safetensors");
  std::vector<LayerRow> rows;
  for (const std::string& name : source.names()) {
    const auto format = formats.find(layer_of(name));
    const bool quantized = format != formats.end() && ends_with(name, ".weight");
    if (!quantized) {
      rows.push_back(plain_row(source, name));
      continue;
    }
    const std::vector<int64_t>& shape = source.info(name).shape;
    LayerRow row = packed_row(state, format->first, shape, format->second.text());
    // Stage folders keep zero points as bytes; what counts is the size in the format itself.
    row.bytes = std::llround(format->second.bits_per_weight(shape.back()) * static_cast<double>(row.weights) / 8);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<LayerRow> tensor_rows(const io::TensorSource& source) {
  std::vector<LayerRow> rows;
  for (const std::string& name : source.names()) {
    const std::string layer = layer_of(name);
    const bool packed = source.has(layer + kPackedSuffix) && source.has(layer + ".weight_shape");
    const bool part_of_packed = packed && base::starts_with(name.substr(layer.size()), ".weight_");
    if (!part_of_packed) {
      rows.push_back(plain_row(source, name));
    } else if (ends_with(name, kPackedSuffix)) {
      const at::Tensor shape = source.read(layer + ".weight_shape").to(at::kLong);
      rows.push_back(packed_row(source, layer, {shape[0].item<int64_t>(), shape[1].item<int64_t>()}, "pack-quantized"));
    }
  }
  return rows;
}

/// A folder that others quantized: layers with their codes, scales and zero points, then the other tensors.
std::vector<LayerRow> foreign_rows(const fs::path& folder, const io::TensorSource& source) {
  std::vector<LayerRow> rows;
  std::set<std::string> layers;
  exporting::visit_checkpoint(folder, [&](const exporting::CheckpointLayer& layer) {
    layers.insert(layer.name);
    rows.push_back({layer.name, layer.format.text(), shape_text({layer.rows, layer.columns}), scale_text(layer.scale),
                    zero_point_text(layer.zero_point), layer.rows * layer.columns, 0});
  });
  for (const std::string& name : source.names()) {
    if (layers.count(layer_of(name)) == 0 || ends_with(name, ".bias")) {
      rows.push_back(plain_row(source, name));
      continue;
    }
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const LayerRow& r) { return r.name == layer_of(name); });
    row->bytes += source.info(name).end - source.info(name).begin;
  }
  return rows;
}

std::vector<LayerRow> gguf_rows(const fs::path& path) {
  const io::GgufReader reader(path);
  std::vector<LayerRow> rows;
  for (const auto& [name, info] : reader.tensors()) {
    LayerRow row;
    row.name = name;
    row.shape = shape_text(info.shape);
    row.weights = count(info.shape);
    row.format = reader.type_of(name);
    row.bytes = reader.bytes_of(name);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::vector<LayerRow> read_layer_rows(const fs::path& path) {
  if (!fs::exists(path)) {
    throw base::IoError(
        cat(path.string(), ": no such model folder, GGUF or safetensors file", pipeline::missing_model_advice(path)));
  }
  if (path.extension() == ".gguf") return gguf_rows(path);
  const io::TensorSource source(path);
  if (exporting::is_quantized_checkpoint(path)) return foreign_rows(path, source);
  return fs::exists(path / "rqat_quant.json") ? own_rows(path, source) : tensor_rows(source);
}

}  // namespace rqat::cli
