#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "composed.h"
#include "moment_code.h"

namespace rqat::ops::composed {

void adamw_step(at::Tensor& parameter, const at::Tensor& grad, at::Tensor& first_moment, at::Tensor& second_moment,
                double learning_rate, double beta1, double beta2, double eps, double weight_decay, int64_t step,
                double grad_scale) {
  at::Tensor scaled = grad * grad_scale;
  first_moment.mul_(beta1).add_(scaled, 1 - beta1);
  second_moment.mul_(beta2).addcmul_(scaled, scaled, 1 - beta2);
  const double first_correction = 1 - std::pow(beta1, step), second_correction = 1 - std::pow(beta2, step);
  at::Tensor denominator = (second_moment / second_correction).sqrt_().add_(eps);
  parameter.mul_(1 - learning_rate * weight_decay);
  parameter.addcdiv_(first_moment, denominator, -learning_rate / first_correction);
}

namespace {

/// [blocks, kMomentBlock], the last one filled up with zeros.
at::Tensor in_blocks(const at::Tensor& flat) {
  return at::constant_pad_nd(flat, {0, (kMomentBlock - flat.numel() % kMomentBlock) % kMomentBlock})
      .view({-1, kMomentBlock});
}

at::Tensor table(const float* values, int64_t count, const at::Tensor& like) {
  return at::tensor(at::ArrayRef<float>(values, static_cast<size_t>(count)), at::kFloat).to(like.device());
}

at::Tensor decode(const at::Tensor& codes, const at::Tensor& scale, bool with_sign) {
  const at::Tensor values = table(moment_book(with_sign).values, 256, codes);
  const at::Tensor shares = values.index_select(0, codes.flatten().to(at::kLong));
  return in_blocks(shares).mul_(scale.unsqueeze(1)).flatten().slice(0, 0, codes.numel()).view(codes.sizes());
}

void encode(const at::Tensor& moment, bool with_sign, at::Tensor& codes, at::Tensor& scale) {
  const at::Tensor blocks = in_blocks(moment.flatten());
  scale.copy_(std::get<0>(blocks.abs().max(1)));
  const at::Tensor shares = blocks.abs().div_(at::where(scale > 0, scale, at::ones_like(scale)).unsqueeze(1));
  const at::Tensor middles = table(moment_book(with_sign).middles, with_sign ? 127 : 255, moment);
  at::Tensor code = at::bucketize(shares, middles);
  if (with_sign) {
    code += 128 * at::signbit(blocks).to(at::kLong);
  } else {
    code = at::maximum(code, (shares > 0).to(at::kLong));
  }
  codes.copy_(code.flatten().slice(0, 0, moment.numel()).view(codes.sizes()));
}

}  // namespace

void adamw_8bit_step(at::Tensor& parameter, const at::Tensor& grad, Moments8Bit& moments, double learning_rate,
                     double beta1, double beta2, double eps, double weight_decay, int64_t step, double grad_scale) {
  at::Tensor first = decode(moments.first, moments.first_scale, /*with_sign=*/true);
  at::Tensor second = decode(moments.second, moments.second_scale, /*with_sign=*/false);
  adamw_step(parameter, grad, first, second, learning_rate, beta1, beta2, eps, weight_decay, step, grad_scale);
  encode(first, true, moments.first, moments.first_scale);
  encode(second, false, moments.second, moments.second_scale);
}

double sum_of_squares(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.to(at::kDouble).square().sum().item<double>();
  // ATen divides larger sums among its threads, and the result would depend on their number.
  constexpr int64_t kPiece = 1 << 14;
  const at::Tensor flat = tensor.flatten();
  double total = 0;
  for (int64_t start = 0; start < flat.numel(); start += kPiece) {
    const at::Tensor piece = flat.slice(0, start, std::min(start + kPiece, flat.numel()));
    total += piece.to(at::kDouble).square().sum().item<double>();
  }
  return total;
}

}  // namespace rqat::ops::composed
