#include "rqat/base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fault_point.h"
#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/scratch.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPiece = size_t{8} << 20;
constexpr size_t kBuffer = size_t{1} << 20;

[[noreturn]] void fail(const fs::path& path, std::string_view what, int cause) {
  const bool full = cause == ENOSPC || cause == EDQUOT;
  throw IoError(
      cat(path.string(), ": ", what, ": ", std::strerror(cause), full ? cat(" (", free_space_text(path), ")") : ""));
}

[[noreturn]] void fail(const fs::path& path, std::string_view what) { fail(path, what, errno); }

/// Closes on every way out.
struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

/// `shown` is the name that a fault is told of.
int open_or_fail(const fs::path& path, int flags, const fs::path& shown, std::string_view what) {
  const int cause = (flags & O_CREAT) != 0 ? fault_point() : 0;
  if (cause != 0) fail(shown, what, cause);
  int descriptor;
  do descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) fail(shown, what);
  return descriptor;
}

int open_or_fail(const fs::path& path, int flags, std::string_view what) {
  return open_or_fail(path, flags, path, what);
}

struct stat status_for_reading(int descriptor, const fs::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(path, "cannot read the file");
  if (S_ISDIR(status.st_mode)) fail(path, "cannot read the file", EISDIR);
  return status;
}

/// Reads until `bytes` are there or the file ends; returns how many there were.
size_t read_some(int descriptor, char* data, size_t bytes, const fs::path& path) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::read(descriptor, data + done, bytes - done);
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "cannot read the file");
    done += static_cast<size_t>(got);
  }
  return done;
}

void write_all(int descriptor, const char* data, size_t bytes, const fs::path& path) {
  if (const int cause = fault_point()) {
    // A disk that fills up takes the first part.
    [[maybe_unused]] const ssize_t ignored = ::write(descriptor, data, bytes / 2);
    fail(path, "cannot write the file", cause);
  }
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor, data, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(path, "cannot write the file");
    data += put;
    bytes -= static_cast<size_t>(put);
  }
}

/// Lets the disk begin with what was written, so that the sync at the end finds little left. A hint: the sync counts.
void start_writing(int descriptor, size_t bytes) {
  if (bytes < kBuffer) return;
  const off_t end = ::lseek(descriptor, 0, SEEK_CUR);
  if (end >= static_cast<off_t>(bytes))
    ::sync_file_range(descriptor, end - static_cast<off_t>(bytes), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

void sync_path(const fs::path& path, int flags) {
  const Descriptor descriptor{open_or_fail(path, O_RDONLY | flags, "cannot open for syncing")};
  if (const int cause = fault_point()) fail(path, "cannot sync to disk", cause);
  // Some file systems have no fsync for folders and say EINVAL.
  if (::fsync(descriptor.value) != 0 && errno != EINVAL) fail(path, "cannot sync to disk");
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;  // the call that opens it tells the cause
  return fs::is_directory(path, ignored);
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void sync_tree(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_regular_file()) sync_path(entry.path(), 0);
    if (entry.is_directory()) sync_path(entry.path(), O_DIRECTORY);
  }
  sync_path(folder, O_DIRECTORY);
}

/// Puts the folder `fresh` in the place of `path`; an old folder ends up under `fresh` or `aside` and is removed.
void replace_folder(const fs::path& fresh, const fs::path& path, const fs::path& aside) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(fresh);
    return;
  }
  if (errno != ENOENT && errno != EINVAL && errno != ENOSYS) fail(path, "cannot replace the folder");
  // Either there is no old folder, or this file system cannot exchange two names.
  fs::remove_all(aside);
  const bool had_old = ::rename(path.c_str(), aside.c_str()) == 0;
  if (!had_old && errno != ENOENT) fail(path, "cannot move the old folder aside");
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    const int cause = errno;
    if (had_old) ::rename(aside.c_str(), path.c_str());
    fail(path, "cannot move the new folder into place", cause);
  }
  if (had_old) fs::remove_all(aside);
}

fs::path with_suffix(fs::path path, std::string_view suffix) {
  if (!path.has_filename()) path = path.parent_path();  // "run/" names the folder "run"
  path += suffix;
  return path;
}

/// The folder that write_folder() fills in this thread; it syncs all files there itself, once, before they can be seen.
thread_local const fs::path* unseen_folder = nullptr;

bool is_unseen(const fs::path& path) {
  if (unseen_folder == nullptr) return false;
  const auto [end, ignored] = std::mismatch(unseen_folder->begin(), unseen_folder->end(), path.begin(), path.end());
  return end == unseen_folder->end();
}

uint64_t file_hash(const fs::path& path) {
  const Descriptor descriptor{open_or_fail(path, O_RDONLY, "cannot open the file")};
  status_for_reading(descriptor.value, path);
  std::vector<char> piece(kPiece);
  uint64_t hash = 0;
  for (size_t got; (got = read_some(descriptor.value, piece.data(), piece.size(), path)) > 0;) {
    hash = stable_hash({piece.data(), got}, hash);
  }
  return hash;
}

}  // namespace

std::string read_file(const fs::path& path) {
  const Descriptor descriptor{open_or_fail(path, O_RDONLY, "cannot open the file")};
  const struct stat status = status_for_reading(descriptor.value, path);
  // One byte more than expected shows the end; files in /proc tell a size of 0.
  std::string content(static_cast<size_t>(status.st_size) + 1, '\0');
  size_t size = 0;
  for (;;) {
    size += read_some(descriptor.value, content.data() + size, content.size() - size, path);
    if (size < content.size()) break;
    content.resize(2 * content.size() + 4096);
  }
  content.resize(size);
  return content;
}

