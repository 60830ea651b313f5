#include "rqat/nn/rope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::nn {
namespace {

constexpr double kTwoPi = 2 * M_PI;

at::Tensor exponents(int64_t rotated) {
  return at::arange(0, rotated, 2, at::kLong).to(at::kFloat).div(static_cast<double>(rotated));
}

at::Tensor llama3_inverse(const at::Tensor& inverse, const RopeParameters& p) {
  const auto length = static_cast<double>(p.original_length);
  const at::Tensor wavelength = at::reciprocal(inverse) * kTwoPi;
  const at::Tensor divided = inverse / p.factor;
  const at::Tensor blend = (at::reciprocal(wavelength) * length - p.low_frequency_factor) /
                           (p.high_frequency_factor - p.low_frequency_factor);
  const at::Tensor blended = (1 - blend) * divided + blend * inverse;
  const at::Tensor low = wavelength > length / p.low_frequency_factor;
  const at::Tensor high = wavelength < length / p.high_frequency_factor;
  return at::where(low, divided, at::where(high, inverse, blended));
}

/// The dimension whose frequency makes `turns` turns in the original length.
double yarn_dimension(double turns, int64_t rotated, const RopeParameters& p) {
  return static_cast<double>(rotated) * std::log(static_cast<double>(p.original_length) / (turns * kTwoPi)) /
         (2 * std::log(p.theta));
}

at::Tensor yarn_inverse(int64_t rotated, const RopeParameters& p, double factor) {
  double low = yarn_dimension(p.beta_fast, rotated, p), high = yarn_dimension(p.beta_slow, rotated, p);
  if (p.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotated - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(rotated / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  const at::Tensor period = at::pow(p.theta, exponents(rotated)), kept = 1 - ramp;
  return at::reciprocal(period * factor) * (1 - kept) + at::reciprocal(period) * kept;
}

double yarn_attention_factor(const RopeParameters& p, double factor) {
  const auto magnitude = [&](double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1; };
  return p.mscale != 0 && p.mscale_all_dim != 0 ? magnitude(p.mscale) / magnitude(p.mscale_all_dim) : magnitude(1);
}

at::Tensor long_rope_inverse(int64_t rotated, const RopeParameters& p, const std::vector<double>& factors,
                             const char* name) {
  if (static_cast<int64_t>(factors.size()) != rotated / 2) {
    throw base::ConfigError(base::cat("rope: ", name, " has ", factors.size(), " values, expected ", rotated / 2,
                                      ", one per pair of rotated dimensions"));
  }
  return at::reciprocal(at::tensor(factors, at::kFloat) * at::pow(p.theta, exponents(rotated)));
}

double long_rope_attention_factor(const RopeParameters& p, double factor) {
  return factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(p.original_length)));
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeParameters& parameters, int64_t head_dim, int64_t context_length,
                                 at::Device device) {
  const auto rotated = static_cast<int64_t>(static_cast<double>(head_dim) * parameters.rotated_part);
  RopeParameters p = parameters;
  if (p.original_length == 0) p.original_length = context_length;
  const double factor =
      p.factor > 0 ? p.factor : static_cast<double>(context_length) / static_cast<double>(p.original_length);
  RopeFrequencies result;
  result.original_length = p.original_length;
  result.inverse = at::reciprocal(at::pow(p.theta, exponents(rotated)));
  switch (p.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      result.inverse = result.inverse / factor;
      break;
    case RopeScaling::kLlama3:
      p.factor = factor;
      result.inverse = llama3_inverse(result.inverse, p);
      break;
    case RopeScaling::kYarn:
      result.inverse = yarn_inverse(rotated, p, factor);
      result.attention_factor = yarn_attention_factor(p, factor);
      break;
    case RopeScaling::kLongRope:
      result.inverse = long_rope_inverse(rotated, p, p.short_factor, "short_factor");
      result.long_inverse = long_rope_inverse(rotated, p, p.long_factor, "long_factor").to(device);
      result.attention_factor = long_rope_attention_factor(p, factor);
      break;
  }
  if (p.attention_factor > 0) result.attention_factor = p.attention_factor;
  result.inverse = result.inverse.to(device);
  return result;
}

std::pair<at::Tensor, at::Tensor> rope_tables(const at::Tensor& positions, const RopeFrequencies& frequencies,
                                              const at::Tensor& is_long) {
  at::Tensor inverse = frequencies.inverse.unsqueeze(0);
  if (is_long.defined() && frequencies.long_inverse.defined()) {
    inverse = at::where(is_long.unsqueeze(1), frequencies.long_inverse.unsqueeze(0), inverse);
  }
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * inverse;
  at::Tensor cos = angles.cos(), sin = angles.sin();
  if (frequencies.attention_factor != 1) {
    cos.mul_(frequencies.attention_factor);
    sin.mul_(frequencies.attention_factor);
  }
  return {cos, sin};
}

}  // namespace rqat::nn
