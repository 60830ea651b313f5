// The integer quantizer. These few functions give every integer code of rqat: in training, in rollouts, in evaluation,
// in exports. Canonical rule, the same on CPU and CUDA, bit for bit:
//
//   q     = clamp(rint(w / s) + z, 0, 2^num_bits - 1)      fp32 true division, round half to even, no FMA
//   w_hat = s * (q - z)                                    one fp32 product, then one rounding to the output dtype
//
// Shapes: weight [N, K] fp32; scale [N, G] fp32 (values representable in the format's scale dtype, > 0);
// zero_point [N, G] uint8; codes [N, K] uint8; G = ceil(K / group_size), the last group may be short.
// All throw ValueError "[op] expected ..., got ..." on wrong shapes, dtypes, devices or num_bits outside 1..8.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace rqat::ops {

/// Integer codes of `weight`.
at::Tensor quantize(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero_point, int64_t num_bits,
                    int64_t group_size);

/// s * (q - z) in `dtype` (float32, bfloat16, float16).
at::Tensor dequantize(const at::Tensor& codes, const at::Tensor& scale, const at::Tensor& zero_point,
                      int64_t group_size, at::ScalarType dtype);

/// dequantize(quantize(weight)) in one pass over memory, equal to it bit for bit.
at::Tensor fake_quant(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero_point, int64_t num_bits,
                      int64_t group_size, at::ScalarType dtype);

/// Gradients of the fake quantizer for G = dL/dw_hat [N, K] fp32, fused in one pass:
///   inside  (0 <= rint(w/s)+z <= qmax):  dw = G,             ds += G * ((q - z) - w/s),  dz += 0
///   outside:                             dw = clip ? 0 : G,  ds += G * (q - z),          dz += -s * G
/// (LSQ 1902.08153, LSQ+ 2004.09576; no gradient scale applied here).
struct FakeQuantGradients {
  at::Tensor weight;      ///< [N, K] fp32
  at::Tensor scale;       ///< [N, G] fp32, undefined unless asked for
  at::Tensor zero_point;  ///< [N, G] fp32, undefined unless asked for
};
/// With `in_place`, the weight gradient is written over `gradient`.
FakeQuantGradients fake_quant_backward(at::Tensor gradient, const at::Tensor& weight, const at::Tensor& scale,
                                       const at::Tensor& zero_point, int64_t num_bits, int64_t group_size, bool clip,
                                       bool want_scale, bool want_zero_point, bool in_place);

/// Codes [N, K] uint8 -> int32 words [N, ceil(K * num_bits / 32)]: a dense little-endian bit stream along K, each row
/// starting at a word (compressed-tensors "pack-quantized" since 2026-05; equal to GPTQ's stream on the other axis).
at::Tensor pack_codes(const at::Tensor& codes, int64_t num_bits);
at::Tensor unpack_codes(const at::Tensor& packed, int64_t num_bits, int64_t num_columns);

}  // namespace rqat::ops
