#include "number_text.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace rqat::base {
namespace {

/// from_chars takes no plus sign.
const char* begin_of(const std::string& text) {
  return text.data() + (text.size() > 1 && text[0] == '+' && text[1] != '-' ? 1 : 0);
}

}  // namespace

std::optional<double> parse_double(const std::string& text) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (text == ".inf" || text == "+.inf" || text == "inf") return kInfinity;
  if (text == "-.inf" || text == "-inf") return -kInfinity;
  if (text.find_first_not_of("0123456789+-.eE") != std::string::npos) return {};
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin_of(text), end, value);
  if (stop != end || error == std::errc::invalid_argument) return {};
  // Too large or too small for a double: the C function tells which.
  return error == std::errc{} ? value : std::strtod(text.c_str(), nullptr);
}

std::optional<int64_t> parse_integer(const std::string& text) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin_of(text), end, value);
  if (stop == end && error == std::errc{}) return value;
  const std::optional<double> number = parse_double(text);
  constexpr double kExact = 9007199254740992;  // 2^53
  if (!number || std::abs(*number) > kExact || *number != std::trunc(*number)) return {};
  return static_cast<int64_t>(*number);
}

bool is_number_text(const std::string& text) { return parse_double(text).has_value(); }

}  // namespace rqat::base
