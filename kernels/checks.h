// Argument checks shared by the ops: ValueError "[op] expected ..., got ...".
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>

namespace rqat::ops {

inline void check_dtype(const char* op, const char* name, const at::Tensor& tensor, at::ScalarType dtype) {
  TORCH_CHECK_VALUE(tensor.defined() && tensor.scalar_type() == dtype, "[", op, "] expected ", name, " of type ", dtype,
                    ", got ", tensor.defined() ? c10::toString(tensor.scalar_type()) : "an undefined tensor");
}

inline void check_shape(const char* op, const char* name, const at::Tensor& tensor, at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(tensor.sizes() == shape, "[", op, "] expected ", name, " of shape ", shape, ", got ",
                    tensor.sizes());
}

inline void check_matrix(const char* op, const char* name, const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(tensor.dim() == 2, "[", op, "] expected ", name, " with 2 dimensions, got shape ", tensor.sizes());
}

/// All defined tensors lie on one device, which is a CPU or a CUDA device.
inline void check_device(const char* op, const at::Tensor& first, std::initializer_list<at::Tensor> others) {
  TORCH_CHECK_VALUE(first.is_cpu() || first.is_cuda(), "[", op, "] expected tensors on cpu or cuda, got ",
                    first.device());
  for (const at::Tensor& other : others)
    TORCH_CHECK_VALUE(!other.defined() || other.device() == first.device(), "[", op, "] expected all tensors on ",
                      first.device(), ", got one on ", other.device());
}

}  // namespace rqat::ops
