#include "layers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/quant/state.h"

namespace rqat::exporting {

namespace {

using base::cat;

constexpr size_t kNamesShown = 5;
constexpr const char* kFormatsFile = "rqat_quant.json";

const std::vector<std::set<std::string>>& fused_sets() {
  static const std::vector<std::set<std::string>> sets{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}};
  return sets;
}

std::string format_text(nn::LinearBase* linear) {
  const quant::FakeQuantLinear* layer = as_quantized(linear);
  return layer ? layer->format().text() : "float";
}

bool same_format(nn::LinearBase* first, nn::LinearBase* second) {
  const quant::FakeQuantLinear *a = as_quantized(first), *b = as_quantized(second);
  return a && b ? a->format() == b->format() : a == b;
}

/// Of layers of one format.
bool same_order(nn::LinearBase* first, nn::LinearBase* second) {
  const quant::FakeQuantLinear *a = as_quantized(first), *b = as_quantized(second);
  if (!a || !b || !a->input_order().defined() || !b->input_order().defined()) return true;
  return at::equal(a->group_of_input(), b->group_of_input());
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

template <class Make>
at::Tensor joined(const Linears& parts, Make make) {
  if (parts.size() == 1) return make(parts.front()).to(at::kCPU);
  std::vector<at::Tensor> tensors;
  for (nn::LinearBase* part : parts) tensors.push_back(make(part).to(at::kCPU));
  return at::cat(tensors);
}

void check_parameters(const quant::FakeQuantLinear& layer) {
  if (!layer.scale_master().defined()) {
    throw base::DataError(cat("layer ", layer.name(), " (", layer.format().text(),
                              ") has no quantization parameters yet; load "
                              "a quantized folder, or run a quantize stage, before the export"));
  }
  if (!layer.format().symmetric) return;
  const int64_t middle = int64_t{1} << (layer.format().num_bits - 1);
  const int64_t wrong = at::ne(layer.params().zero_point, middle).sum().item<int64_t>();
  if (wrong > 0) {
    throw base::DataError(cat("layer ", layer.name(), " (", layer.format().text(), ") has ", wrong,
                              " zero points other than ", middle,
                              ", but a symmetric format stores none; make the format asymmetric"));
  }
}

}  // namespace

const quant::FakeQuantLinear* StoredLinear::quantized() const { return as_quantized(parts.front()); }

std::string StoredLinear::format_text() const { return exporting::format_text(parts.front()); }

int64_t StoredLinear::rows() const {
  int64_t rows = 0;
  for (nn::LinearBase* part : parts) rows += part->spec().out_features;
  return rows;
}

int64_t StoredLinear::columns() const { return parts.front()->spec().in_features; }

at::Tensor StoredLinear::codes() const {
  return joined(parts, [](nn::LinearBase* part) { return as_quantized(part)->codes(); });
}

at::Tensor StoredLinear::by_input(const at::Tensor& columns) const {
  int64_t first = 0;
  return joined(parts, [&](nn::LinearBase* part) {
    const int64_t count = part->spec().out_features;
    first += count;
    return as_quantized(part)->by_input(columns.narrow(0, first - count, count));
  });
}

quant::QuantParams StoredLinear::params() const {
  return {joined(parts, [](nn::LinearBase* part) { return as_quantized(part)->params().scale; }),
          joined(parts, [](nn::LinearBase* part) { return as_quantized(part)->params().zero_point; })};
}

at::Tensor StoredLinear::dense_weight() const {
  return joined(parts, [](nn::LinearBase* part) { return part->dense_weight(); });
}

std::vector<StoredLinear> stored_linears(const Linears& linears,
                                         const std::function<std::string(const std::string&)>& stored_name) {
  std::vector<StoredLinear> stored;
  std::map<std::string, size_t> places;
  for (nn::LinearBase* linear : linears) {
    const std::string name = stored_name(linear->name());
    const auto [place, fresh] = places.try_emplace(name, stored.size());
    if (fresh) stored.push_back({name, {}});
    stored[place->second].parts.push_back(linear);
  }
  return stored;
}

std::vector<StoredLinear> stored_linears(model::CausalLM& model) {
  return stored_linears(model.linears(), [&](const std::string& name) {
    for (const model::FusedLinear& fused : model.options().fused) {
      for (const std::string& part : fused.parts) {
        if (ends_with(name, "." + part)) return name.substr(0, name.size() - part.size()) + fused.name;
      }
    }
    return name;
  });
}

std::map<std::string, StoredRows> stored_rows(const std::vector<StoredLinear>& stored) {
  std::map<std::string, StoredRows> places;
  for (const StoredLinear& one : stored) {
    int64_t first = 0;
    for (nn::LinearBase* part : one.parts) {
      const int64_t count = part->spec().out_features;
      places[part->name()] = {one.name, first, count, one.rows()};
      first += count;
    }
  }
  return places;
}

quant::FakeQuantLinear* as_quantized(nn::LinearBase* linear) { return dynamic_cast<quant::FakeQuantLinear*>(linear); }

std::string names_text(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kNamesShown);
  const std::string text = base::join({names.begin(), names.begin() + static_cast<int64_t>(shown)}, ", ");
  return names.size() > shown ? cat(text, " (and ", names.size() - shown, " more)") : text;
}

