#include "rqat/quant/quantizer.h"

namespace rqat::quant {

#define RQAT_ENTRY(name) base::Entry<Quantizer> name##_entry();
#include "quantizers.def"
#undef RQAT_ENTRY

const base::Registry<Quantizer>& quantizers() {
  static const base::Registry<Quantizer> registry("quantizers", {
#define RQAT_ENTRY(name) name##_entry(),
#include "quantizers.def"
#undef RQAT_ENTRY
                                                                });
  return registry;
}

}  // namespace rqat::quant
