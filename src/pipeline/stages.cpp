#include "rqat/pipeline/stage.h"

namespace rqat::pipeline {

using StageRegistryEntry = base::Entry<Stage>;

#define RQAT_ENTRY(name) StageRegistryEntry name##_entry();
#include "stages.def"
#undef RQAT_ENTRY

const base::Registry<Stage>& stages() {
  static const base::Registry<Stage> registry("stages", {
#define RQAT_ENTRY(name) name##_entry(),
#include "stages.def"
#undef RQAT_ENTRY
                                                        });
  return registry;
}

}  // namespace rqat::pipeline
