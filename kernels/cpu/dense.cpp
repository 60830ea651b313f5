#include "cpu/dense.h"

namespace rqat::ops::cpu {

const DenseKernels* dense_kernels_for(std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& tensor : tensors)
    if (!tensor.is_cpu() || !tensor.is_contiguous()) return nullptr;
#if defined(__x86_64__)
  switch (cpu_kernels()) {
    case CpuKernels::kAvx512:
      return &dense_kernels_avx512();
    case CpuKernels::kAvx2:
      return &dense_kernels_avx2();
    case CpuKernels::kPortable:
      break;
  }
#endif
  return nullptr;
}

}  // namespace rqat::ops::cpu
