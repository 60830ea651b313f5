// Commands of the rqat program. A command is a settings struct like any other part: its fields are its options, so
// help, defaults, ranges and suggestions come from the same place as those of recipes.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/registry.h"

namespace rqat::cli {

/// What --help shows beside the options.
struct Usage {
  std::string about;                     ///< what the command does, as a paragraph or two
  std::vector<std::string> examples;     ///< command lines
  std::vector<std::string> positionals;  ///< keys of options that may be given without their name, in order
};

/// Made from its settings, then run once. Throws base::Error of any kind.
class Command {
 public:
  virtual ~Command() = default;
  virtual Usage usage() const = 0;
  virtual void run() = 0;
};

/// Registry kind "commands"; entries are listed in src/cli/commands.def.
const base::Registry<Command>& commands();

}  // namespace rqat::cli
