// Sharing work among threads, and raw access to tensors, for the CPU drivers.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace rqat::ops::cpu {

/// Runs body(next) on every thread; next() hands out 0..count-1, each once, and then -1. Tasks of unequal size balance
/// this way; which thread takes a task must not matter for the result.
template <class Body>
void share_tasks(int64_t count, const Body& body) {
  std::atomic<int64_t> counter{0};
  const auto next = [&]() -> int64_t {
    const int64_t task = counter.fetch_add(1, std::memory_order_relaxed);
    return task < count ? task : -1;
  };
  const int64_t workers = std::min<int64_t>(count, at::in_parallel_region() ? 1 : at::get_num_threads());
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    if (begin < end) body(next);
  });
}

/// Elements as the kernels see them: bfloat16 by its bits.
template <class T>
const T* elements(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_elements(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

/// Calls body with a value of the element type of a bfloat16 or float32 tensor.
template <class Body>
auto with_elements(const at::Tensor& tensor, const Body& body) {
  return tensor.scalar_type() == at::kBFloat16 ? body(uint16_t{}) : body(float{});
}

}  // namespace rqat::ops::cpu
