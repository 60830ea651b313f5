#include "data/readers/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <fstream>
#include <new>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::data {

namespace {

namespace fs = std::filesystem;
using base::cat;

constexpr size_t kChunk = size_t{1} << 16;

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const fs::path& path) : path_(path), in_(path, std::ios::binary) {
    if (fs::is_directory(path)) {
      throw base::IoError(
          cat(path.string(), ": is a folder; name its files, e.g. '", (path / "*.parquet").string(), "'"));
    }
    if (!in_) throw base::IoError(cat(path.string(), ": cannot be opened: ", std::strerror(errno)));
  }
  size_t read(char* into, size_t size) override {
    in_.read(into, static_cast<std::streamsize>(size));
    if (in_.bad()) throw base::IoError(cat(path_.string(), ": cannot be read: ", std::strerror(errno)));
    return static_cast<size_t>(in_.gcount());
  }

 private:
  fs::path path_;
  std::ifstream in_;
};

/// Packed bytes in pieces.
class PackedSource : public ByteSource {
 protected:
  explicit PackedSource(const fs::path& path) : path_(path), packed_(path), piece_(kChunk, '\0') {}
  size_t next_piece() { return packed_.read(piece_.data(), piece_.size()); }
  [[noreturn]] void damaged(const char* format, const char* why) const {
    throw base::IoError(cat(path_.string(), ": damaged ", format, " file: ", why, "; fetch it again"));
  }
  char* piece() { return piece_.data(); }

 private:
  fs::path path_;
  PlainSource packed_;
  std::string piece_;
};

class GzipSource : public PackedSource {
 public:
  explicit GzipSource(const fs::path& path) : PackedSource(path) {
    constexpr int kGzipWindow = 15 + 16;  // zlib's sign for the gzip format
    if (inflateInit2(&z_, kGzipWindow) != Z_OK) throw std::bad_alloc();
  }
  ~GzipSource() override { inflateEnd(&z_); }

  size_t read(char* into, size_t size) override {
    z_.next_out = reinterpret_cast<Bytef*>(into);
    z_.avail_out = static_cast<uInt>(size);
    while (z_.avail_out == size) {
      if (z_.avail_in == 0) {
        z_.next_in = reinterpret_cast<Bytef*>(piece());
        z_.avail_in = static_cast<uInt>(next_piece());
        if (z_.avail_in == 0) {
          if (inside_) damaged("gzip", "it ends too early");
          return 0;
        }
      }
      if (!inside_) inflateReset(&z_);  // one member may follow another
      const int state = inflate(&z_, Z_NO_FLUSH);
      if (state != Z_OK && state != Z_STREAM_END) damaged("gzip", z_.msg != nullptr ? z_.msg : "it is not gzip inside");
      inside_ = state != Z_STREAM_END;
    }
    return size - z_.avail_out;
  }

 private:
  z_stream z_ = {};
  bool inside_ = false;
};

class ZstdSource : public PackedSource {
 public:
  explicit ZstdSource(const fs::path& path) : PackedSource(path), context_(ZSTD_createDCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
  }
  ~ZstdSource() override { ZSTD_freeDCtx(context_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  size_t read(char* into, size_t size) override {
    ZSTD_outBuffer out{into, size, 0};
    while (out.pos == 0) {
      // With all input taken, the context may still hold output.
      const bool ended = in_.pos == in_.size && !refill();
      const size_t state = ZSTD_decompressStream(context_, &out, &in_);
      if (ZSTD_isError(state)) damaged("zstd", ZSTD_getErrorName(state));
      if (ended && out.pos == 0) {
        if (rest_ != 0) damaged("zstd", "it ends too early");
        return 0;
      }
      rest_ = state;
    }
    return out.pos;
  }

 private:
  bool refill() {
    in_ = {piece(), next_piece(), 0};
    return in_.size > 0;
  }
  ZSTD_DCtx* context_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  size_t rest_ = 0;  ///< 0 = between two frames
};

}  // namespace

std::unique_ptr<ByteSource> open_bytes(const fs::path& path) {
  char magic[4] = {};
  const size_t size = PlainSource(path).read(magic, sizeof(magic));
  if (size >= 2 && std::memcmp(magic, "\x1f\x8b", 2) == 0) return std::make_unique<GzipSource>(path);
  if (size >= 4 && std::memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0) return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

CharacterReader::CharacterReader(fs::path path)
    : path_(std::move(path)), source_(open_bytes(path_)), buffer_(kChunk, '\0') {
  if (fill() && end_ >= 3 && buffer_.compare(0, 3, "\xef\xbb\xbf") == 0) begin_ = 3;
}

bool CharacterReader::fill() {
  begin_ = 0;
  end_ = source_->read(buffer_.data(), buffer_.size());
  return end_ > 0;
}

bool CharacterReader::get_line(std::string& line) {
  line.clear();
  if (peek() < 0) return false;
  while (begin_ < end_ || fill()) {
    const char* const from = buffer_.data() + begin_;
    const auto* const found = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const size_t count = found == nullptr ? end_ - begin_ : static_cast<size_t>(found - from);
    if (line.size() + count > kLargestRecord) {
      throw base::IoError(cat(path_.string(), ":", line_, ": the line is longer than ",
                              base::format_bytes(kLargestRecord), "; is this a file of another kind?"));
    }
    line.append(from, count);
    begin_ += count;
    if (found == nullptr) continue;
    ++begin_;
    ++line_;
    break;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

}  // namespace rqat::data
