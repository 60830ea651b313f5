#include "families/family_entry.h"

namespace rqat::model {

#define RQAT_ENTRY(name) FamilyEntry name##_entry();
#include "families.def"
#undef RQAT_ENTRY

const base::Registry<Family>& families() {
  static const base::Registry<Family> registry("families", {
#define RQAT_ENTRY(name) name##_entry(),
#include "families.def"
#undef RQAT_ENTRY
                                                           });
  return registry;
}

}  // namespace rqat::model
