#include <ATen/ATen.h>

#include <cmath>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/ops/optimizer.h"
#include "rqat/optim/optimizer.h"

namespace rqat::optim {

ClipResult clip_by_norm(const std::vector<Slot>& slots, double max_norm) {
  double sum = 0;
  for (const Slot& slot : slots) {
    if (!slot.grad->defined()) continue;
    const double squares = ops::sum_of_squares(*slot.grad);
    if (!std::isfinite(squares)) {
      throw base::DataError(base::cat("the gradient of ", slot.name,
                                      " is not finite; lower the learning rate, or look at the data of this step"));
    }
    sum += squares;
  }
  ClipResult result;
  result.norm = std::sqrt(sum);
  if (max_norm > 0 && result.norm > max_norm) result.scale = max_norm / result.norm;
  return result;
}

}  // namespace rqat::optim
