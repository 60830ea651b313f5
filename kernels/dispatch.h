// CPU or CUDA: the only place that knows whether this build has CUDA kernels.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace rqat::ops {

/// The current stream of the tensor's device as a cudaStream_t, without CUDA headers.
inline void* current_stream(const at::Tensor& tensor) {
  return c10::impl::VirtualGuardImpl(tensor.device().type()).getStream(tensor.device()).native_handle();
}

/// `error` is what a launch in kernels/cuda returned: null, or the text of the CUDA error.
inline void check_launch(const char* op, const char* error) {
  TORCH_CHECK(error == nullptr, "[", op, "] CUDA launch failed: ", error);
}

}  // namespace rqat::ops

// Runs `on_cpu` or `on_cuda` after the device of `tensor`. `on_cuda` is only compiled in a CUDA build.
#ifdef RQAT_WITH_CUDA
#define RQAT_ON_DEVICE(op, tensor, on_cpu, on_cuda)           \
  do {                                                        \
    if ((tensor).is_cuda()) {                                 \
      const c10::DeviceGuard device_guard((tensor).device()); \
      on_cuda;                                                \
    } else {                                                  \
      on_cpu;                                                 \
    }                                                         \
  } while (false)
#else
#define RQAT_ON_DEVICE(op, tensor, on_cpu, on_cuda)                                                     \
  do {                                                                                                  \
    TORCH_CHECK_VALUE((tensor).is_cpu(), "[", op, "] expected tensors on cpu, got ", (tensor).device(), \
                      ": this build has no CUDA kernels");                                              \
    on_cpu;                                                                                             \
  } while (false)
#endif
