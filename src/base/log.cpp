#include "rqat/base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdio>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "terminal.h"

namespace rqat::base {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

struct Logging {
  std::shared_ptr<spdlog::sinks::sink> terminal = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  std::shared_ptr<spdlog::sinks::dist_sink_mt> files = std::make_shared<spdlog::sinks::dist_sink_mt>();
  std::set<std::string> file_paths;
  spdlog::logger logger{"rqat", {terminal, files}};

  Logging() {
    logger.set_level(spdlog::level::debug);
    logger.flush_on(spdlog::level::debug);
    terminal->set_pattern("%H:%M:%S %^%l%$ %v");
    terminal->set_level(spdlog::level::info);
  }
};

// Never destroyed: destructors of other static objects may still log.
Logging& logging() {
  static Logging* const instance = new Logging;
  return *instance;
}

void write(LogLevel level, std::string_view message) {
  Logging& log = logging();
  const std::lock_guard lock(terminal_mutex());
  if (terminal_bar_shown() && log.terminal->should_log(spdlog_level(level))) {
    std::fputs("\r\033[K", stderr);
    terminal_bar_shown() = false;
  }
  log.logger.log(spdlog_level(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace

std::mutex& terminal_mutex() {
  static std::mutex* const mutex = new std::mutex;
  return *mutex;
}

bool& terminal_bar_shown() {
  static bool shown = false;
  return shown;
}

void set_log_level(LogLevel level) { logging().terminal->set_level(spdlog_level(level)); }

void add_log_file(const std::filesystem::path& path) {
  Logging& log = logging();
  const std::lock_guard lock(terminal_mutex());
  const std::string name = std::filesystem::absolute(path).lexically_normal().string();
  if (log.file_paths.contains(name)) return;
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string(), false);
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    log.files->add_sink(sink);
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError(cat(path.string(), ": cannot open the log file: ", error.what()));
  }
  log.file_paths.insert(name);
}

void log_debug(std::string_view message) { write(LogLevel::kDebug, message); }
void log_info(std::string_view message) { write(LogLevel::kInfo, message); }
void log_warning(std::string_view message) { write(LogLevel::kWarning, message); }
void log_error(std::string_view message) { write(LogLevel::kError, message); }

}  // namespace rqat::base
