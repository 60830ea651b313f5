#include "rqat/cli/command.h"

namespace rqat::cli {

using CommandEntry = base::Entry<Command>;

#define RQAT_ENTRY(name) CommandEntry name##_entry();
#include "commands.def"
#undef RQAT_ENTRY

const base::Registry<Command>& commands() {
  static const base::Registry<Command> registry("commands", {
#define RQAT_ENTRY(name) name##_entry(),
#include "commands.def"
#undef RQAT_ENTRY
                                                            });
  return registry;
}

}  // namespace rqat::cli
