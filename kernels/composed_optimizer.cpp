#include <algorithm>
#include <cmath>

#include "composed.h"

namespace rqat::ops::composed {

void adamw_step(at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment, at::Tensor& second_moment,
                double learning_rate, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                double grad_scale) {
  at::Tensor scaled = grad * grad_scale;
  first_moment.mul_(beta1).add_(scaled, 1 - beta1);
  second_moment.mul_(beta2).addcmul_(scaled, scaled, 1 - beta2);
  const double first_correction = 1 - std::pow(beta1, step), second_correction = 1 - std::pow(beta2, step);
  at::Tensor denominator = (second_moment / second_correction).sqrt_().add_(eps);
  parameter.mul_(1 - learning_rate * weight_decay);
  parameter.addcdiv_(first_moment, denominator, -learning_rate / first_correction);
}

double sum_of_squares(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.to(at::kDouble).square().sum().item<double>();
  // ATen divides larger sums among its threads, and the result would depend on their number.
  constexpr int64_t kPiece = 1 << 14;
  const at::Tensor flat = tensor.flatten();
  double total = 0;
  for (int64_t start = 0; start < flat.numel(); start += kPiece) {
    const at::Tensor piece = flat.slice(0, start, std::min(start + kPiece, flat.numel()));
    total += piece.to(at::kDouble).square().sum().item<double>();
  }
  return total;
}

}  // namespace rqat::ops::composed
