// What train, generate and ptq know of a linear layer; quantised ones derive from it in module quant.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rqat/nn/parameter.h"

namespace rqat::nn {

enum class Execution {
  kTrain,   ///< multiply with the dense compute weight (W_hat); gradients flow
  kPacked,  ///< multiply with packed codes; the dense weight is released
};

struct LinearSpec {
  std::string name;  ///< "model.layers.0.self_attn.q_proj", without ".weight"
  int64_t in_features = 0, out_features = 0;
  bool bias = false;
};

class LinearBase {
 public:
  explicit LinearBase(LinearSpec spec) : spec_(std::move(spec)) {}
  virtual ~LinearBase() = default;
  LinearBase(const LinearBase&) = delete;
  LinearBase& operator=(const LinearBase&) = delete;

  const LinearSpec& spec() const { return spec_; }
  const std::string& name() const { return spec_.name; }

  /// x [..., in] -> [..., out]. In grad mode and Execution::kTrain, when x requires grad, the backward adds
  /// dL/d(dense weight) in fp32 to the weight-gradient buffer. The graph refers to the layer, which must outlive it.
  /// Throws std::logic_error when a gradient would be recorded in packed mode.
  at::Tensor forward(const at::Tensor& x);

  /// Takes a float weight [out, in] (and bias [out]) as the layer's starting point; dtype = compute dtype.
  virtual void load(const at::Tensor& weight, const at::Tensor& bias) = 0;
  /// Trained parameters, in a fixed order, the weight first; the pointers live as long as the layer.
  virtual ParameterList parameters() = 0;
  /// The dense weight the forward multiplies with (W_hat for a quantised layer), made when it was released.
  virtual at::Tensor dense_weight() = 0;
  virtual at::Tensor bias() const = 0;  ///< may be undefined

  /// Once per optimizer step: dense weight and packed codes from the master.
  virtual void refresh() = 0;
  /// Once per optimizer step, before the optimizer: accumulated dL/dW_hat -> gradients of the parameters.
  virtual void reduce_gradients() {}
  /// The fp32 buffers that the backward adds into, made when missing: what ranks sum before reduce_gradients(). The
  /// same number and shapes on every rank.
  std::vector<at::Tensor> accumulated_gradients();
  virtual void prepare_training() = 0;  ///< creates the fp32 masters
  /// After masters were overwritten with those of an earlier moment; refresh() follows.
  virtual void masters_restored() {}
  /// A master that moves without being trained, which a checkpoint holds beside the trained ones; undefined = none.
  virtual at::Tensor moving_master() { return {}; }
  /// What ranks share of a weight whose master one of them keeps (nn::Parameter::elsewhere): codes of a quantised
  /// layer, else the compute weight. After the master where there is one; elsewhere to be overwritten before refresh().
  virtual at::Tensor shared_weight() = 0;
  virtual void set_execution(Execution execution) = 0;
  virtual Execution execution() const = 0;
  /// Bytes of weights held now (dense and packed), masters and gradients not counted.
  virtual int64_t weight_bytes() const = 0;

  /// Whether refresh() counts the integer codes it changes (a pass over the codes); layers without codes ignore it.
  virtual void set_count_flips(bool enabled) { (void)enabled; }
  /// Codes changed by the last refresh().
  virtual int64_t flipped() const { return 0; }

  /// Called with every input [..., in] of forward; empty = none.
  void set_input_observer(std::function<void(const at::Tensor&)> observer) { observer_ = std::move(observer); }

 protected:
  virtual at::Tensor packed_forward(const at::Tensor& x) = 0;
  /// Where the backward adds dL/d(dense weight), fp32 [out, in]; undefined = not wanted.
  virtual at::Tensor weight_grad_buffer() = 0;
  virtual at::Tensor bias_grad_buffer() = 0;

 private:
  LinearSpec spec_;
  std::function<void(const at::Tensor&)> observer_;
};

/// Full-precision linear. In packed mode it simply multiplies with its compute weight.
class FloatLinear : public LinearBase {
 public:
  using LinearBase::LinearBase;
  void load(const at::Tensor& weight, const at::Tensor& bias) override;
  ParameterList parameters() override;
  at::Tensor dense_weight() override { return weight_.compute; }
  at::Tensor bias() const override { return bias_.compute; }
  void refresh() override;
  void prepare_training() override;
  at::Tensor shared_weight() override { return weight_.shared_value(); }
  void set_execution(Execution execution) override { execution_ = execution; }
  Execution execution() const override { return execution_; }
  int64_t weight_bytes() const override;

 protected:
  at::Tensor packed_forward(const at::Tensor& x) override;
  at::Tensor weight_grad_buffer() override;
  at::Tensor bias_grad_buffer() override;

 private:
  Parameter weight_, bias_;
  Execution execution_ = Execution::kTrain;
};

}  // namespace rqat::nn
