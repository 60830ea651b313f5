#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "cpu/dense.h"
#include "cpu/work.h"

namespace rqat::ops::cpu {
namespace {

at::Tensor per_row(const at::Tensor& logits) { return at::empty({logits.size(0)}, logits.options()); }

template <class Body>
void for_rows(const at::Tensor& logits, const Body& body) {
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// factor * (onehot - softmax); an exact zero row for factor 0, whatever the logits are.
void write_row_gradient(const DenseKernels& kernels, float* row, int64_t size, float inverse_temperature,
                        const RowStatistics& statistics, int64_t target, float factor) {
  if (factor == 0) {
    std::fill_n(row, size, 0.0f);
    return;
  }
  kernels.loss.scaled_softmax(row, size, inverse_temperature, statistics, -factor);
  row[target] += factor;
}

float log_prob(const RowStatistics& row, float logit, float inverse_temperature) {
  return (logit * inverse_temperature - row.maximum) - row.log_sum;
}

}  // namespace

RowLoss cross_entropy_rows(const DenseKernels& kernels, at::Tensor& logits, const at::Tensor& targets,
                           const at::Tensor& row_weight, bool want_grad) {
  RowLoss result{per_row(logits), per_row(logits)};
  const int64_t size = logits.size(1);
  float* data = mutable_elements<float>(logits);
  float *loss = mutable_elements<float>(result.loss), *entropy = mutable_elements<float>(result.entropy);
  const auto* target = elements<int64_t>(targets);
  const auto* weight = elements<float>(row_weight);
  for_rows(logits, [&](int64_t r) {
    float* row = data + r * size;
    const RowStatistics statistics = kernels.loss.statistics(row, size, 1);
    entropy[r] = statistics.entropy;
    loss[r] = weight[r] == 0 ? 0 : -log_prob(statistics, row[target[r]], 1);
    if (want_grad) write_row_gradient(kernels, row, size, 1, statistics, target[r], -weight[r]);
  });
  return result;
}

RowLoss divergence_rows(const DenseKernels& kernels, at::Tensor& student, at::Tensor& teacher,
                        const at::Tensor& row_weight, double beta, double temperature, bool want_grad) {
  RowLoss result{per_row(student), per_row(student)};
  const int64_t size = student.size(1);
  float *student_data = mutable_elements<float>(student), *teacher_data = mutable_elements<float>(teacher);
  float *loss = mutable_elements<float>(result.loss), *entropy = mutable_elements<float>(result.entropy);
  const auto* weight = elements<float>(row_weight);
  const auto inverse_temperature = static_cast<float>(1 / temperature);
  for_rows(student, [&](int64_t r) {
    float *s = student_data + r * size, *t = teacher_data + r * size;
    const RowStatistics s_row = kernels.loss.statistics(s, size, inverse_temperature);
    const RowStatistics t_row = kernels.loss.statistics(t, size, inverse_temperature);
    const bool write = want_grad && weight[r] != 0;
    const float value = kernels.loss.divergence(s, t, size, inverse_temperature, s_row, t_row, static_cast<float>(beta),
                                                static_cast<float>(temperature) * weight[r], write);
    if (want_grad && !write) std::fill_n(s, size, 0.0f);
    loss[r] = static_cast<float>(value * temperature * temperature);
    entropy[r] = s_row.entropy;
  });
  return result;
}

RowLogProb log_prob_rows(const DenseKernels& kernels, const at::Tensor& logits, const at::Tensor& targets,
                         double temperature) {
  RowLogProb result{per_row(logits), per_row(logits)};
  const int64_t size = logits.size(1);
  const auto* data = elements<float>(logits);
  const auto* target = elements<int64_t>(targets);
  float *value = mutable_elements<float>(result.log_prob), *entropy = mutable_elements<float>(result.entropy);
  const auto inverse_temperature = static_cast<float>(1 / temperature);
  for_rows(logits, [&](int64_t r) {
    const RowStatistics statistics = kernels.loss.statistics(data + r * size, size, inverse_temperature);
    value[r] = log_prob(statistics, data[r * size + target[r]], inverse_temperature);
    entropy[r] = statistics.entropy;
  });
  return result;
}

void log_prob_rows_backward(const DenseKernels& kernels, at::Tensor& logits, const at::Tensor& targets,
                            const at::Tensor& coefficient, double temperature) {
  const int64_t size = logits.size(1);
  float* data = mutable_elements<float>(logits);
  const auto* target = elements<int64_t>(targets);
  const auto* factor = elements<float>(coefficient);
  const auto inverse_temperature = static_cast<float>(1 / temperature);
  for_rows(logits, [&](int64_t r) {
    float* row = data + r * size;
    const RowStatistics statistics = kernels.loss.statistics(row, size, inverse_temperature);
    write_row_gradient(kernels, row, size, inverse_temperature, statistics, target[r], factor[r] * inverse_temperature);
  });
}

}  // namespace rqat::ops::cpu
