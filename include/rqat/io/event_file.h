// TensorBoard event files: records of TFRecord framing (length, masked CRC-32C, data, masked CRC-32C) that hold
// protocol buffers of type tensorflow.Event.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

namespace rqat::io {

/// CRC-32C (Castagnoli, RFC 3720) of `bytes`.
uint32_t crc32c(std::string_view bytes);

/// Writes one file events.out.tfevents.* into a folder; readers take all files of a folder together. A row is in the
/// file when scalars() returns.
class EventWriter {
 public:
  /// Makes the folder. `first_step` > 0 tells readers to drop what earlier files hold from that step on: the run went
  /// back to it. Throws IoError.
  explicit EventWriter(const std::filesystem::path& folder, int64_t first_step = 0);

  /// One point per name. `wall_time`: seconds since 1970, 0 = now. Throws IoError.
  void scalars(int64_t step, const std::map<std::string, double>& values, double wall_time = 0);

 private:
  void record(const std::string& event);
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace rqat::io