std::vector<std::string> common_faults(const Linears& linears) {
  std::vector<std::string> faults;
  bool any = false;
  for (nn::LinearBase* linear : linears) {
    const quant::FakeQuantLinear* layer = as_quantized(linear);
    any = any || layer;
    if (layer && layer->format().quantizer != "int_affine") {
      faults.push_back(cat("layer ", layer->name(), " uses the number system '", layer->format().quantizer,
                           "'; only int_affine can be written"));
    }
  }
  if (!any) {
    faults.push_back(cat("none of the ", linears.size(),
                         " linear layers is quantized: run a quantize stage first, or serve the "
                         "folder as it is"));
  }
  return faults;
}

std::vector<std::string> layer_faults(
    const Linears& linears, const std::function<std::vector<std::string>(const quant::FakeQuantLinear&)>& faults_of) {
  std::vector<std::string> faults = common_faults(linears);
  std::map<std::string, std::vector<std::string>> layers;  // reason -> layers
  for (nn::LinearBase* linear : linears) {
    const quant::FakeQuantLinear* layer = as_quantized(linear);
    if (!layer || layer->format().quantizer != "int_affine") continue;
    for (const std::string& reason : faults_of(*layer)) layers[reason].push_back(layer->name());
  }
  for (const auto& [reason, names] : layers) faults.push_back(cat(reason, ": ", names_text(names)));
  return faults;
}

std::vector<std::string> short_group_faults(const quant::FakeQuantLinear& layer) {
  const int64_t columns = layer.spec().in_features, group = layer.format().resolved_group(columns);
  if (columns % group == 0) return {};
  return {cat("group_size ", group, " does not divide the ", columns, " inputs")};
}

std::vector<std::string> float16_faults(const quant::FakeQuantLinear& layer, const std::string& format) {
  if (!layer.scale_master().defined() || layer.scale_master().is_meta()) return {};
  const at::Tensor scale = layer.params().scale;
  if (at::equal(scale.to(at::kHalf).to(at::kFloat), scale)) return {};
  return {cat("some scales have no float16 value, which ", format, " keep; quantize with scale_dtype: float16")};
}

std::vector<std::string> act_order_faults(const quant::FakeQuantLinear& layer, const std::string& format) {
  // Of one group there is nothing to say; before there are weights, the format does not know.
  const int64_t columns = layer.spec().in_features;
  const bool one_group = layer.format().resolved_group(columns) == columns && !layer.input_order().defined();
  if (!layer.format().act_order || one_group) return {};
  return {cat("groups are spread over the inputs (act-order), which ", format,
              " cannot say; export as gptq or hf_dequantized")};
}

std::vector<std::string> stored_linear_faults(const std::vector<StoredLinear>& stored) {
  std::vector<std::string> faults;
  for (const StoredLinear& one : stored) {
    for (nn::LinearBase* part : one.parts) {
      if (same_format(one.parts.front(), part)) continue;
      faults.push_back(cat(one.parts.front()->name(), " is ", one.format_text(), " but ", part->name(), " is ",
                           format_text(part), ", and the file holds them as one tensor ", one.name,
                           ": give them one format"));
      break;
    }
  }
  return faults;
}

std::vector<std::string> fused_set_faults(const Linears& linears) {
  std::vector<std::string> faults;
  std::map<std::string, nn::LinearBase*> first;  // fused set -> its first layer
  for (nn::LinearBase* linear : linears) {
    const size_t dot = linear->name().rfind('.');
    const std::string last = linear->name().substr(dot + 1);
    for (size_t i = 0; i < fused_sets().size(); ++i) {
      if (fused_sets()[i].count(last) == 0) continue;
      const auto [place, fresh] = first.try_emplace(cat(linear->name().substr(0, dot), "#", i), linear);
      if (fresh) continue;
      if (!same_format(place->second, linear)) {
        faults.push_back(cat(place->second->name(), " is ", format_text(place->second), " but ", linear->name(), " is ",
                             format_text(linear), ": engines fuse them, give them one format"));
      } else if (!same_order(place->second, linear)) {
        faults.push_back(
            cat(place->second->name(), " and ", linear->name(),
                " group their inputs differently (act-order): engines fuse them and know one order; export "
                "as hf_dequantized"));
      }
    }
  }
  return faults;
}

void raise_faults(const std::string& exporter, const std::vector<std::string>& faults) {
  if (faults.empty()) return;
  throw base::ConfigError(cat("the model cannot be exported as ", exporter, ":\n  ", base::join(faults, "\n  ")));
}

void check_layers(const Linears& linears, const std::filesystem::path& source) {
  std::map<std::string, quant::QuantFormat> promised;
  const std::filesystem::path file = source / kFormatsFile;
  if (std::filesystem::exists(file)) promised = quant::read_formats(base::read_file(file), file.string());
  for (nn::LinearBase* linear : linears) {
    if (const quant::FakeQuantLinear* layer = as_quantized(linear)) {
      check_parameters(*layer);
    } else if (const auto found = promised.find(linear->name()); found != promised.end()) {
      throw base::DataError(cat("layer ", linear->name(), " is float, but ", file.string(), " says ",
                                found->second.text(), "; load the model from that folder"));
    }
  }
}

io::TensorMap other_tensors(model::CausalLM& model) {
  io::TensorMap tensors;
  for (nn::Parameter* parameter : model.parameters()) {
    const bool own = parameter->role == nn::Role::kEmbedding || parameter->role == nn::Role::kNorm ||
                     parameter->role == nn::Role::kHead || parameter->role == nn::Role::kRouter;
    if (own) tensors[parameter->name] = parameter->compute;
  }
  for (nn::LinearBase* linear : model.linears()) {
    if (linear->bias().defined()) tensors[linear->name() + ".bias"] = linear->bias();
  }
  return tensors;
}

}  // namespace rqat::exporting
