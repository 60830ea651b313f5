#include "composed.h"

namespace rqat::ops::composed {

at::Tensor matmul_nt_float(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(x.to(at::kFloat), weight.to(at::kFloat).t());
}

void accumulate_tn(at::Tensor& accumulator, const at::Tensor& a, const at::Tensor& b) {
  accumulator.addmm_(a.to(at::kFloat).t(), b.to(at::kFloat));
}

}  // namespace rqat::ops::composed
