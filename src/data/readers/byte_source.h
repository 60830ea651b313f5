// Bytes of a file, unpacked where it is compressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace rqat::data {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `size` bytes; 0 at the end. Throws IoError: unreadable, or a damaged or truncated compressed file.
  virtual size_t read(char* into, size_t size) = 0;
};

/// Opens a file. gzip and Zstandard are told by their first bytes, not by the name. Throws IoError.
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path);

/// A larger record is taken for a file of another kind.
inline constexpr size_t kLargestRecord = size_t{1} << 30;

/// Characters of a file, with the number of the line they are in.
class CharacterReader {
 public:
  explicit CharacterReader(std::filesystem::path path);
  /// The next character, -1 at the end. A byte order mark at the beginning is passed over.
  int get() {
    if (begin_ == end_ && !fill()) return -1;
    const char c = buffer_[begin_++];
    line_ += c == '\n' ? 1 : 0;
    return static_cast<unsigned char>(c);
  }
  int peek() { return begin_ == end_ && !fill() ? -1 : static_cast<unsigned char>(buffer_[begin_]); }
  /// The rest of the line without its end ("\n" or "\r\n"); false at the end of the file. Throws IoError on a line
  /// beyond kLargestRecord.
  bool get_line(std::string& line);
  /// From 1.
  int64_t line() const { return line_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  bool fill();
  std::filesystem::path path_;
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  size_t begin_ = 0, end_ = 0;
  int64_t line_ = 1;
};

}  // namespace rqat::data
