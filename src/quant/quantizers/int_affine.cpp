// Uniform integers with a zero point: w_hat = s * (q - z).
#include <ATen/ATen.h>

#include "clip_error.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/ops/quantize.h"
#include "rqat/quant/quantizer.h"

namespace rqat::quant {

namespace {

/// Weights as [N, G, group], a short last group padded with zeros: zero is always inside the range, so it changes
/// nothing.
at::Tensor grouped(const at::Tensor& weight, int64_t group) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const int64_t groups = (columns + group - 1) / group;
  if (groups * group == columns) return weight.reshape({rows, groups, group});
  return at::constant_pad_nd(weight, {0, groups * group - columns}).reshape({rows, groups, group});
}

/// Scale (rounded to its stored type first, so that zero points and codes see the stored value) and zero point of a
/// range.
QuantParams params_of_range(const at::Tensor& low, const at::Tensor& high, const QuantFormat& format) {
  const double max_code = static_cast<double>(format.max_code());
  if (format.symmetric) {
    const double middle = static_cast<double>(int64_t{1} << (format.num_bits - 1));
    const at::Tensor scale = round_scale(at::maximum(-low / middle, high / (middle - 1)), format.scale_dtype);
    return {scale, at::full_like(scale, middle).to(at::kByte)};
  }
  const at::Tensor scale = round_scale((high - low) / max_code, format.scale_dtype);
  return {scale, at::round(-low / scale).clamp(0, max_code).to(at::kByte)};
}

class IntAffine : public Quantizer {
 public:
  QuantParams search(const at::Tensor& weight, const QuantFormat& format, const SearchOptions& options) const override {
    const at::Tensor source = weight.to(at::kFloat);
    const at::Tensor groups = grouped(source, format.resolved_group(weight.size(1)));
    const at::Tensor low = groups.amin(2).clamp_max(0), high = groups.amax(2).clamp_min(0);
    QuantParams best = params_of_range(low, high, format);
    if (options.method == "minmax") return best;
    if (options.method != "mse")
      throw base::ConfigError(base::cat("search: unknown method '", options.method, "' (minmax, mse)"));
    if (!(options.power > 0 && options.power <= 4)) {
      throw base::ConfigError(base::cat("search: power ", options.power, " is outside (0, 4]"));
    }
    at::Tensor best_error = clip_error(source, best, format, options.power, options.importance);
    const int64_t tries = static_cast<int64_t>(options.max_shrink * static_cast<double>(options.grid));
    for (int64_t i = 1; i < tries; ++i) {
      const double keep = 1.0 - static_cast<double>(i) / static_cast<double>(options.grid);
      const QuantParams candidate = params_of_range(low * keep, high * keep, format);
      const at::Tensor error = clip_error(source, candidate, format, options.power, options.importance);
      const at::Tensor better = error < best_error;
      best_error = at::where(better, error, best_error);
      best.scale = at::where(better, candidate.scale, best.scale);
      best.zero_point = at::where(better, candidate.zero_point, best.zero_point);
    }
    return best;
  }

  at::Tensor quantize(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format) const override {
    return ops::quantize(weight, params.scale, params.zero_point, format.num_bits,
                         format.resolved_group(weight.size(1)));
  }

  at::Tensor dequantize(const at::Tensor& codes, const QuantParams& params, const QuantFormat& format,
                        at::ScalarType dtype) const override {
    return ops::dequantize(codes, params.scale, params.zero_point, format.resolved_group(codes.size(1)), dtype);
  }

  at::Tensor fake_quant(const at::Tensor& weight, const QuantParams& params, const QuantFormat& format,
                        at::ScalarType dtype) const override {
    return ops::fake_quant(weight, params.scale, params.zero_point, format.num_bits,
                           format.resolved_group(weight.size(1)), dtype);
  }
};

}  // namespace

base::Entry<Quantizer> int_affine_entry() {
  return base::make_entry<base::Entry<Quantizer>, base::NoConfig>(
      "int_affine", "uniform integers with a zero point, per group: w_hat = s * (q - z)", "1712.05877",
      [](const base::NoConfig&) { return std::make_unique<IntAffine>(); });
}

}  // namespace rqat::quant
