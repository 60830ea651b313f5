// UTF-8: validation, replacement of invalid bytes, and the character classes the pre-tokenizers need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

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

/// Unicode NFC of valid UTF-8.
std::string to_nfc(std::string_view text);

/// General categories Nd, Nl, No.
bool is_numeric(uint32_t code_point);
/// White_Space property.
bool is_space(uint32_t code_point);
/// Alphabetic, Mark, Decimal_Number, Connector_Punctuation or Join_Control: \w of UTS #18.
bool is_word_character(uint32_t code_point);

}  // namespace rqat::text
