#include "round_trip.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "input_groups.h"
#include "layers.h"
#include "rqat/base/error.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/nn/batch.h"

namespace rqat::exporting {

namespace {

namespace fs = std::filesystem;
using base::cat;

/// Weights of a linear in fp32, asked for one at a time.
using WeightOf = std::function<at::Tensor(nn::LinearBase*)>;
using TensorOf = std::function<at::Tensor(const std::string&)>;

/// config.json of an export names its quantization, which the model's reader refuses: read without that field.
model::ModelConfig read_exported_config(const fs::path& folder) {
  const base::ScratchFolder copy("export_config");
  nlohmann::json config = io::read_json(folder / "config.json");
  for (const char* key : {"quantization_config", "quantization"}) config.erase(key);
  io::write_json(copy.path() / "config.json", config);
  return model::read_model_config(copy.path());
}

at::Tensor checked(const at::Tensor& tensor, at::IntArrayRef shape, const std::string& name, const fs::path& place) {
  if (tensor.sizes() != shape) {
    throw base::IoError(cat(place.string(), ": tensor '", name, "' is ", tensor.sizes(), ", expected ", shape));
  }
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw base::DataError(cat(place.string(), ": tensor '", name, "' holds NaN or Inf"));
  }
  return tensor;
}

constexpr int64_t kHeadRows = 8192;  // of the head that are in float32 at a time

/// A float32 model of the structure of another, filled by name. Its weights come and go block by block, so that of a
/// large model little more than one block is in memory.
class BlockwiseModel {
 public:
  BlockwiseModel(model::CausalLM& like, const model::ModelConfig& config, const fs::path& place, WeightOf weight_of,
                 TensorOf tensor_of)
      : like_(like),
        place_(place),
        weight_of_(std::move(weight_of)),
        tensor_of_(std::move(tensor_of)),
        others_(other_tensors(like)),
        plain_(config, factory_, at::kFloat, like.device()) {}

  at::Tensor logits(const std::vector<std::vector<int64_t>>& probe) {
    const at::NoGradGuard no_grad;
    const nn::TokenBatch batch = nn::make_token_batch(probe).to(like_.device());
    const model::ForwardContext context = plain_.context(batch);
    at::Tensor hidden_TD = embed(batch);
    for (int64_t index = 0; index < plain_.num_blocks(); ++index) {
      fill_block(index);
      hidden_TD = plain_.forward_block(index, hidden_TD, context);
      empty_block(index);
    }
    fill("model.norm.weight");
    return head(plain_.final_norm(hidden_TD));
  }

 private:
  at::Tensor read_as_stored(const std::string& name) const {
    return checked(tensor_of_(name).to(like_.device()).contiguous(), others_.at(name).sizes(), name, place_);
  }
  at::Tensor read(const std::string& name) const { return read_as_stored(name).to(at::kFloat); }

  /// Only the rows of the batch's tokens.
  at::Tensor embed(const nn::TokenBatch& batch) {
    nn::Parameter& table = plain_.embedding();
    table.compute = read_as_stored(table.name).index_select(0, batch.ids.to(at::kLong)).to(at::kFloat);
    nn::TokenBatch rows = batch;
    rows.ids = at::arange(batch.ids.numel(), batch.ids.options());
    at::Tensor hidden_TD = plain_.embed(rows);
    table.compute = at::Tensor();
    return hidden_TD;
  }

  at::Tensor head(const at::Tensor& hidden_TD) {
    const at::Tensor weight = read_as_stored(plain_.head().name);
    std::vector<at::Tensor> parts;
    for (int64_t row = 0; row < weight.size(0); row += kHeadRows) {
      const at::Tensor rows = weight.slice(0, row, std::min(row + kHeadRows, weight.size(0))).to(at::kFloat);
      parts.push_back(at::matmul(hidden_TD, rows.t()));
    }
    const at::Tensor logits = at::cat(parts, 1);
    const double cap = plain_.options().logit_softcap;
    return cap > 0 ? logits.div(cap).tanh().mul(cap) : logits;
  }

