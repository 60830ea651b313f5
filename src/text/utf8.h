// UTF-8: validation, replacement of invalid bytes, and the character classes the pre-tokenizers need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rqat::text {

struct Utf8Step {
  uint32_t code_point = 0;
  size_t length = 0;       ///< bytes consumed, >= 1
  bool valid = false;      ///< false: `length` bytes are a maximal ill-formed part
  bool truncated = false;  ///< invalid only because the text ends too early
};

/// Reads one character at `position` (< text.size()). An ill-formed sequence is consumed by "maximal subparts", as the
/// Unicode standard recommends and Rust's from_utf8_lossy does.
Utf8Step utf8_step(std::string_view text, size_t position);

bool is_valid_utf8(std::string_view text);
bool is_ascii(std::string_view text);
/// Every ill-formed part becomes one U+FFFD.
std::string replace_invalid_utf8(std::string_view text);
/// Length of the longest suffix that may still become a character when more bytes follow (0 to 3).
size_t incomplete_suffix(std::string_view text);
void append_utf8(std::string& out, uint32_t code_point);

/// Unicode normal forms of valid UTF-8.
std::string to_nfc(std::string_view text);
std::string to_nfd(std::string_view text);
std::string to_nfkc(std::string_view text);
std::string to_nfkd(std::string_view text);
/// Each character by its own full lower case mapping, without regard to its neighbors (no final sigma).
std::string to_lower(std::string_view text);
/// str.upper() and str.lower() of Python.
std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
/// Extended grapheme clusters (UAX #29), in order.
std::vector<std::string_view> grapheme_clusters(std::string_view text);

// Character classes as the `tokenizers` library has them (unicode_tables.h).
bool is_numeric(uint32_t code_point);          ///< general category N
bool is_mark(uint32_t code_point);             ///< M
bool is_nonspacing_mark(uint32_t code_point);  ///< Mn
bool is_punctuation(uint32_t code_point);      ///< P, or ASCII punctuation and symbols
bool is_other(uint32_t code_point);            ///< Cc, Cf, Cn, Co
/// \w of UTS #18: Alphabetic, Mark, Decimal_Number, Connector_Punctuation or Join_Control.
bool is_word_character(uint32_t code_point);
bool is_letter(uint32_t code_point);  ///< L
bool is_letter_or_digit(uint32_t code_point);
bool is_digit(uint32_t code_point);  ///< has a value as a digit
bool is_cased(uint32_t code_point);
/// Number of the script; kAnyScript for spaces and for characters younger than Unicode 9. Hiragana, Katakana and U+30FC
/// are Han.
constexpr int kAnyScript = -1;
int splitting_script(uint32_t code_point);
/// White_Space property.
bool is_space(uint32_t code_point);

}  // namespace rqat::text
