#include "adamw.h"

#include <limits>

namespace rqat::optim {

base::Entry<Optimizer, std::vector<Slot>> adamw_entry() {
  return base::make_entry<base::Entry<Optimizer, std::vector<Slot>>, AdamWConfig>(
      "adamw", "Adam with decoupled weight decay on fp32 masters", "1711.05101",
      [](const AdamWConfig& config, std::vector<Slot> slots) {
        return std::make_unique<AdamW>(config, std::move(slots), std::numeric_limits<int64_t>::max());
      });
}

}  // namespace rqat::optim
