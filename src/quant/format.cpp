#include "rqat/quant/format.h"

#include <ATen/ATen.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/quant/quantizer.h"

namespace rqat::quant {

void QuantFormat::fields(base::FieldVisitor& v) {
  v.field("num_bits", num_bits, "bits of a code: 2, 3, 4 or 8", base::Range{2, 8});
  v.field("symmetric", symmetric, "fixes the zero point at the middle code");
  v.field("group_size", group_size, "inputs that share a scale; -1 = the whole row", base::Range{-1, 1 << 20});
  v.choice("scale_dtype", scale_dtype, {"float16", "bfloat16"},
           "type the scales are stored in, and rounded to in training");
  v.choice("quantizer", quantizer, quantizers().names(), "number system (`rqat list quantizers`)");
}

std::vector<std::string> QuantFormat::check() const {
  std::vector<std::string> faults;
  if (num_bits != 2 && num_bits != 3 && num_bits != 4 && num_bits != 8) {
    faults.push_back(base::cat("num_bits must be 2, 3, 4 or 8, found ", num_bits));
  }
  if (group_size == 0) faults.emplace_back("group_size 0 is not allowed; use -1 for one scale per row");
  return faults;
}

double QuantFormat::bits_per_weight(int64_t in_features) const {
  const double groups = static_cast<double>(num_groups(in_features)) / static_cast<double>(in_features);
  return static_cast<double>(num_bits) + groups * (16.0 + (symmetric ? 0.0 : static_cast<double>(num_bits)));
}

std::string QuantFormat::text() const {
  const std::string group = group_size > 0 ? "_g" + std::to_string(group_size) : "_channel";
  return base::cat("w", num_bits, group, symmetric ? "_sym" : "_asym", act_order ? "_act_order" : "");
}

bool QuantFormat::operator==(const QuantFormat& other) const {
  return quantizer == other.quantizer && num_bits == other.num_bits && symmetric == other.symmetric &&
         group_size == other.group_size && scale_dtype == other.scale_dtype && act_order == other.act_order;
}

at::Tensor round_scale(const at::Tensor& scale, const std::string& scale_dtype) {
  const bool half = scale_dtype == "float16";
  // The smallest normal numbers: below them a scale would lose precision, or become 0.
  const double low = half ? 6.103515625e-05 : 1.1754943508222875e-38, high = half ? 65504.0 : 3.3895313892515355e+38;
  return scale.clamp(low, high).to(half ? at::kHalf : at::kBFloat16).to(at::kFloat);
}

}  // namespace rqat::quant
