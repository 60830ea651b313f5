#include "rqat/base/fields.h"

#include <cmath>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

std::string number_text(double value) {
  return value == std::trunc(value) && std::abs(value) < 1e15 ? format_fixed(value, 0) : format_double(value);
}

}  // namespace

bool Range::contains(double value) const {
  return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
}

std::string Range::text() const {
  const bool has_low = std::isfinite(low), has_high = std::isfinite(high);
  if (has_low && has_high && !low_open && !high_open) return cat(number_text(low), "..", number_text(high));
  std::string text;
  if (has_low) text = cat(low_open ? "> " : ">= ", number_text(low));
  if (has_high) text += cat(has_low ? " and " : "", high_open ? "< " : "<= ", number_text(high));
  return text;
}

void Faults::add(const Location& where, const std::string& message) {
  const std::string place = where.text();
  lines_.push_back(place.empty() ? message : cat(place, ": ", message));
}

void Faults::raise(const std::string& title) const {
  if (empty()) return;
  throw ConfigError(cat(title, title.empty() ? "" : "\n", join(lines_, "\n")));
}

}  // namespace rqat::base
