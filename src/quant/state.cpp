#include "rqat/quant/state.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/ops/quantize.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::quant {

namespace {

using base::cat;
using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr const char* kActOrder = "act_order";

template <class Function>
void for_each_quantized(const std::vector<nn::LinearBase*>& layers, Function function) {
  for (nn::LinearBase* layer : layers) {
    if (auto* quantized = dynamic_cast<FakeQuantLinear*>(layer)) function(*quantized);
  }
}

QuantFormat read_format(const json& value, const std::string& where) {
  QuantFormat format;
  base::Node node = base::Node::map();
  for (const auto& [key, field] : value.items()) {
    if (key == kActOrder) {  // no setting of a recipe
      if (!field.is_boolean())
        throw base::IoError(cat(where, ".", key, " is ", field.dump(), ", expected true or false"));
      format.act_order = field.get<bool>();
      continue;
    }
    node.set(key, base::Node::scalar(field.is_string() ? field.get<std::string>() : field.dump()));
  }
  base::Faults faults;
  base::read_config(format, node, where, faults);
  if (!faults.empty()) throw base::IoError(base::join(faults.lines(), "\n"));
  return format;
}

}  // namespace

std::map<std::string, QuantFormat> formats_of(const std::vector<nn::LinearBase*>& layers) {
  std::map<std::string, QuantFormat> formats;
  for_each_quantized(layers, [&](FakeQuantLinear& layer) { formats.emplace(layer.name(), layer.format()); });
  return formats;
}

std::string write_formats(const std::map<std::string, QuantFormat>& formats) {
  json layers = json::object();
  for (const auto& [name, format] : formats) {
    layers[name] = {{"quantizer", format.quantizer},
                    {"num_bits", format.num_bits},
                    {"symmetric", format.symmetric},
                    {"group_size", format.group_size},
                    {"scale_dtype", format.scale_dtype}};
    if (format.act_order) layers[name][kActOrder] = true;
  }
  return json({{"format_version", kFormatVersion}, {"layers", layers}}).dump(1) + "\n";
}

std::map<std::string, QuantFormat> read_formats(const std::string& text, const std::string& file_name) {
  const json root = json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object() || !root.contains("layers") || !root["layers"].is_object()) {
    throw base::IoError(cat(file_name, ": not a map of layer formats"));
  }
  const json version = root.value("format_version", json(nullptr));
  if (version != kFormatVersion) {
    throw base::IoError(cat(file_name, ": format_version ", version.dump(), " is not ", kFormatVersion,
                            "; it was written by another version of rqat"));
  }
  std::map<std::string, QuantFormat> formats;
  for (const auto& [name, value] : root["layers"].items()) {
    if (!value.is_object()) throw base::IoError(cat(file_name, ": layers.", name, " is not a map"));
    formats.emplace(name, read_format(value, cat(file_name, ": ", name)));
  }
  return formats;
}

std::map<std::string, at::Tensor> state_tensors(const std::vector<nn::LinearBase*>& layers) {
  std::map<std::string, at::Tensor> tensors;
  for_each_quantized(layers, [&](FakeQuantLinear& layer) {
    const QuantParams params = layer.params();
    const at::Tensor codes = layer.codes();
    const std::string prefix = layer.name() + ".weight";
    const at::ScalarType scale_dtype = layer.format().scale_dtype == "float16" ? at::kHalf : at::kBFloat16;
    tensors[prefix + "_packed"] = ops::pack_codes(codes, layer.format().num_bits);
    tensors[prefix + "_scale"] = params.scale.to(scale_dtype);
    tensors[prefix + "_zero_point"] = params.zero_point;
    if (!at::equal(params.scale, layer.scale_master())) tensors[prefix + "_scale_master"] = layer.scale_master();
    if (!at::equal(params.zero_point.to(at::kFloat), layer.zero_point_master())) {
      tensors[prefix + "_zero_point_master"] = layer.zero_point_master();
    }
    if (layer.input_order().defined()) tensors[prefix + "_input_order"] = layer.input_order().to(at::kInt);
    const at::Tensor& master = layer.master_weight();
    if (master.defined() &&
        !at::equal(master, layer.quantizer().dequantize(codes, params, layer.format(), at::kFloat))) {
      tensors[prefix + "_master"] = master;
    }
  });
  return tensors;
}

void load_state(const std::vector<nn::LinearBase*>& layers, const std::map<std::string, at::Tensor>& tensors) {
  for_each_quantized(layers, [&](FakeQuantLinear& layer) {
    const std::string prefix = layer.name() + ".weight";
    const auto optional = [&](const std::string& suffix) {
      const auto found = tensors.find(prefix + suffix);
      return found == tensors.end() ? at::Tensor() : found->second;
    };
    const auto required = [&](const std::string& suffix, at::IntArrayRef shape) {
      at::Tensor tensor = optional(suffix);
      if (!tensor.defined()) throw base::IoError(cat(prefix, suffix, ": missing in the quantizer state"));
      if (tensor.sizes() != shape) {
        std::ostringstream found;
        found << tensor.sizes() << ", expected " << shape;
        throw base::IoError(cat(prefix, suffix, ": has shape ", found.str()));
      }
      return tensor;
    };
    const int64_t rows = layer.spec().out_features, columns = layer.spec().in_features;
    const int64_t groups = layer.format().num_groups(columns), bits = layer.format().num_bits;
    const at::Tensor packed = required("_packed", {rows, (columns * bits + 31) / 32});
    at::Tensor scale = required("_scale", {rows, groups}).to(at::kFloat);
    at::Tensor zero_point = required("_zero_point", {rows, groups}).to(at::kFloat);
    if (optional("_scale_master").defined()) scale = required("_scale_master", {rows, groups});
    if (optional("_zero_point_master").defined()) zero_point = required("_zero_point_master", {rows, groups});
    const at::Tensor master = optional("_master").defined() ? required("_master", {rows, columns}) : at::Tensor();
    at::Tensor order = optional("_input_order");
    if (layer.format().act_order || order.defined()) order = required("_input_order", {columns});
    layer.restore(scale, zero_point, ops::unpack_codes(packed, bits, columns), master, order);
  });
}

}  // namespace rqat::quant
