#include "text/gunzip.h"

#include <zlib.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::text {
namespace {

constexpr size_t kLargest = size_t{1} << 30;
constexpr int kGzipWindow = 15 + 16;  // zlib's sign for the gzip format

struct Stream {
  z_stream z = {};
  Stream() {
    if (inflateInit2(&z, kGzipWindow) != Z_OK) throw std::bad_alloc();
  }
  ~Stream() { inflateEnd(&z); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

}  // namespace

std::string gunzip(std::string_view bytes, const std::string& where) {
  Stream stream;
  std::string out;
  char buffer[1 << 16];
  stream.z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.z.avail_in = static_cast<uInt>(bytes.size());
  for (int state = Z_OK; state != Z_STREAM_END || stream.z.avail_in > 0;) {
    if (state == Z_STREAM_END) inflateReset(&stream.z);
    stream.z.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.z.avail_out = sizeof(buffer);
    state = inflate(&stream.z, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END) {
      throw base::IoError(
          base::cat(where, ": damaged gzip file: ", stream.z.msg != nullptr ? stream.z.msg : "it ends too early"));
    }
    out.append(buffer, sizeof(buffer) - stream.z.avail_out);
    if (out.size() > kLargest)
      throw base::IoError(base::cat(where, ": unpacks to more than ", base::format_bytes(kLargest)));
  }
  return out;
}

}  // namespace rqat::text
