// The canonical quantizer rule in device code: IEEE division, round half to even, no contraction.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace rqat::ops::cuda {

// rint(ratio) + z before the clamp, for ratio = divide(w, s).
__device__ inline float divide(float weight, float scale) { return __fdiv_rn(weight, scale); }
__device__ inline float raw_code(float ratio, float zero_point) { return __fadd_rn(rintf(ratio), zero_point); }

// The comparisons send NaN to 0, as on CPU.
__device__ inline float clamp_code(float raw, float max_code) {
  const float lower = raw > 0.0f ? raw : 0.0f;
  return lower < max_code ? lower : max_code;
}

__device__ inline float value_of(float code, float scale, float zero_point) {
  return __fmul_rn(scale, __fsub_rn(code, zero_point));
}

__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(__nv_bfloat16* out, float value) { *out = __float2bfloat16_rn(value); }
__device__ inline void store(__half* out, float value) { *out = __float2half_rn(value); }

/// Sum over the `kLanes` neighbouring lanes of a warp (a power of two), in every one of them.
template <int kLanes>
__device__ inline float lane_sum(float value) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
  return value;
}

}  // namespace rqat::ops::cuda