  void fill(const std::string& prefix) {
    for (nn::Parameter* parameter : plain_.parameters()) {
      if (base::starts_with(parameter->name, prefix) && others_.count(parameter->name) > 0)
        parameter->compute = read(parameter->name);
    }
  }

  void fill_block(int64_t index) {
    fill(cat("model.layers.", index, "."));
    const Linears from = like_.block_linears(index), to = plain_.block_linears(index);
    for (size_t i = 0; i < to.size(); ++i) {
      const nn::LinearSpec& spec = to[i]->spec();
      const at::Tensor weight = weight_of_(from[i]).to(like_.device(), at::kFloat).contiguous();
      to[i]->load(checked(weight, {spec.out_features, spec.in_features}, spec.name + ".weight", place_),
                  spec.bias ? read(spec.name + ".bias") : at::Tensor());
    }
  }

  /// One zero in the shape of each weight.
  void empty_block(int64_t index) {
    const at::Tensor zero = at::zeros({1}, at::TensorOptions(like_.device()).dtype(at::kFloat));
    for (nn::LinearBase* linear : plain_.block_linears(index)) {
      const nn::LinearSpec& spec = linear->spec();
      linear->load(zero.expand({spec.out_features, spec.in_features}),
                   spec.bias ? zero.expand({spec.out_features}) : at::Tensor());
    }
  }

  model::CausalLM& like_;
  const fs::path& place_;
  const WeightOf weight_of_;
  const TensorOf tensor_of_;
  const io::TensorMap others_;
  nn::FloatLayerFactory factory_;
  model::CausalLM plain_;
};

/// Two digits are enough to judge a difference by.
std::string short_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2g", value);
  return text;
}

int64_t count_different(const at::Tensor& stored, const at::Tensor& expected, const std::string& what,
                        const fs::path& folder) {
  if (stored.sizes() != expected.sizes()) {
    throw base::IoError(cat(folder.string(), ": ", what, " is ", stored.sizes(), ", expected ", expected.sizes()));
  }
  return at::ne(stored.to(expected.device()), expected).sum().item<int64_t>();
}

/// W_hat in fp32.
at::Tensor trained_weight(const quant::FakeQuantLinear& layer) {
  return layer.by_input(layer.quantizer().dequantize(layer.codes(), layer.params(), layer.format(), at::kFloat));
}

/// Largest |stored - expected| in steps of the layer's grid.
double weight_difference(const quant::FakeQuantLinear& layer, const at::Tensor& stored, const at::Tensor& scale) {
  const at::Tensor expected = trained_weight(layer);
  const at::Tensor steps = scale.index_select(1, layer.group_of_input().to(scale.device()));
  return (stored.to(expected.device()) - expected).abs().div(steps).max().item<double>();
}

at::Tensor groups_of(const StoredLayer& stored, const quant::QuantFormat& format) {
  if (stored.group_of_input.defined()) return stored.group_of_input;
  const int64_t columns = stored.codes.size(1);
  return contiguous_groups(columns, format.resolved_group(columns));
}

void compare_layer(const quant::FakeQuantLinear& layer, const StoredLayer& stored, const fs::path& folder,
                   RoundTrip& result) {
  const at::Tensor codes = layer.by_input(layer.codes()).to(at::kInt);
  const quant::QuantParams params = layer.params();
  result.codes_compared += codes.numel();
  result.codes_different += count_different(stored.codes, codes, layer.name() + ": codes", folder);
  if (stored.scale.defined() && (stored.group_of_input.defined() || layer.input_order().defined())) {
    const at::Tensor groups = layer.group_of_input();
    result.parameters_compared += groups.numel();
    result.parameters_different +=
        count_different(groups_of(stored, layer.format()), groups, layer.name() + ": groups of the inputs", folder);
  }
  if (stored.scale.defined()) {
    result.parameters_compared += params.scale.numel();
    result.parameters_different += count_different(stored.scale, params.scale, layer.name() + ": scale", folder);
  }
  if (stored.zero_point.defined()) {
    result.parameters_compared += params.zero_point.numel();
    result.parameters_different +=
        count_different(stored.zero_point, params.zero_point.to(at::kInt), layer.name() + ": zero point", folder);
  }
  result.max_weight_difference =
      std::max(result.max_weight_difference, weight_difference(layer, stored.weight, params.scale));
  result.allowed_weight_difference = std::max(result.allowed_weight_difference, stored.weight_tolerance);
}

}  // namespace

