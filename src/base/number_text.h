// Numbers as they stand in YAML.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace rqat::base {

/// The number that all of `text` spells ("12", "-1e-4", ".5", "inf", "-.inf"); nothing for "nan" and for other text.
std::optional<double> parse_double(const std::string& text);
/// The integer that all of `text` spells, also as "1e4" or "2.0"; nothing when it is no integer of 64 bits.
std::optional<int64_t> parse_integer(const std::string& text);
bool is_number_text(const std::string& text);

}  // namespace rqat::base
