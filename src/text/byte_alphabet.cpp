#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr uint32_t kShiftedBytes = 68;  // bytes that are not printable in Latin-1

bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, 256 + kShiftedBytes> bytes{};

  Alphabet() {
    bytes.fill(-1);
    uint32_t next_shifted = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t code_point = stands_for_itself(byte) ? byte : next_shifted++;
      append_utf8(characters[byte], code_point);
      bytes[code_point] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::string& byte_character(uint8_t byte) { return alphabet().characters[byte]; }

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  const Alphabet& table = alphabet();
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    if (!step.valid || step.code_point >= table.bytes.size() || table.bytes[step.code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(table.bytes[step.code_point]));
    i += step.length;
  }
  return out;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_character(static_cast<uint8_t>(c));
  return out;
}

}  // namespace rqat::text