void write_file(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.append(content);
  file.commit();
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<int> counter{0};
  if (is_folder(path_)) fail(path_, "cannot write the file", EISDIR);
  temporary_ = with_suffix(path_, cat(".partial-", ::getpid(), "-", counter++));
  const fs::path folder = folder_of(path_);
  std::error_code ignored;  // the call that opens it tells the cause
  if (fs::status(folder, ignored).type() == fs::file_type::not_found) {
    throw IoError(cat(path_.string(), ": cannot create the file: the folder ", folder.string(),
                      " does not exist; make it first"));
  }
  note_unfinished(temporary_);
  try {
    descriptor_ = open_or_fail(temporary_, O_WRONLY | O_CREAT | O_EXCL, path_, "cannot create the file");
  } catch (...) {
    forget_unfinished(temporary_);
    throw;
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
  forget_unfinished(temporary_);
}

void AtomicFile::append(const void* data, size_t bytes) {
  if (descriptor_ < 0) throw std::logic_error(cat(path_.string(), ": append after commit"));
  if (buffer_.size() + bytes > kBuffer) flush();
  if (bytes >= kBuffer) {
    write_all(descriptor_, static_cast<const char*>(data), bytes, path_);
    start_writing(descriptor_, bytes);
  } else {
    buffer_.append(static_cast<const char*>(data), bytes);
  }
}

void AtomicFile::flush() {
  write_all(descriptor_, buffer_.data(), buffer_.size(), path_);
  buffer_.clear();
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw std::logic_error(cat(path_.string(), ": commit after commit"));
  flush();
  if (const int cause = fault_point()) fail(path_, "cannot sync to disk", cause);
  const bool unseen = is_unseen(path_);
  if (!unseen && ::fsync(descriptor_) != 0 && errno != EINVAL) fail(path_, "cannot sync to disk");
  if (const int cause = fault_point()) fail(path_, "cannot rename into place", cause);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "cannot rename into place");
  // The name is gone, so the destructor has nothing to remove.
  forget_unfinished(temporary_);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "cannot close the file");
  if (!unseen) sync_path(folder_of(path_), O_DIRECTORY);
}

void write_folder(const fs::path& path, const std::function<void(const fs::path&)>& fill) {
  const fs::path target = with_suffix(path, "");
  const fs::path fresh = with_suffix(target, ".partial");
  struct Remover {
    const fs::path& folder;
    ~Remover() {
      std::error_code ignored;
      fs::remove_all(folder, ignored);
      forget_unfinished(folder);
    }
  };
  struct Filling {
    explicit Filling(const fs::path& folder) : outer(std::exchange(unseen_folder, &folder)) {}
    ~Filling() { unseen_folder = outer; }
    const fs::path* outer;
  };
  try {
    if (fs::exists(target) && !fs::is_directory(target)) fail(target, "cannot write the folder", ENOTDIR);
    fs::remove_all(fresh);  // of a run that was killed
    const Remover remover{fresh};
    note_unfinished(fresh);
    fs::create_directories(fresh);
    {
      const Filling filling{fresh};
      fill(fresh);
    }
    sync_tree(fresh);
    if (const int cause = fault_point()) fail(target, "cannot rename into place", cause);
    replace_folder(fresh, target, with_suffix(target, ".old"));
    sync_path(folder_of(target), O_DIRECTORY);
  } catch (const fs::filesystem_error& error) {
    fail(error.path1().empty() ? target : error.path1(), "cannot write the folder", error.code().value());
  }
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor descriptor{open_or_fail(path, O_RDONLY, "cannot open the file")};
  size_ = static_cast<size_t>(status_for_reading(descriptor.value, path).st_size);
  if (size_ == 0) return;
  void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (address == MAP_FAILED) fail(path, "cannot map the file");
  data_ = static_cast<uint8_t*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

LineWriter::LineWriter(const fs::path& path, bool append) : path_(path) {
  descriptor_ = open_or_fail(path, O_RDWR | O_CREAT | O_APPEND | (append ? 0 : O_TRUNC), "cannot open the file");
  // A run that was killed may have left half a line; what follows must not be glued to it.
  char last = '\n';
  const off_t size = ::lseek(descriptor_, 0, SEEK_END);
  if (size > 0 && ::pread(descriptor_, &last, 1, size - 1) == 1 && last != '\n') line("");
}

LineWriter::~LineWriter() { ::close(descriptor_); }

void LineWriter::line(std::string_view text) {
  std::string content(text);
  content += '\n';
  write_all(descriptor_, content.data(), content.size(), path_);
}

int64_t folder_bytes(const fs::path& path) {
  try {
    if (fs::is_regular_file(path)) return static_cast<int64_t>(fs::file_size(path));
    int64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
    }
    return bytes;
  } catch (const fs::filesystem_error& error) {
    fail(path, "cannot read the folder", error.code().value());
  }
}

std::string content_hash(const fs::path& path) {
  if (!is_folder(path)) return hex64(file_hash(path));
  std::vector<fs::path> files;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    fail(path, "cannot read the folder", error.code().value());
  }
  std::sort(files.begin(), files.end());
  std::string table;
  for (const auto& file : files)
    table += cat(file.lexically_relative(path).string(), '\0', hex64(file_hash(file)), '\n');
  return hex64(stable_hash(table, 1));
}

}  // namespace rqat::base
