#include "rqat/rl/rollout.h"

namespace rqat::rl {

#define RQAT_ENTRY(name) base::Entry<Reward> name##_entry();
#include "rewards.def"
#undef RQAT_ENTRY

const base::Registry<Reward>& rewards() {
  static const base::Registry<Reward> registry("rewards", {
#define RQAT_ENTRY(name) name##_entry(),
#include "rewards.def"
#undef RQAT_ENTRY
                                                          });
  return registry;
}

}  // namespace rqat::rl
