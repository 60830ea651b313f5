#include "layers.h"

#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::ptq {

std::vector<quant::FakeQuantLinear*> quantized_linears(const std::vector<nn::LinearBase*>& layers) {
  std::vector<quant::FakeQuantLinear*> quantized;
  for (nn::LinearBase* layer : layers) {
    if (auto* found = dynamic_cast<quant::FakeQuantLinear*>(layer)) quantized.push_back(found);
  }
  return quantized;
}

at::Tensor float_weight(const quant::FakeQuantLinear& layer) {
  if (layer.master_weight().defined()) return layer.master_weight();
  throw base::DataError(
      base::cat(layer.name(), ": holds codes only, no float weight to quantize; start from the float model"));
}

double relative_error(const at::Tensor& w_hat, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto energy = [&](const at::Tensor& matrix) {
    const at::Tensor weighted = hessian.defined() ? matrix.matmul(hessian) : matrix;
    return weighted.mul(matrix).sum(at::kDouble).item<double>();
  };
  const double whole = energy(weight);
  return whole == 0 ? 0 : energy(w_hat - weight) / whole;
}

}  // namespace rqat::ptq
