// Scripts by which shells complete rqat's command lines.
#pragma once

#include <string>

namespace rqat::cli {

/// For bash: commands, options, values out of fixed sets, names of parts; files elsewhere.
std::string bash_completion();

/// The same for zsh, with the help of commands and options.
std::string zsh_completion();

}  // namespace rqat::cli
