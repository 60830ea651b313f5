#include "rqat/cli/program.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <CLI/Error.hpp>
#include <cstdlib>
#include <iostream>
#include <new>

#include "arguments.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"
#include "support.h"

namespace rqat::cli {

namespace {

using base::cat;

bool asks_for_help(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") return false;
    if (argument == "--help" || argument == "-h") return true;
  }
  return false;
}

void apply_common_options(const CommonOptions& options) {
  if (options.quiet && options.verbose) throw base::UsageError("--quiet and --verbose exclude each other");
  base::set_log_level(options.quiet     ? base::LogLevel::kWarning
                      : options.verbose ? base::LogLevel::kDebug
                                        : base::LogLevel::kInfo);
  base::Progress::set_enabled(!options.quiet);
  if (options.threads > 0) {
    at::set_num_threads(static_cast<int>(options.threads));
  } else if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    at::set_num_threads(usable_cores());
  }
  // Activations are allocated and freed every step: kept in the heap, they are not faulted in page by page each time.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 2000000000);
  // Set before the first parallel region: threads made later inherit it.
  at::globalContext().setFlushDenormal(true);
}

int finish_output() {
  std::cout.flush();
  if (!std::cout) throw base::IoError("writing to standard output failed");
  return 0;
}

int run_command(const std::string& name, const std::vector<std::string>& arguments) {
  const base::EntryInfo* info = commands().find_info(name);
  if (info == nullptr) throw base::UsageError(cat(commands().unknown_text(name), "; `rqat --help` explains them"));
  base::Component component(name);
  component.config = info->make_config();
  const Usage usage = commands().make(component)->usage();
  if (asks_for_help(arguments)) {
    std::cout << command_help(name, info->help, usage, *component.config);
    return finish_output();
  }
  CommonOptions common;
  read_arguments(name, usage, arguments, *component.config, common);
  apply_common_options(common);
  base::remove_unfinished_at_signals();
  commands().make(component)->run();
  return finish_output();
}

/// Common options may stand before the command: moves them behind it.
std::vector<std::string> command_first(std::vector<std::string> arguments) {
  size_t leading = 0;
  while (leading < arguments.size() && base::starts_with(arguments[leading], "-")) {
    leading += arguments[leading] == "--threads" ? 2 : 1;
  }
  if (leading < arguments.size()) {
    std::rotate(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(leading),
                arguments.begin() + static_cast<std::ptrdiff_t>(leading) + 1);
  }
  return arguments;
}

}  // namespace

int run_program(const std::vector<std::string>& given) {
  if (given.empty()) throw base::UsageError(cat("a command is missing\n\n", program_help()));
  if (given[0] == "--version" || given[0] == "version") {
    std::cout << version_text() << "\n";
    return finish_output();
  }
  if (given[0] == "--help" || given[0] == "-h" || (given[0] == "help" && given.size() == 1)) {
    std::cout << program_help();
    return finish_output();
  }
  if (given[0] == "help") return run_command(given[1], {"--help"});
  const std::vector<std::string> arguments = command_first(given);
  if (base::starts_with(arguments[0], "-")) {
    throw base::UsageError(cat("a command is missing before or after '", arguments[0], "'; `rqat --help` lists them"));
  }
  return run_command(arguments[0], {arguments.begin() + 1, arguments.end()});
}

int explain_failure(const std::exception& error) {
  std::cout.flush();
  if (const auto* stopped = dynamic_cast<const base::Interrupted*>(&error)) {
    std::cerr << "rqat: " << stopped->what() << "\n";
    return 128 + stopped->signal();
  }
  std::string message = error.what();
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error))
    message = torch_error->what_without_backtrace();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    message = "out of memory; smaller max_tokens_per_micro_batch, batch_size or max_slots need less";
  }
  const bool command_line = dynamic_cast<const CLI::Error*>(&error) != nullptr;
  if (command_line) message += "; `rqat COMMAND --help` lists the options";
  std::cerr << "rqat: error: " << message << "\n";
  const bool usage = command_line || dynamic_cast<const base::UsageError*>(&error) != nullptr ||
                     dynamic_cast<const base::ConfigError*>(&error) != nullptr;
  return usage ? 2 : 1;
}

}  // namespace rqat::cli
