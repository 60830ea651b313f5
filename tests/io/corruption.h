// Damaged copies of a valid file: each must give IoError or a value, never a crash or another exception.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <string>

#include "io/temporary_folder.h"
#include "rqat/base/error.h"
#include "rqat/base/progress.h"
#include "rqat/base/rng.h"
#include "rqat/base/strings.h"

namespace rqat::io {

/// Plain write: these files are scratch, and a flush to disk for each would take minutes (some file systems flush a
/// file that is written over, so it is removed first).
inline void write_plain(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The message of the IoError that `action` throws, "" when it throws none.
inline std::string io_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::IoError& error) {
    return error.what();
  }
  return "";
}

#define RQAT_EXPECT_IO_ERROR(action, part)                                                \
  do {                                                                                    \
    const std::string message_ = rqat::io::io_error_of([&] { action; });                  \
    EXPECT_NE(message_.find(part), std::string::npos) << "message: '" << message_ << "'"; \
  } while (false)

struct CorruptionCounts {
  int errors = 0, successes = 0;
};

inline void try_damaged(const std::string& bytes, const std::filesystem::path& path, const std::string& label,
                        const std::function<void(const std::filesystem::path&)>& use, CorruptionCounts& counts) {
  write_plain(path, bytes);
  try {
    use(path);
    ++counts.successes;
  } catch (const base::IoError& error) {
    ++counts.errors;
    EXPECT_FALSE(std::string(error.what()).empty());
  } catch (const std::exception& error) {
    ADD_FAILURE() << label << ": not an IoError: " << error.what();
  }
}

/// Runs `use` on `bytes` cut at up to `cuts` places and with 1 to 4 bytes changed, `flips` times. The changes are drawn
/// from the first `head` bytes, where the structure is. Memory must not grow beyond a bound far above the file's size.
inline CorruptionCounts run_corruptions(const std::string& bytes, int cuts, int flips, size_t head,
                                        const std::function<void(const std::filesystem::path&)>& use) {
  const TemporaryFolder folder;
  const auto path = folder / "damaged";
  const int64_t before = base::peak_resident_bytes();
  CorruptionCounts counts;
  for (int i = 0; i < cuts; ++i) {
    const size_t length = bytes.size() * static_cast<size_t>(i) / static_cast<size_t>(cuts);
    try_damaged(bytes.substr(0, length), path, base::cat("cut at ", length), use, counts);
  }
  EXPECT_EQ(counts.successes, 0) << "a truncated file was accepted";
  base::Rng rng(20260101, "corruption");
  for (int i = 0; i < flips; ++i) {
    std::string damaged = bytes;
    const int64_t changes = rng.integer(1, 4);
    for (int64_t change = 0; change < changes; ++change) {
      const auto at = static_cast<size_t>(rng.integer(0, static_cast<int64_t>(std::min(head, bytes.size())) - 1));
      damaged[at] =
          static_cast<char>(rng.integer(0, 1) == 0 ? damaged[at] ^ (1 << rng.integer(0, 7)) : rng.integer(0, 255));
    }
    try_damaged(damaged, path, base::cat("change ", i), use, counts);
  }
  EXPECT_LT(base::peak_resident_bytes() - before, int64_t{256} << 20) << "memory grew far beyond the file's size";
  return counts;
}

}  // namespace rqat::io
