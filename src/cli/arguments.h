// From argv to settings structs, and from settings structs to a help page.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/fields.h"
#include "rqat/cli/command.h"

namespace rqat::cli {

/// Options that every command has.
struct CommonOptions : base::Config {
  bool quiet = false, verbose = false;
  int64_t threads = 0;
  void fields(base::FieldVisitor& v) override;
};

/// Fills `options` and `common` from the arguments behind the command's name. Field num_bits is option --num-bits;
/// true|false fields are flags; lists may be repeated or comma-separated. Throws UsageError that lists every fault.
void read_arguments(const std::string& command, const Usage& usage, const std::vector<std::string>& arguments,
                    base::Config& options, CommonOptions& common);

/// `rqat COMMAND --help`.
std::string command_help(const std::string& command, const std::string& summary, const Usage& usage,
                         base::Config& options);

/// `rqat --help`.
std::string program_help();

}  // namespace rqat::cli
