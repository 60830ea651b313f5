#include "watchdog.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "rqat/base/strings.h"

namespace rqat::train {

std::string LossWatchdog::fault(double loss) {
  using base::cat;
  if (!std::isfinite(loss)) return cat("the loss is not finite (", loss, ")");
  if (factor_ > 0 && losses_.size() >= std::min(kFirst, window_)) {
    std::vector<double> sorted(losses_.begin(), losses_.end());
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    if (loss > factor_ * *middle) {
      return cat("the loss ", base::format_fixed(loss, 4), " is more than ", factor_, " times the median ",
                 base::format_fixed(*middle, 4), " of the last ", losses_.size(), " steps (divergence_factor)");
    }
  }
  losses_.push_back(loss);
  if (losses_.size() > window_) losses_.pop_front();
  return "";
}

}  // namespace rqat::train
