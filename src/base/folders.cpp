#include "rqat/base/folders.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <regex>
#include <vector>

#include "fault_point.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace fs = std::filesystem;
namespace {

constexpr const char* kRemoved = ".removed";

[[noreturn]] void fail(const fs::path& path, std::string_view what, int cause) {
  throw IoError(cat(path.string(), ": ", what, ": ", std::strerror(cause),
                    cause == ENOSPC || cause == EDQUOT ? cat(" (", free_space_text(path), ")") : ""));
}

/// Whether the process that owned a temporary file is still there.
bool is_running(const std::string& process) {
  return ::kill(static_cast<pid_t>(std::stol(process)), 0) == 0 || errno != ESRCH;
}

}  // namespace

void make_folders(const fs::path& path) {
  if (const int cause = fault_point()) fail(path, "cannot make the folder", cause);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail(path, "cannot make the folder", error.value());
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return;
  fs::path removed = path.has_filename() ? path : path.parent_path();
  removed += kRemoved;
  fs::remove_all(removed, error);
  if (::rename(path.c_str(), removed.c_str()) != 0) fail(path, "cannot remove the folder", errno);
  fs::remove_all(removed, error);
  if (error) fail(removed, "cannot remove the folder", error.value());
}

void remove_leftovers(const fs::path& folder) {
  static const std::regex file_pattern(R"(.+\.partial-(\d{1,9})-\d+)"), folder_pattern(R"(.+\.(partial|removed))");
  std::error_code error;
  if (!fs::is_directory(folder, error)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    std::smatch found;
    if (entry.is_directory() ? std::regex_match(name, folder_pattern)
                             : std::regex_match(name, found, file_pattern) && !is_running(found[1])) {
      leftovers.push_back(entry.path());
    }
  }
  for (const fs::path& path : leftovers) {
    if (!error) fs::remove_all(path, error);
  }
  if (error) fail(folder, "cannot remove what an earlier run left", error.value());
}

void sync_file(const fs::path& path) {
  const int cause = fault_point();
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "cannot open for syncing", errno);
  const bool done = ::fsync(descriptor) == 0 || errno == EINVAL;
  const int failure = cause != 0 ? cause : errno;
  ::close(descriptor);
  if (!done || cause != 0) fail(path, "cannot sync to disk", failure);
}

std::string free_space_text(const fs::path& path) {
  std::error_code ignored;
  fs::path folder = fs::absolute(path, ignored);
  while (!fs::is_directory(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) return cat("free space of ", folder.string(), " unknown");
  const int64_t bytes = static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
  return cat(format_bytes(bytes), " free in ", folder.string());
}

}  // namespace rqat::base
