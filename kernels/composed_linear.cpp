#include "composed.h"

namespace rqat::ops::composed {

at::Tensor matmul_nt_float(const at::Tensor& x, const at::Tensor& weight) {
  // cuBLAS writes fp32 from bf16 factors; ATen offers that on CUDA alone.
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16) return at::mm(x, weight.t(), at::kFloat);
  return at::matmul(x.to(at::kFloat), weight.to(at::kFloat).t());
}

void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b) {
  if (a.is_cuda() && a.scalar_type() == at::kBFloat16) {
    accumulator.add_(at::mm(a.t(), b, at::kFloat));
    return;
  }
  accumulator.addmm_(a.to(at::kFloat).t(), b.to(at::kFloat));
}

}  // namespace rqat::ops::composed
