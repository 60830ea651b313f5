#include "rqat/quant/fake_quant_linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/base/strings.h"

namespace rqat::quant {

FakeQuantLinear::FakeQuantLinear(nn::LinearSpec spec, QuantFormat format, std::shared_ptr<Quantizer> quantizer,
                                 std::shared_ptr<Estimator> estimator)
    : LinearBase(std::move(spec)),
      format_(std::move(format)),
      quantizer_(std::move(quantizer)),
      estimator_(std::move(estimator)) {
  weight_.name = name() + ".weight";
  bias_.name = name() + ".bias";
  scale_.name = name() + ".weight_scale";
  zero_point_.name = name() + ".weight_zero_point";
  bias_.role = nn::Role::kBias;
  scale_.role = nn::Role::kScale;
  zero_point_.role = nn::Role::kZeroPoint;
}

void FakeQuantLinear::check_shapes(const at::Tensor& weight, const at::Tensor& bias) const {
  const bool weight_fits = weight.sizes() == at::IntArrayRef{spec().out_features, spec().in_features};
  const bool bias_fits =
      bias.defined() ? spec().bias && bias.sizes() == at::IntArrayRef{spec().out_features} : !spec().bias;
  if (weight_fits && bias_fits) return;
  throw base::DataError(base::cat("linear '", name(), "': expected a weight [", spec().out_features, ", ",
                                  spec().in_features, "] ", spec().bias ? "and a bias" : "without bias", ", got ",
                                  weight.sizes(), " ", bias.defined() ? "and a bias" : "without bias"));
}

void FakeQuantLinear::load(const at::Tensor& weight, const at::Tensor& bias) {
  check_shapes(weight, bias);
  dtype_ = weight.scalar_type();
  if (bias.defined()) bias_.compute = bias;
  if (weight.is_meta()) {  // validation builds the structure only
    dense_ = weight;
    return;
  }
  if (awaits_state_) {
    dense_ = at::empty({0}, weight.options());
    return;
  }
  set_input_order({});
  weight_.master = weight.to(at::kFloat).contiguous().clone();
  const QuantParams params = quantizer_->search(weight_.master, format_, {});
  scale_.master = params.scale.clone();
  zero_point_.master = params.zero_point.to(at::kFloat);
  codes_ = last_scale_ = at::Tensor();
  refresh();
}

void FakeQuantLinear::set_input_order(const at::Tensor& order) {
  at::Tensor place;
  if (order.defined()) {
    const int64_t columns = spec().in_features;
    const bool fits =
        at::isIntegralType(order.scalar_type(), /*includeBool=*/false) && order.sizes() == at::IntArrayRef{columns};
    if (fits) place = at::argsort(order.to(at::kLong));
    if (!fits || !at::equal(order.to(at::kLong).index_select(0, place), at::arange(columns, place.options()))) {
      throw base::IoError(base::cat(name(), ": the input order is no permutation of the ", columns, " inputs (",
                                    c10::toString(order.scalar_type()), " ", order.sizes(), ")"));
    }
  }
  format_.act_order = order.defined();
  input_order_ = order.defined() ? order.to(at::kLong).contiguous() : at::Tensor();
  place_of_input_ = place;
}

at::Tensor FakeQuantLinear::by_input(const at::Tensor& columns) const {
  return place_of_input_.defined() ? columns.index_select(1, place_of_input_.to(columns.device())) : columns;
}

at::Tensor FakeQuantLinear::group_of_input() const {
  const int64_t columns = spec().in_features;
  const at::Tensor place = place_of_input_.defined() ? place_of_input_ : at::arange(columns, at::kLong);
  return place.floor_divide(format_.resolved_group(columns));
}

void FakeQuantLinear::set_quantization(const QuantParams& params, const at::Tensor& master,
                                       const at::Tensor& input_order) {
  if (input_order.defined()) set_input_order(input_order);
  scale_.master = round_scale(params.scale, format_.scale_dtype);
  zero_point_.master = params.zero_point.to(at::kFloat);
  if (master.defined()) weight_.master = master.to(at::kFloat).contiguous();
  last_scale_ = at::Tensor();
  refresh();
}

void FakeQuantLinear::restore(const at::Tensor& scale_master, const at::Tensor& zero_point_master,
                              const at::Tensor& codes, const at::Tensor& weight_master, const at::Tensor& input_order) {
  const at::Device device = dense_.defined() ? dense_.device() : codes.device();
  set_input_order(input_order.defined() ? input_order.to(device) : input_order);
  awaits_state_ = false;
  scale_.master = scale_master.to(device, at::kFloat).contiguous();
  zero_point_.master = zero_point_master.to(device, at::kFloat).contiguous();
  codes_ = codes.to(device).contiguous();
  weight_.master = weight_master.defined() ? weight_master.to(device, at::kFloat).contiguous() : at::Tensor();
  if (weight_.master.defined()) {
    const at::Tensor made = quantizer_->quantize(weight_.master, params(), format_);
    const int64_t different = at::ne(made, codes_).sum().item<int64_t>();
    if (different > 0) {
      throw base::IoError(base::cat(name(), ": ", different, " of ", made.numel(),
                                    " stored codes do not follow from the stored master and scales; the files do not "
                                    "belong together"));
    }
    codes_ = at::Tensor();
  }
  packed_ = {};
  dense_ = at::Tensor();
  last_scale_ = at::Tensor();
  refresh();
}

QuantParams FakeQuantLinear::params() const {
  const double max_code = static_cast<double>(format_.max_code());
  return {round_scale(scale_.master, format_.scale_dtype),
          at::round(zero_point_.master).clamp(0, max_code).to(at::kByte)};
}

at::Tensor FakeQuantLinear::codes() const {
  if (weight_.master.defined()) return quantizer_->quantize(weight_.master, params(), format_);
  return packed_.codes.defined() ? ops::unpack(packed_) : codes_;
}

nn::ParameterList FakeQuantLinear::parameters() {
  nn::ParameterList list{&weight_};
  if (bias_.defined()) list.push_back(&bias_);
  if (estimator_->trains_scale()) list.push_back(&scale_);
  if (estimator_->trains_zero_point() && !format_.symmetric) list.push_back(&zero_point_);
  return list;
}

void FakeQuantLinear::make_dense() {
  if (bypass_ && weight_.master.defined()) {
    dense_ = weight_.master.to(dtype_);
  } else if (weight_.master.defined()) {
    dense_ = quantizer_->fake_quant(weight_.master, params(), format_, dtype_);
  } else {
    dense_ = quantizer_->dequantize(codes(), params(), format_, dtype_);
  }
  dense_ = by_input(dense_);
}

void FakeQuantLinear::make_packed() {
  const QuantParams used = params();
  packed_ =
      ops::prepack(codes(), used.scale, used.zero_point, format_.num_bits, format_.resolved_group(spec().in_features));
  codes_ = at::Tensor();
  dense_ = at::Tensor();
}

at::Tensor FakeQuantLinear::dense_weight() {
  if (dense_.defined()) return dense_;
  if (execution_ == nn::Execution::kPacked) {
    return by_input(quantizer_->dequantize(codes(), params(), format_, dtype_));
  }
  make_dense();
  return dense_;
}

void FakeQuantLinear::count_flips() {
  at::Tensor now = codes();
  if (last_codes_.defined()) flipped_ = at::ne(now, last_codes_).sum().item<int64_t>();
  last_codes_ = std::move(now);
}

void FakeQuantLinear::carry_master() {
  const at::Tensor scale = params().scale;
  if (last_scale_.defined() && weight_.master.defined() && !at::equal(scale, last_scale_)) {
    const int64_t columns = spec().in_features;
    weight_.master.mul_(
        scale.div(last_scale_).repeat_interleave(format_.resolved_group(columns), 1).slice(1, 0, columns));
  }
  last_scale_ = scale;
}

void FakeQuantLinear::refresh() {
  base::pulse();
  bias_.refresh();
  if (weight_.master.defined()) codes_ = at::Tensor();
  if (estimator_->holds_codes()) carry_master();
  if (count_flips_) count_flips();
  if (execution_ == nn::Execution::kPacked) {
    make_packed();
  } else {
    make_dense();
  }
}

void FakeQuantLinear::reduce_gradients() {
  if (!gradient_.defined()) return;
  base::pulse();
  if (weight_.elsewhere) {
    gradient_.zero_();
    return;
  }
  if (input_order_.defined()) gradient_ = gradient_.index_select(1, input_order_);
  EstimatorGradients gradients = estimator_->reduce({gradient_, weight_.master, params(), &format_});
  if (weight_.trainable) weight_.grad = gradients.weight;
  if (gradients.scale.defined() && scale_.trainable) scale_.grad = gradients.scale;
  if (gradients.zero_point.defined() && zero_point_.trainable) zero_point_.grad = gradients.zero_point;
  gradient_ = at::Tensor();
}

void FakeQuantLinear::prepare_training() {
  if (!weight_.master.defined() && !weight_.elsewhere) {
    weight_.master = quantizer_->dequantize(codes(), params(), format_, at::kFloat);
    codes_ = at::Tensor();
  }
  // Before the first forward: allocated among its activations, it would keep the holes they leave from being used.
  if (weight_.trainable && weight_.master.defined() && !weight_.grad.defined()) {
    weight_.grad = at::zeros_like(weight_.master);
  }
  if (bias_.defined()) bias_.make_master();
  if (count_flips_ && !last_codes_.defined()) last_codes_ = codes();
}

void FakeQuantLinear::masters_restored() { last_scale_ = at::Tensor(); }

at::Tensor FakeQuantLinear::moving_master() {
  return estimator_->holds_codes() && !weight_.trainable ? weight_.master : at::Tensor();
}

at::Tensor FakeQuantLinear::shared_weight() {
  if (!weight_.elsewhere) {
    if (estimator_->holds_codes()) carry_master();
    return codes();
  }
  // Fresh memory: the last codes are compared with when flips are counted.
  codes_ = at::empty({spec().out_features, spec().in_features}, scale_.master.options().dtype(at::kByte));
  return codes_;
}

void FakeQuantLinear::set_execution(nn::Execution execution) {
  if (execution == execution_) return;
  if (execution == nn::Execution::kPacked) {
    make_packed();
  } else {
    if (!weight_.master.defined()) codes_ = codes();
    packed_ = {};
    make_dense();
  }
  execution_ = execution;
}

void FakeQuantLinear::set_bypass(bool enabled) {
  bypass_ = enabled;
  if (execution_ == nn::Execution::kTrain) make_dense();
}

int64_t FakeQuantLinear::weight_bytes() const {
  int64_t bytes = 0;
  if (dense_.defined()) bytes += static_cast<int64_t>(dense_.nbytes());
  if (codes_.defined()) bytes += static_cast<int64_t>(codes_.nbytes());
  if (packed_.codes.defined()) bytes += packed_.bytes();
  return bytes;
}

at::Tensor FakeQuantLinear::packed_forward(const at::Tensor& x) {
  return ops::packed_linear(input_order_.defined() ? x.index_select(-1, input_order_) : x, packed_, bias_.compute);
}

at::Tensor FakeQuantLinear::weight_grad_buffer() {
  const bool wanted = weight_.trainable || (estimator_->trains_scale() && scale_.trainable) ||
                      (estimator_->trains_zero_point() && zero_point_.trainable);
  if (!wanted || (!weight_.master.defined() && !weight_.elsewhere)) return {};
  if (gradient_.defined()) return gradient_;
  // The gradient of the step before has been used: its memory serves again.
  gradient_ = weight_.grad.defined()
                  ? std::exchange(weight_.grad, at::Tensor()).zero_()
                  : at::zeros({spec().out_features, spec().in_features}, scale_.master.options().dtype(at::kFloat));
  return gradient_;
}

at::Tensor FakeQuantLinear::bias_grad_buffer() {
  if (!bias_.defined() || !bias_.trainable) return {};
  return bias_.grad_buffer();
}

}  // namespace rqat::quant
