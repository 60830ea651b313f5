// Files that are either whole or absent: written under a temporary name, fsynced, renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace rqat::base {

/// Whole content of a file. Throws IoError (missing, directory, unreadable).
std::string read_file(const std::filesystem::path& path);

/// Writes `content` atomically. The folder must exist. Throws IoError that names path and cause (no space, no
/// permission).
void write_file(const std::filesystem::path& path, std::string_view content);

/// Atomic writer for large files: append() as often as needed, then commit(). Without commit the temporary file is
/// removed by the destructor and the old file stays.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void append(const void* data, size_t bytes);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void commit();

 private:
  void flush();
  std::filesystem::path path_, temporary_;
  std::string buffer_;  ///< small pieces, written together
  int descriptor_ = -1;
};

/// A folder that appears whole: `fill` writes into a temporary sibling, which then replaces `path`. When `fill` throws,
/// nothing of it stays. Missing parents are made. Throws IoError.
void write_folder(const std::filesystem::path& path, const std::function<void(const std::filesystem::path&)>& fill);

/// Read-only memory map of a file; data() is nullptr for an empty one.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);  ///< throws IoError
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// Appends one line to a file (metrics.jsonl); opened once, flushed per line. Half a line left by a killed run is ended
/// first. Throws IoError.
class LineWriter {
 public:
  explicit LineWriter(const std::filesystem::path& path, bool append = true);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;
  void line(std::string_view text);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Size of all regular files below `path`.
int64_t folder_bytes(const std::filesystem::path& path);

/// Stable hash of a file's content, or of a folder's (names and contents). Throws IoError.
std::string content_hash(const std::filesystem::path& path);

}  // namespace rqat::base
