// A linear layer that owns master, W_hat and codes, so that there is nothing to convert.
//
// A layer may have an input order (act-order of GPTQ): then the columns of master and codes, and with them the groups,
// are of inputs in that order, and group = column / group_size holds as everywhere. What the outside multiplies with,
// and its gradient, keep the order of the inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "rqat/nn/linear.h"
#include "rqat/ops/packed_linear.h"
#include "rqat/quant/estimator.h"
#include "rqat/quant/format.h"
#include "rqat/quant/quantizer.h"

namespace rqat::quant {

class FakeQuantLinear : public nn::LinearBase {
 public:
  FakeQuantLinear(nn::LinearSpec spec, QuantFormat format, std::shared_ptr<Quantizer> quantizer,
                  std::shared_ptr<Estimator> estimator);

  const QuantFormat& format() const { return format_; }
  const Quantizer& quantizer() const { return *quantizer_; }

  /// Starting point: the float weight becomes the master, parameters are found by min-max; refresh() follows.
  /// Throws DataError when shapes are not those of the spec.
  void load(const at::Tensor& weight, const at::Tensor& bias) override;
  /// load() will bring the W_hat of a stored layer and restore() all that it is made of: of the weight only its type
  /// and device are kept. Until restore() the layer has no weight.
  void await_state() { awaits_state_ = true; }
  /// Installs parameters found by an initializer: scale is rounded, and the master may be replaced (e.g. by GPTQ's
  /// W_hat), its columns in the layer's input order: in `input_order`, or when that is undefined, in the one it has.
  /// Throws IoError when the order is no permutation of the inputs.
  void set_quantization(const QuantParams& params, const at::Tensor& master, const at::Tensor& input_order = {});
  /// Parameters as the forward uses them: rounded scale, integer zero point.
  QuantParams params() const;
  /// Restores a stored layer: unrounded parameter masters, codes, the weight master (undefined = it equals W_hat), and
  /// the input order (undefined = that of the inputs). Throws IoError when the master does not give these codes, or the
  /// order is no permutation of the inputs.
  void restore(const at::Tensor& scale_master, const at::Tensor& zero_point_master, const at::Tensor& codes,
               const at::Tensor& weight_master, const at::Tensor& input_order = {});
  /// int64 [K]: column p of codes() and master_weight() is of input input_order()[p]. Undefined = 0, 1, 2 ...
  const at::Tensor& input_order() const { return input_order_; }
  /// [N, K] with the columns of codes() -> with those of inputs 0, 1, 2 ...; itself without an input order.
  at::Tensor by_input(const at::Tensor& columns) const;
  /// int64 [K]: the group of each input.
  at::Tensor group_of_input() const;
  /// Present codes, uint8 [N, K].
  at::Tensor codes() const;
  /// fp32 master; undefined for a restored layer that was not trained since, and where another rank keeps it.
  const at::Tensor& master_weight() const { return weight_.master; }
  const at::Tensor& scale_master() const { return scale_.master; }
  const at::Tensor& zero_point_master() const { return zero_point_.master; }

  nn::ParameterList parameters() override;
  at::Tensor dense_weight() override;
  at::Tensor bias() const override { return bias_.compute; }
  void refresh() override;
  void reduce_gradients() override;
  void prepare_training() override;
  void masters_restored() override;
  at::Tensor moving_master() override;
  at::Tensor shared_weight() override;
  void set_execution(nn::Execution execution) override;
  nn::Execution execution() const override { return execution_; }
  int64_t weight_bytes() const override;
  /// While true, the dense weight is the master itself: calibration in float, before the layer is quantised.
  void set_bypass(bool enabled);
  /// Codes changed by the last refresh(); counted only when enabled: it costs a pass over the codes.
  void set_count_flips(bool enabled) override { count_flips_ = enabled; }
  int64_t flipped() const override { return flipped_; }

 protected:
  at::Tensor packed_forward(const at::Tensor& x) override;
  at::Tensor weight_grad_buffer() override;
  at::Tensor bias_grad_buffer() override;

 private:
  void check_shapes(const at::Tensor& weight, const at::Tensor& bias) const;
  void set_input_order(const at::Tensor& order);
  void make_dense();
  void make_packed();
  void count_flips();
  void carry_master();

  QuantFormat format_;
  std::shared_ptr<Quantizer> quantizer_;
  std::shared_ptr<Estimator> estimator_;
  nn::Parameter weight_, scale_, zero_point_, bias_;  // masters fp32; scale_/zero_point_ unrounded
  at::Tensor gradient_;                               // G fp32
  at::Tensor dense_;                                  // W_hat in the compute dtype
  ops::PackedWeight packed_;
  at::Tensor codes_;                         // of a layer without a weight master here, while it is not packed
  at::Tensor last_codes_;                    // for counting flips
  at::Tensor last_scale_;                    // rounded, of the last refresh(): for estimators that hold codes
  at::Tensor input_order_, place_of_input_;  // int64 [K], each the inverse of the other; undefined without an order
  at::ScalarType dtype_ = at::kFloat;
  nn::Execution execution_ = nn::Execution::kTrain;
  bool awaits_state_ = false;
  bool bypass_ = false;
  bool count_flips_ = false;
  int64_t flipped_ = 0;
};

}  // namespace rqat::quant
