#include "divergence.h"

namespace rqat::objective {

base::Entry<Objective> kl_reverse_entry() {
  return base::make_entry<base::Entry<Objective>, DistillationConfig>(
      "kl_reverse", "KL(student || teacher) per response token: mode-seeking distillation", "1503.02531",
      [](const DistillationConfig& config) {
        return std::make_unique<Divergence>(1.0, config.temperature, "kl_reverse");
      });
}

}  // namespace rqat::objective
