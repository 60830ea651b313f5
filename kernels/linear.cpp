#include "rqat/ops/linear.h"

#include <ATen/ATen.h>

#include "composed.h"

namespace rqat::ops {
namespace {

void check_pair(const char* op, const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "[", op,
                    "] expected x [M, K] and weight [N, K] with one K, got ", x.sizes(), " and ", weight.sizes());
  TORCH_CHECK_VALUE(x.scalar_type() == weight.scalar_type() &&
                        (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat),
                    "[", op, "] expected x and weight both bfloat16 or both float32, got ", x.scalar_type(), " and ",
                    weight.scalar_type());
  TORCH_CHECK_VALUE(x.device() == weight.device(), "[", op, "] expected x and weight on one device, got ", x.device(),
                    " and ", weight.device());
}

}  // namespace

PreparedWeight prepare_weight(const at::Tensor& weight) { return {weight, {}}; }

at::Tensor matmul_nt_float(const at::Tensor& x, const PreparedWeight& weight, int64_t begin, int64_t end) {
  check_pair("matmul_nt_float", x, weight.plain);
  if (end < 0) end = weight.plain.size(0);
  TORCH_CHECK_VALUE(0 <= begin && begin <= end && end <= weight.plain.size(0),
                    "[matmul_nt_float] expected 0 <= begin <= end <= ", weight.plain.size(0), ", got ", begin, " and ",
                    end);
  return composed::matmul_nt_float(x, weight.plain.slice(0, begin, end));
}

void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b) {
  composed::accumulate_tn(accumulator, a, b);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight, bias);
}

}  // namespace rqat::ops
