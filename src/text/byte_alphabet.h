// The alphabet of byte-level BPE: every byte has a printable character, so that vocabularies are plain text ("Ġ" is a
// space).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rqat::text {

/// Character of a byte, as UTF-8: printable Latin-1 stands for itself, the other 68 bytes are U+0100, U+0101, ... in
/// order.
const std::string& byte_character(uint8_t byte);
/// "Ġhi" -> " hi"; nothing when a character is outside the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view text);
/// " hi" -> "Ġhi".
std::string bytes_to_alphabet(std::string_view bytes);

}  // namespace rqat::text
