// What the initializers share: the quantised linears of a model, their float weights, errors of a layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "rqat/nn/linear.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::ptq {

/// The FakeQuantLinears among `layers`, in order.
std::vector<quant::FakeQuantLinear*> quantized_linears(const std::vector<nn::LinearBase*>& layers);

/// The layer's fp32 weight. Throws DataError when it holds codes only (a restored PTQ result).
at::Tensor float_weight(const quant::FakeQuantLinear& layer);

/// ||(w_hat - w) X||^2 / ||w X||^2 = tr(E H E^T) / tr(W H W^T), for H ~ X X^T; of the weights themselves when `hessian`
/// is undefined. 0 when the denominator is.
double relative_error(const at::Tensor& w_hat, const at::Tensor& weight, const at::Tensor& hessian);

}  // namespace rqat::ptq
