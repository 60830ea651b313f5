#include "rqat/base/folders.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
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

constexpr const char* kPartial = ".partial";

/// The process in the name of a temporary file, `NAME.partial-PROCESS-COUNT`; nothing for every other name.
std::optional<pid_t> owner_of(std::string_view name) {
  const size_t mark = name.rfind(cat(kPartial, "-"));
  if (mark == std::string_view::npos || mark == 0) return std::nullopt;
  const std::string_view numbers = name.substr(mark + std::strlen(kPartial) + 1);
  const size_t dash = numbers.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::string_view process = numbers.substr(0, dash), count = numbers.substr(dash + 1);
  pid_t owner = 0;
  const auto parsed = std::from_chars(process.data(), process.data() + process.size(), owner);
  const bool is_number = parsed.ec == std::errc() && parsed.ptr == process.data() + process.size() && owner > 0;
  if (!is_number || count.empty() || count.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  return owner;
}

bool is_running(pid_t process) { return ::kill(process, 0) == 0 || errno != ESRCH; }

/// Whether an entry was left behind by a run that was killed: a folder set aside, or a temporary file without its
/// owner.
bool is_leftover(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (entry.is_directory()) return name.ends_with(kPartial) || name.ends_with(kRemoved);
  const std::optional<pid_t> owner = owner_of(name);
  return owner && !is_running(*owner);
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

namespace {

template <class Keep>
void remove_leftovers_but(const fs::path& folder, const Keep& keep) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_leftover(entry) && !keep(entry)) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) {
    if (!error) fs::remove_all(path, error);
  }
  if (error) fail(folder, "cannot remove what an earlier run left", error.value());
}

}  // namespace

void remove_leftovers(const fs::path& folder) {
  remove_leftovers_but(folder, [](const fs::directory_entry&) { return false; });
}

void remove_leftovers(const fs::path& folder, const std::vector<std::string>& names) {
  remove_leftovers_but(folder, [&](const fs::directory_entry& entry) {
    return entry.is_directory() && std::find(names.begin(), names.end(), entry.path().stem().string()) == names.end();
  });
}

bool holds_nothing(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) return true;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!is_leftover(entry)) return false;
  }
  return !error;
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  const auto resolved = [](const fs::path& given) {
    const fs::path whole = fs::weakly_canonical(fs::absolute(given));
    return whole.has_filename() ? whole : whole.parent_path();
  };
  const fs::path whole = resolved(path), parent = resolved(folder);
  return std::mismatch(parent.begin(), parent.end(), whole.begin(), whole.end()).first == parent.end();
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
