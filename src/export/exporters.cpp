#include "rqat/export/exporter.h"

namespace rqat::exporting {

#define RQAT_ENTRY(name) base::Entry<Exporter> name##_entry();
#include "exporters.def"
#undef RQAT_ENTRY

const base::Registry<Exporter>& exporters() {
  static const base::Registry<Exporter> registry("exporters", {
#define RQAT_ENTRY(name) name##_entry(),
#include "exporters.def"
#undef RQAT_ENTRY
                                                              });
  return registry;
}

}  // namespace rqat::exporting
