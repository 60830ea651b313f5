// Optimizers over parameters with fp32 masters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rqat/base/registry.h"

namespace rqat::optim {

/// One tensor to train. `group` selects settings: "weight", "bias", "norm", "embedding", "head", "scale", "zero_point".
struct Slot {
  std::string name, group;
  at::Tensor* master = nullptr;
  at::Tensor* grad = nullptr;  ///< may be undefined in a step: then the slot is left alone
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// One step. `lr_factor` (0..1) comes from the schedule, `grad_scale` from clipping.
  virtual void step(double lr_factor, double grad_scale) = 0;
  /// Base learning rate of a group, for logs.
  virtual double learning_rate(const std::string& group) const = 0;
  /// State by name ("m.model.layers..."), for checkpoints; load_state throws IoError on missing or misshaped entries.
  virtual std::map<std::string, at::Tensor> state() const = 0;
  virtual void load_state(const std::map<std::string, at::Tensor>& state) = 0;
};

/// Registry kind "optimizers": adamw, adamw_8bit.
const base::Registry<Optimizer, std::vector<Slot>>& optimizers();

/// Learning-rate factor at `step` (from 0) of `total`: linear warm-up over `warmup`, then by kind down to `min_ratio`.
struct ScheduleConfig : base::Config {
  std::string kind = "cosine";  ///< constant | linear | cosine
  int64_t warmup_steps = 0;
  double warmup_ratio = 0.03;  ///< of all steps, used when warmup_steps is 0
  double min_ratio = 0.0;
  void fields(base::FieldVisitor& v) override;
  double factor(int64_t step, int64_t total) const;
};

/// Global gradient norm, and the factor that limits it to `max_norm` (0 = no limit). Throws DataError on NaN/Inf and
/// names the first bad tensor.
struct ClipResult {
  double norm = 0, scale = 1;
};
ClipResult clip_by_norm(const std::vector<Slot>& slots, double max_norm);
/// In two parts, between which ranks can exchange numbers: sum of squares of each gradient (0 where there is none), and
/// the rest.
std::vector<double> sums_of_squares(const std::vector<Slot>& slots);
ClipResult clip_by_norm(const std::vector<Slot>& slots, const std::vector<double>& squares, double max_norm);

}  // namespace rqat::optim
