#include "rqat/ops/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "checks.h"
#include "composed.h"
#include "cpu/dense.h"
#include "moment_code.h"

namespace rqat::ops {
namespace {

cpu::AdamwFactors adamw_factors(double learning_rate, double beta1, double beta2, double eps, double weight_decay,
                                int64_t step, double grad_scale) {
  const double steps = static_cast<double>(step);
  cpu::AdamwFactors factors;
  factors.grad_scale = static_cast<float>(grad_scale);
  factors.beta1 = static_cast<float>(beta1);
  factors.one_minus_beta1 = static_cast<float>(1 - beta1);
  factors.beta2 = static_cast<float>(beta2);
  factors.one_minus_beta2 = static_cast<float>(1 - beta2);
  factors.eps = static_cast<float>(eps);
  factors.decay = static_cast<float>(1 - learning_rate * weight_decay);
  factors.step_size = static_cast<float>(learning_rate / (1 - std::pow(beta1, steps)));
  factors.inverse_second_correction = static_cast<float>(1 / (1 - std::pow(beta2, steps)));
  return factors;
}

}  // namespace

void adamw_step(at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment, at::Tensor& second_moment,
                double learning_rate, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                double grad_scale) {
  constexpr const char* kOp = "adamw_step";
  check_dtype(kOp, "parameter", parameter, at::kFloat);
  check_dtype(kOp, "grad", grad, at::kFloat);
  check_dtype(kOp, "first_moment", first_moment, at::kFloat);
  check_dtype(kOp, "second_moment", second_moment, at::kFloat);
  check_shape(kOp, "grad", grad, parameter.sizes());
  check_shape(kOp, "first_moment", first_moment, parameter.sizes());
  check_shape(kOp, "second_moment", second_moment, parameter.sizes());
  check_device(kOp, parameter, {grad, first_moment, second_moment});
  TORCH_CHECK_VALUE(step >= 1, "[adamw_step] expected step >= 1, got ", step);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({parameter, grad, first_moment, second_moment});
  if (kernels == nullptr) {
    return composed::adamw_step(parameter, grad, first_moment, second_moment, learning_rate, beta1, beta2, eps,
                                weight_decay, step, grad_scale);
  }
  cpu::adamw_step(*kernels, parameter, grad, first_moment, second_moment,
                  adamw_factors(learning_rate, beta1, beta2, eps, weight_decay, step, grad_scale));
}

Moments8Bit zero_moments_8bit(const at::Tensor& parameter) {
  const at::Tensor codes = at::zeros(parameter.sizes(), parameter.options().dtype(at::kByte));
  const at::Tensor scales = at::zeros({(parameter.numel() + kMomentBlock - 1) / kMomentBlock}, parameter.options());
  return {codes, codes.clone(), scales, scales.clone()};
}

void adamw_8bit_step(at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments, double learning_rate,
                     double beta1, double beta2, double eps, double weight_decay, int64_t step, double grad_scale) {
  constexpr const char* kOp = "adamw_8bit_step";
  check_dtype(kOp, "parameter", parameter, at::kFloat);
  check_dtype(kOp, "grad", grad, at::kFloat);
  check_shape(kOp, "grad", grad, parameter.sizes());
  const int64_t blocks = (parameter.numel() + kMomentBlock - 1) / kMomentBlock;
  for (const at::Tensor& codes : {moments.first, moments.second}) {
    check_dtype(kOp, "moments", codes, at::kByte);
    check_shape(kOp, "moments", codes, parameter.sizes());
  }
  for (const at::Tensor& scale : {moments.first_scale, moments.second_scale}) {
    check_dtype(kOp, "scales of moments", scale, at::kFloat);
    check_shape(kOp, "scales of moments", scale, {blocks});
  }
  check_device(kOp, parameter, {grad, moments.first, moments.second, moments.first_scale, moments.second_scale});
  TORCH_CHECK_VALUE(step >= 1, "[adamw_8bit_step] expected step >= 1, got ", step);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for(
      {parameter, grad, moments.first, moments.second, moments.first_scale, moments.second_scale});
  if (kernels == nullptr) {
    return composed::adamw_8bit_step(parameter, grad, moments, learning_rate, beta1, beta2, eps, weight_decay, step,
                                     grad_scale);
  }
  cpu::adamw_8bit_step(*kernels, parameter, grad, moments,
                       adamw_factors(learning_rate, beta1, beta2, eps, weight_decay, step, grad_scale));
}

double sum_of_squares(const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(tensor.defined() && at::isFloatingType(tensor.scalar_type()),
                    "[sum_of_squares] expected a floating-point tensor, got ",
                    tensor.defined() ? c10::toString(tensor.scalar_type()) : "an undefined tensor");
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({tensor});
  if (kernels == nullptr || (tensor.scalar_type() != at::kFloat && tensor.scalar_type() != at::kBFloat16))
    return composed::sum_of_squares(tensor);
  return cpu::sum_of_squares(*kernels, tensor);
}

}  // namespace rqat::ops
