// What all exporters ask of a model's linears.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rqat/model/causal_lm.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::exporting {

using Linears = std::vector<nn::LinearBase*>;

/// nullptr for a layer in float.
quant::FakeQuantLinear* as_quantized(nn::LinearBase* linear);

/// "a, b, c (and 12 more)".
std::string names_text(const std::vector<std::string>& names);

/// Fault when no layer is quantized, or when a layer's number system is not integer codes with scale and zero point.
std::vector<std::string> common_faults(const Linears& linears);
/// Faults for members of a set that engines compute as one matrix (q/k/v; gate/up) and that differ in format.
std::vector<std::string> fused_set_faults(const Linears& linears);

/// Scales of a layer that float16 cannot hold (it has fewer exponents than bfloat16); 0 before there are any.
int64_t scales_off_float16(const quant::FakeQuantLinear& layer);

/// Throws ConfigError with all faults, one a line.
void raise_faults(const std::string& exporter, const std::vector<std::string>& faults);
/// Throws DataError when a layer that rqat_quant.json of `source` names is float in the model, when a quantized layer
/// has no parameters yet, or when a symmetric one has a zero point off the middle.
void check_layers(const Linears& linears, const std::filesystem::path& source);

/// Embedding, norms, head, and the biases of linears, as the forward sees them.
io::TensorMap other_tensors(model::CausalLM& model);

}  // namespace rqat::exporting
