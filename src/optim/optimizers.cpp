#include "rqat/optim/optimizer.h"

namespace rqat::optim {

using OptimizerEntry = base::Entry<Optimizer, std::vector<Slot>>;

#define RQAT_ENTRY(name) OptimizerEntry name##_entry();
#include "optimizers.def"
#undef RQAT_ENTRY

const base::Registry<Optimizer, std::vector<Slot>>& optimizers() {
  static const base::Registry<Optimizer, std::vector<Slot>> registry("optimizers", {
#define RQAT_ENTRY(name) name##_entry(),
#include "optimizers.def"
#undef RQAT_ENTRY
                                                                                   });
  return registry;
}

}  // namespace rqat::optim
