#include "rqat/ops/linear.h"

#include <ATen/ATen.h>

#include "checks.h"
#include "composed.h"
#include "cpu/linear.h"

namespace rqat::ops {
namespace {

void check_pair(const char* op, const char* first, const at::Tensor& a, const char* second, const at::Tensor& b) {
  TORCH_CHECK_VALUE(
      a.scalar_type() == b.scalar_type() && (a.scalar_type() == at::kBFloat16 || a.scalar_type() == at::kFloat), "[",
      op, "] expected ", first, " and ", second, " both bfloat16 or both float32, got ", a.scalar_type(), " and ",
      b.scalar_type());
  check_device(op, a, {b});
}

// The fused kernels where bf16 brgemm is there for these tensors, else null.
const cpu::DenseKernels* brgemm_kernels(std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& tensor : tensors)
    if (tensor.scalar_type() != at::kBFloat16) return nullptr;
  return has_bf16_brgemm() ? cpu::dense_kernels_for(tensors) : nullptr;
}

}  // namespace

PreparedWeight prepare_weight(const at::Tensor& weight) {
  check_matrix("prepare_weight", "weight", weight);
  const cpu::DenseKernels* kernels = brgemm_kernels({weight});
  return {weight, kernels == nullptr ? at::Tensor() : cpu::pack_tiles(*kernels, weight)};
}

at::Tensor matmul_nt_float(const at::Tensor& x, const PreparedWeight& weight, int64_t begin, int64_t end) {
  constexpr const char* kOp = "matmul_nt_float";
  check_matrix(kOp, "x", x);
  check_matrix(kOp, "weight", weight.plain);
  TORCH_CHECK_VALUE(x.size(1) == weight.plain.size(1), "[matmul_nt_float] expected x [M, ", weight.plain.size(1),
                    "] for weight ", weight.plain.sizes(), ", got ", x.sizes());
  check_pair(kOp, "x", x, "weight", weight.plain);
  const int64_t rows = weight.plain.size(0);
  if (end < 0) end = rows;
  TORCH_CHECK_VALUE(0 <= begin && begin <= end && end <= rows, "[matmul_nt_float] expected 0 <= begin <= end <= ", rows,
                    ", got ", begin, " and ", end);
  if (weight.tiles.defined()) return cpu::matmul_tiles(x.contiguous(), weight.tiles, begin, end);
  return composed::matmul_nt_float(x, weight.plain.slice(0, begin, end));
}

void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b) {
  constexpr const char* kOp = "accumulate_tn";
  check_matrix(kOp, "a", a);
  check_matrix(kOp, "b", b);
  TORCH_CHECK_VALUE(a.size(0) == b.size(0), "[accumulate_tn] expected a [M, N] and b [M, K] with one M, got ",
                    a.sizes(), " and ", b.sizes());
  check_pair(kOp, "a", a, "b", b);
  check_dtype(kOp, "accumulator", accumulator, at::kFloat);
  check_shape(kOp, "accumulator", accumulator, {a.size(1), b.size(1)});
  check_device(kOp, accumulator, {a});
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  const cpu::DenseKernels* kernels = accumulator.is_contiguous() ? brgemm_kernels({left, right}) : nullptr;
  if (kernels == nullptr) return composed::accumulate_tn(accumulator, a, b);
  cpu::accumulate_tn(*kernels, accumulator, left, right);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  // From here on oneDNN's own blocking of at::linear is as fast.
  constexpr int64_t kFewRows = 64;
  check_matrix("linear", "weight", weight);
  TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) == weight.size(1), "[linear] expected x [..., ", weight.size(1),
                    "] for weight ", weight.sizes(), ", got ", x.sizes());
  check_pair("linear", "x", x, "weight", weight);
  if (bias.defined()) {
    check_shape("linear", "bias", bias, {weight.size(0)});
    check_device("linear", x, {bias});
  }
  const int64_t depth = weight.size(1), width = weight.size(0);
  const int64_t rows = depth == 0 ? 0 : x.numel() / depth;
  const bool fits = rows > 0 && rows <= kFewRows && depth % 2 == 0 && width % 16 == 0;
  const cpu::DenseKernels* kernels = fits ? brgemm_kernels({x, weight}) : nullptr;
  if (kernels == nullptr) return at::linear(x, weight, bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  return cpu::linear_few_rows(*kernels, x.reshape({rows, depth}), weight, bias).reshape(shape);
}

}  // namespace rqat::ops
