#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace rqat::ops::cuda {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

/// Blocks for a grid-stride loop over `count` items, `per_block` at a time.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
  constexpr int64_t kMaxBlocks = 1 << 20;
  return unsigned(std::clamp<int64_t>((count + per_block - 1) / per_block, 1, kMaxBlocks));
}

inline const char* launch_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace rqat::ops::cuda
