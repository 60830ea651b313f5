// Logging facade. spdlog stays behind src/base/log.cpp: its fmt clashes with the one in LibTorch's headers.
#pragma once

#include <filesystem>
#include <string_view>

namespace rqat::base {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Sets the lowest level that is shown on the terminal (stderr). Default: kInfo.
void set_log_level(LogLevel level);

/// Copies every message (all levels, with time stamps) into `path` as well, appending. Throws IoError.
void add_log_file(const std::filesystem::path& path);

void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warning(std::string_view message);
void log_error(std::string_view message);

}  // namespace rqat::base
