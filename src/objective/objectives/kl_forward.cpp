#include "divergence.h"

namespace rqat::objective {

base::Entry<Objective> kl_forward_entry() {
  return base::make_entry<base::Entry<Objective>, DistillationConfig>(
      "kl_forward", "KL(teacher || student) per response token: mass-covering distillation", "1503.02531",
      [](const DistillationConfig& config) {
        return std::make_unique<Divergence>(0.0, config.temperature, "kl_forward");
      });
}

}  // namespace rqat::objective
