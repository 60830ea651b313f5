// Adam with decoupled weight decay (1711.05101), its moments in fp32 or in 8 bits.
#pragma once

#include "rqat/ops/optimizer.h"
#include "rqat/optim/optimizer.h"

namespace rqat::optim {

struct AdamWConfig : base::Config {
  double learning_rate = 2e-5;
  std::optional<double> scale_learning_rate;
  double adam_beta1 = 0.9, adam_beta2 = 0.95, adam_epsilon = 1e-8, weight_decay = 0.0;
  void fields(base::FieldVisitor& v) override;
};

class AdamW : public Optimizer {
 public:
  /// Slots of at least `min_8bit_size` values get moments of 8 bits.
  AdamW(const AdamWConfig& config, std::vector<Slot> slots, int64_t min_8bit_size);

  void step(double lr_factor, double grad_scale) override;
  double learning_rate(const std::string& group) const override;
  std::map<std::string, at::Tensor> state() const override;
  void load_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  /// Of one slot; undefined until its first gradient. The scales belong to 8-bit moments.
  using Moments = ops::Moments8Bit;
  bool in_8bit(const Slot& slot) const { return slot.master->numel() >= min_8bit_size_; }
  /// The tensors of slot `index`, named as in a checkpoint, in moments that are const or not.
  template <class AnyMoments>
  auto named(size_t index, AnyMoments& moments) const;

  AdamWConfig config_;
  std::vector<Slot> slots_;
  std::vector<Moments> moments_;
  int64_t min_8bit_size_, step_ = 0;
};

}  // namespace rqat::optim
