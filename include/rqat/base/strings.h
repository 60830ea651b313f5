// Small text helpers that the standard library lacks in C++20 with GCC 12 (no std::format there).
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace rqat::base {

/// Concatenates anything that can be streamed: cat("rows ", 3, " of ", 5).
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string trim(std::string_view text);
bool starts_with(std::string_view text, std::string_view prefix);
std::string replace_all(std::string text, std::string_view from, std::string_view to);

/// printf("%.*f") and friends: format_fixed(3.14159, 2) == "3.14".
std::string format_fixed(double value, int digits);
/// Shortest decimal text that reads back as the same double ("0.1", "1e-05", "3.0" keeps its point).
std::string format_double(double value);
/// 1536 -> "1.5 KiB".
std::string format_bytes(int64_t bytes);
/// 3725 -> "1:02:05", 65 -> "1:05".
std::string format_duration(double seconds);

/// Levenshtein distance, for suggestions.
int edit_distance(std::string_view a, std::string_view b);
/// The candidate nearest to `word`, or "" when none is near enough to suggest.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// XXH64-like stable 64-bit hash of bytes (FNV-1a based); the value never changes between releases.
uint64_t stable_hash(std::string_view bytes, uint64_t seed = 0);
std::string hex64(uint64_t value);

}  // namespace rqat::base
