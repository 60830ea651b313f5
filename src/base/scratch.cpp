#include "rqat/base/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPurposes[] = {"scratch", "import", "import_config", "export_config", "probe", "rank"};

/// Read by a signal handler: no memory of its own, complete before `owner` is set.
struct Slot {
  std::atomic<pid_t> owner{0};  ///< 0 = free; a forked child leaves what its parent noted
  std::array<char, 4096> path{};
};
std::array<Slot, 64> slots;
std::mutex slots_mutex;

void remove_tree(int parent, const char* name, int depth) noexcept {
  constexpr int kDeepest = 32, kPasses = 8;  // others may still be writing
  if (::unlinkat(parent, name, 0) == 0 || depth > kDeepest) return;
  const int folder = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) return;
  for (int pass = 0; pass < kPasses; ++pass) {
    alignas(dirent64) char buffer[2048];
    ::lseek(folder, 0, SEEK_SET);
    for (ssize_t bytes; (bytes = ::getdents64(folder, buffer, sizeof buffer)) > 0;) {
      for (ssize_t at = 0; at < bytes;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
        at += entry->d_reclen;
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
          remove_tree(folder, entry->d_name, depth + 1);
      }
    }
    if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno != ENOTEMPTY) break;
  }
  ::close(folder);
}

void on_signal(int signal) {
  remove_unfinished();
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // takes effect when the handler returns
}

std::optional<int64_t> take_number(std::string_view& text) {
  int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(parsed.ptr - text.data()));
  return number;
}

/// The process in the name of a scratch folder, rqat_PURPOSE_PROCESS_COUNT; nothing for every other name.
std::optional<pid_t> owner_of(const std::string& name) {
  for (const std::string_view purpose : kPurposes) {
    const std::string lead = cat("rqat_", purpose, "_");
    if (!starts_with(name, lead)) continue;
    std::string_view rest = std::string_view(name).substr(lead.size());
    const auto owner = take_number(rest);
    if (!owner || *owner == 0 || !rest.starts_with('_')) continue;
    rest.remove_prefix(1);
    if (take_number(rest) && rest.empty()) return static_cast<pid_t>(*owner);
  }
  return std::nullopt;
}

bool is_mine(const fs::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::getuid();
}

int lock_folder(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  return -1;
}

fs::path temporary_folder() {
  std::error_code error;
  fs::path folder = fs::temp_directory_path(error);
  if (!error) return folder;
  const char* given = std::getenv("TMPDIR");
  throw IoError(cat("the folder for temporary files", given == nullptr ? "" : cat(", TMPDIR=", given, ","),
                    " cannot be used: ", error.message(), "; let TMPDIR name a folder that can be written"));
}

}  // namespace

void note_unfinished(const fs::path& path) {
  const std::string text = fs::absolute(path).string();
  const std::lock_guard lock(slots_mutex);
  for (Slot& slot : slots) {
    if (slot.owner != 0 || text.size() >= slot.path.size()) continue;
    std::memcpy(slot.path.data(), text.c_str(), text.size() + 1);
    slot.owner = ::getpid();
    return;
  }
}

void forget_unfinished(const fs::path& path) {
  const std::string text = fs::absolute(path).string();
  const std::lock_guard lock(slots_mutex);
  for (Slot& slot : slots) {
    if (slot.owner != 0 && text == slot.path.data()) slot.owner = 0;
  }
}

void remove_unfinished() noexcept {
  for (const Slot& slot : slots) {
    if (slot.owner == ::getpid()) remove_tree(AT_FDCWD, slot.path.data(), 0);
  }
}

void remove_unfinished_at_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&action.sa_mask, signal);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

void remove_dead_scratch(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const fs::path& path = entry->path();
    const std::optional<pid_t> owner = owner_of(path.filename().string());
    if (!owner || *owner == ::getpid() || ::kill(*owner, 0) == 0 || errno != ESRCH || !is_mine(path)) continue;
    const int lock = lock_folder(path);
    if (lock < 0) continue;
    std::error_code kept;
    fs::remove_all(path, kept);
    ::close(lock);
  }
}

ScratchFolder::ScratchFolder(std::string_view purpose) {
  static std::atomic<int> count{0};
  const fs::path parent = temporary_folder();
  static std::once_flag swept;
  std::call_once(swept, remove_dead_scratch, parent);
  do {
    path_ = parent / cat("rqat_", purpose, "_", ::getpid(), "_", count++);
    note_unfinished(path_);
    if (::mkdir(path_.c_str(), 0777) == 0) break;
    const int cause = errno;
    forget_unfinished(path_);
    if (cause != EEXIST) throw IoError(cat(path_.string(), ": cannot make the folder: ", std::strerror(cause)));
  } while (true);
  lock_ = lock_folder(path_);
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  forget_unfinished(path_);
  if (lock_ >= 0) ::close(lock_);
}

}  // namespace rqat::base