bool RoundTrip::faithful() const {
  return codes_equal && parameters_different == 0 && max_weight_difference <= allowed_weight_difference;
}

bool RoundTrip::passed(double tolerance) const { return faithful() && max_logit_difference <= tolerance; }

std::string RoundTrip::text() const {
  std::string text = codes_equal ? cat("all ", codes_compared, " codes equal")
                                 : cat(codes_different, " of ", codes_compared, " codes DIFFER");
  if (parameters_different > 0) {
    text += cat(", ", parameters_different, " of ", parameters_compared, " scales and zero points DIFFER");
  } else if (parameters_compared > 0) {
    text += cat(", ", parameters_compared, " scales and zero points equal");
  }
  if (max_weight_difference > 0) {
    text += cat(", weights differ by up to ", short_text(max_weight_difference),
                max_weight_difference > allowed_weight_difference ? " of a step, MORE than " : " of a step (up to ",
                short_text(allowed_weight_difference),
                max_weight_difference > allowed_weight_difference ? " that the format rounds away"
                                                                  : " is the format's rounding)");
  }
  return cat(text, ", largest logit difference ", short_text(max_logit_difference), " of the largest logit (fp32)");
}

RoundTrip compare(model::CausalLM& model, const fs::path& folder, const std::vector<std::vector<int64_t>>& probe,
                  const StoredModel& stored) {
  RoundTrip result;
  const auto weight_in_memory = [&](nn::LinearBase* linear) {
    const quant::FakeQuantLinear* layer = as_quantized(linear);
    return layer ? trained_weight(*layer) : linear->dense_weight();
  };
  const auto stored_weight = [&](nn::LinearBase* linear) {
    const quant::FakeQuantLinear* layer = as_quantized(linear);
    if (!layer) return stored.tensor(linear->name() + ".weight");
    const StoredLayer read = stored.layer(*layer);
    compare_layer(*layer, read, folder, result);
    return read.weight;
  };
  const io::TensorMap others = other_tensors(model);
  const fs::path memory = "model in memory";
  const at::Tensor expected =
      BlockwiseModel(model, model.config(), memory, weight_in_memory, [&](const std::string& name) {
        return others.at(name);
      }).logits(probe);
  const at::Tensor got = BlockwiseModel(model, stored.config(), folder, stored_weight, stored.tensor).logits(probe);
  result.codes_equal = result.codes_different == 0;
  const double largest = expected.abs().max().item<double>();
  result.max_logit_difference = (got - expected).abs().max().item<double>() / (largest > 0 ? largest : 1);
  return result;
}

RoundTrip compare_folder(model::CausalLM& model, const fs::path& folder, const std::vector<std::vector<int64_t>>& probe,
                         const LayerReader& read_layer) {
  const io::TensorSource source(folder);
  const std::map<std::string, StoredRows> rows = stored_rows(stored_linears(model));
  StoredModel stored;
  stored.config = [&] { return read_exported_config(folder); };
  stored.layer = [&](const quant::FakeQuantLinear& layer) { return read_layer(layer, rows.at(layer.name()), source); };
  stored.tensor = [&](const std::string& name) {
    const auto place = rows.find(name.substr(0, name.rfind('.')));
    if (place == rows.end()) return source.read(name);
    const StoredRows& part = place->second;
    return source.read(part.name + name.substr(name.rfind('.'))).narrow(0, part.first, part.count);
  };
  return compare(model, folder, probe, stored);
}

StoredLayer rows_of(const StoredLayer& stored, const StoredRows& rows) {
  if (rows.count == rows.total) return stored;
  StoredLayer part = stored;
  for (at::Tensor* tensor : {&part.codes, &part.scale, &part.zero_point, &part.weight}) {
    if (tensor->defined()) *tensor = tensor->narrow(0, rows.first, rows.count).contiguous();
  }
  return part;
}

}  // namespace rqat::exporting
