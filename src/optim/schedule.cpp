#include <algorithm>
#include <cmath>
#include <numbers>

#include "rqat/optim/optimizer.h"

namespace rqat::optim {

void ScheduleConfig::fields(base::FieldVisitor& v) {
  v.choice("kind", kind, {"cosine", "linear", "constant"}, "course of the learning rate after warm-up");
  v.field("warmup_steps", warmup_steps, "steps of linear warm-up; 0 = by warmup_ratio", base::non_negative());
  v.field("warmup_ratio", warmup_ratio, "warm-up as a share of all steps", base::Range{0, 1});
  v.field("min_ratio", min_ratio, "learning rate at the end, as a share of the peak", base::Range{0, 1});
}

double ScheduleConfig::factor(int64_t step, int64_t total) const {
  const int64_t warmup =
      warmup_steps > 0 ? warmup_steps : static_cast<int64_t>(std::llround(warmup_ratio * static_cast<double>(total)));
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  if (kind == "constant") return 1.0;
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, total - warmup)));
  const double course = kind == "linear" ? 1.0 - progress : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return min_ratio + (1.0 - min_ratio) * course;
}

}  // namespace rqat::optim
