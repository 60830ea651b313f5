// What all exporters ask of a model's linears.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "rqat/model/causal_lm.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::exporting {

using Linears = std::vector<nn::LinearBase*>;

/// nullptr for a layer in float.
quant::FakeQuantLinear* as_quantized(nn::LinearBase* linear);

/// One weight of a file: that of a linear, or of several whose rows it holds one after the other (q, k and v of Phi-3;
/// an expert's matrices in GGUF).
struct StoredLinear {
  std::string name;
  Linears parts;

  /// nullptr for one in float; the format of all parts otherwise.
  const quant::FakeQuantLinear* quantized() const;
  std::string format_text() const;  ///< "float" for one in float
  int64_t rows() const;
  int64_t columns() const;
  at::Tensor codes() const;  ///< uint8 [rows, columns], on the CPU, in the order of the layer
  /// [rows, columns] in the order of codes(), on the CPU, to that of the inputs.
  at::Tensor by_input(const at::Tensor& columns) const;
  quant::QuantParams params() const;
  at::Tensor dense_weight() const;
};

/// Linears by the name that `stored_name` gives them, in the order of the model.
std::vector<StoredLinear> stored_linears(const Linears& linears,
                                         const std::function<std::string(const std::string&)>& stored_name);
/// As files of Hugging Face hold them.
std::vector<StoredLinear> stored_linears(model::CausalLM& model);

/// Rows of a stored weight that are those of one linear.
struct StoredRows {
  std::string name;  ///< of the stored weight
  int64_t first = 0, count = 0, total = 0;
};
/// Places of all linears, by their names.
std::map<std::string, StoredRows> stored_rows(const std::vector<StoredLinear>& stored);

/// "a, b, c (and 12 more)".
std::string names_text(const std::vector<std::string>& names);

/// Fault when no layer is quantized, or when a layer's number system is not integer codes with scale and zero point.
std::vector<std::string> common_faults(const Linears& linears);
/// common_faults(), and what `faults_of` says of each layer of integer codes: one fault a reason, with its layers.
std::vector<std::string> layer_faults(
    const Linears& linears, const std::function<std::vector<std::string>(const quant::FakeQuantLinear&)>& faults_of);
/// Faults of a layer whose last group is short; of one with scales that float16, the type in `format`, has no value for
/// (it has fewer exponents than bfloat16), before there are any none.
std::vector<std::string> short_group_faults(const quant::FakeQuantLinear& layer);
std::vector<std::string> float16_faults(const quant::FakeQuantLinear& layer, const std::string& format);
/// Fault of a layer whose groups are spread over the inputs (act-order), which `format` cannot say.
std::vector<std::string> act_order_faults(const quant::FakeQuantLinear& layer, const std::string& format);
/// Faults for linears of one stored weight that differ in format.
std::vector<std::string> stored_linear_faults(const std::vector<StoredLinear>& stored);
/// Faults for members of a set that engines compute as one matrix (q/k/v; gate/up) and that differ in format or input
/// order.
std::vector<std::string> fused_set_faults(const Linears& linears);

/// Throws ConfigError with all faults, one a line.
void raise_faults(const std::string& exporter, const std::vector<std::string>& faults);
/// Throws DataError when a layer that rqat_quant.json of `source` names is float in the model, when a quantized layer
/// has no parameters yet, or when a symmetric one has a zero point off the middle.
void check_layers(const Linears& linears, const std::filesystem::path& source);

/// Embedding, norms, head, and the biases of linears, as the forward sees them.
io::TensorMap other_tensors(model::CausalLM& model);

}  // namespace rqat::exporting
