#include "rqat/ptq/initializer.h"

namespace rqat::ptq {

#define RQAT_ENTRY(name) base::Entry<Initializer> name##_entry();
#include "initializers.def"
#undef RQAT_ENTRY

const base::Registry<Initializer>& initializers() {
  static const base::Registry<Initializer> registry("initializers", {
#define RQAT_ENTRY(name) name##_entry(),
#include "initializers.def"
#undef RQAT_ENTRY
                                                                    });
  return registry;
}

}  // namespace rqat::ptq
