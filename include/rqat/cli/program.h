// The program as two functions, for tools/rqat.cpp.
#pragma once

#include <exception>
#include <string>
#include <vector>

namespace rqat::cli {

/// Runs `rqat ARGUMENTS...` and returns 0. Throws UsageError or ConfigError when the command line or a recipe is wrong,
/// other errors when the work fails.
int run_program(const std::vector<std::string>& arguments);

/// Tells the error on stderr and returns the exit code: 2 for usage and configuration, 1 for everything else.
int explain_failure(const std::exception& error);

}  // namespace rqat::cli
