// GPTQ on one layer, with round-to-nearest as the measure and the way out.
#pragma once

#include <ATen/core/Tensor.h>

#include "gptq_solver.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::ptq {

/// Finds parameters (by `search`) and codes of the layer's float weight and installs them, master = w_hat. Where GPTQ
/// fails or its output error is not below that of round-to-nearest with the same parameters, the latter is installed
/// and reported as a fallback. `hessian` fp32 [K, K], `factor` made from it. Without options.static_groups the order of
/// the factor becomes the layer's input order, so that its groups are of inputs of like energy. Throws ConfigError for
/// another quantizer than int_affine.
LayerReport gptq_layer(quant::FakeQuantLinear& layer, const at::Tensor& hessian, const InverseFactor& factor,
                       const quant::SearchOptions& search, const GptqOptions& options);

}  // namespace rqat::ptq
