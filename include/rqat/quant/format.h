// How a weight is stored: bits, grouping, symmetry, scale type.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rqat/base/fields.h"

namespace rqat::quant {

/// Settings of one number format; the noun `quant:` of a recipe, or a value in a policy.
struct QuantFormat : base::Config {
  std::string quantizer = "int_affine";
  int64_t num_bits = 4;      ///< 2, 3, 4, 8
  bool symmetric = false;    ///< zero_point fixed at 2^(num_bits-1)
  int64_t group_size = 128;  ///< inputs that share a scale; -1 = the whole row (per channel). A last group may be short
  std::string scale_dtype = "float16";  ///< float16 | bfloat16: scales are rounded to it, in training too
  /// Groups are of inputs in an order of the layer's own (act-order; FakeQuantLinear::input_order). Not a setting: it
  /// is a property of weights that come with such an order.
  bool act_order = false;
  void fields(base::FieldVisitor& v) override;

  std::vector<std::string> check() const override;

  int64_t max_code() const { return (int64_t{1} << num_bits) - 1; }
  int64_t resolved_group(int64_t in_features) const {
    return group_size <= 0 || group_size > in_features ? in_features : group_size;
  }
  int64_t num_groups(int64_t in_features) const {
    const int64_t g = resolved_group(in_features);
    return (in_features + g - 1) / g;
  }
  /// Stored bits per weight, scales and zero points included.
  double bits_per_weight(int64_t in_features) const;
  /// "w2_g64_asym", "w4_g128_sym_act_order"
  std::string text() const;
  bool operator==(const QuantFormat& other) const;
};

/// Group parameters of one weight [N, K]: scale fp32 [N, G] (already representable in scale_dtype, > 0), zero_point
/// uint8 [N, G].
struct QuantParams {
  at::Tensor scale, zero_point;
};

/// Rounds to the format's scale dtype, at least the smallest positive normal, never Inf. fp32 in, fp32 out.
at::Tensor round_scale(const at::Tensor& scale, const std::string& scale_dtype);

}  // namespace rqat::quant
