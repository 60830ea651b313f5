#include "rqat/objective/objective.h"

namespace rqat::objective {

#define RQAT_ENTRY(name) base::Entry<Objective> name##_entry();
#include "objectives.def"
#undef RQAT_ENTRY

const base::Registry<Objective>& objectives() {
  static const base::Registry<Objective> registry("objectives", {
#define RQAT_ENTRY(name) name##_entry(),
#include "objectives.def"
#undef RQAT_ENTRY
                                                                });
  return registry;
}

}  // namespace rqat::objective
