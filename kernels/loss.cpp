#include "rqat/ops/loss.h"

#include <ATen/ATen.h>

#include "checks.h"
#include "composed.h"
#include "cpu/dense.h"

namespace rqat::ops {
namespace {

void check_logits(const char* op, const char* name, const at::Tensor& logits) {
  check_dtype(op, name, logits, at::kFloat);
  TORCH_CHECK_VALUE(logits.dim() == 2 && logits.size(1) > 0, "[", op, "] expected ", name,
                    " [R, V] with V > 0, got shape ", logits.sizes());
}

void check_rows(const char* op, const char* name, const at::Tensor& rows, at::ScalarType dtype,
                const at::Tensor& logits) {
  check_dtype(op, name, rows, dtype);
  check_shape(op, name, rows, {logits.size(0)});
  check_device(op, logits, {rows});
}

void check_temperature(const char* op, double temperature) {
  TORCH_CHECK_VALUE(temperature > 0, "[", op, "] expected temperature > 0, got ", temperature);
}

// On a GPU the check would wait for the device; there the gather itself asserts.
void check_targets(const char* op, const at::Tensor& targets, const at::Tensor& logits, const at::Tensor& row_weight) {
  check_rows(op, "targets", targets, at::kLong, logits);
  if (!targets.is_cpu()) return;
  const at::Tensor target = targets.contiguous();
  const at::Tensor weight = row_weight.defined() ? row_weight.contiguous() : at::Tensor();
  for (int64_t row = 0; row < target.numel(); ++row) {
    const int64_t value = target.const_data_ptr<int64_t>()[row];
    const bool masked = weight.defined() && weight.const_data_ptr<float>()[row] == 0;
    TORCH_CHECK_VALUE(masked || (0 <= value && value < logits.size(1)), "[", op, "] expected the target of row ", row,
                      " in 0..", logits.size(1) - 1, ", got ", value);
  }
}

}  // namespace

RowLoss cross_entropy_rows(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& row_weight,
                           bool want_grad) {
  check_logits("cross_entropy_rows", "logits", logits);
  check_rows("cross_entropy_rows", "row_weight", row_weight, at::kFloat, logits);
  check_targets("cross_entropy_rows", targets, logits, row_weight);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({logits});
  if (kernels == nullptr) return composed::cross_entropy_rows(logits, targets, row_weight, want_grad);
  return cpu::cross_entropy_rows(*kernels, logits, targets.contiguous(), row_weight.contiguous(), want_grad);
}

RowLoss divergence_rows(at::Tensor& student, at::Tensor& teacher, const at::Tensor& row_weight, double beta,
                        double temperature, bool want_grad) {
  check_logits("divergence_rows", "student", student);
  check_logits("divergence_rows", "teacher", teacher);
  check_shape("divergence_rows", "teacher", teacher, student.sizes());
  check_device("divergence_rows", student, {teacher});
  check_rows("divergence_rows", "row_weight", row_weight, at::kFloat, student);
  check_temperature("divergence_rows", temperature);
  TORCH_CHECK_VALUE(0 <= beta && beta <= 1, "[divergence_rows] expected beta in 0..1, got ", beta);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({student, teacher});
  if (kernels == nullptr) return composed::divergence_rows(student, teacher, row_weight, beta, temperature, want_grad);
  return cpu::divergence_rows(*kernels, student, teacher, row_weight.contiguous(), beta, temperature, want_grad);
}

RowLogProb log_prob_rows(const at::Tensor& logits, const at::Tensor& targets, double temperature) {
  check_logits("log_prob_rows", "logits", logits);
  check_targets("log_prob_rows", targets, logits, {});
  check_temperature("log_prob_rows", temperature);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({logits});
  if (kernels == nullptr) return composed::log_prob_rows(logits, targets, temperature);
  return cpu::log_prob_rows(*kernels, logits, targets.contiguous(), temperature);
}

void log_prob_rows_backward(at::Tensor& logits, const at::Tensor& targets, const at::Tensor& coefficient,
                            double temperature) {
  check_logits("log_prob_rows_backward", "logits", logits);
  check_rows("log_prob_rows_backward", "coefficient", coefficient, at::kFloat, logits);
  check_targets("log_prob_rows_backward", targets, logits, coefficient);
  check_temperature("log_prob_rows_backward", temperature);
  const cpu::DenseKernels* kernels = cpu::dense_kernels_for({logits});
  if (kernels == nullptr) return composed::log_prob_rows_backward(logits, targets, coefficient, temperature);
  cpu::log_prob_rows_backward(*kernels, logits, targets.contiguous(), coefficient.contiguous(), temperature);
}

}  // namespace rqat::ops
