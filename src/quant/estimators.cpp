#include "rqat/quant/estimator.h"

namespace rqat::quant {

#define RQAT_ENTRY(name) base::Entry<Estimator> name##_entry();
#include "estimators.def"
#undef RQAT_ENTRY

const base::Registry<Estimator>& estimators() {
  static const base::Registry<Estimator> registry("estimators", {
#define RQAT_ENTRY(name) name##_entry(),
#include "estimators.def"
#undef RQAT_ENTRY
                                                                });
  return registry;
}

}  // namespace rqat::quant
