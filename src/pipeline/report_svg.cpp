#include "report_svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "rqat/base/strings.h"

namespace rqat::pipeline::report {

namespace {

using base::cat;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Bytes of the UTF-8 character at `at`, 0 when it is broken.
size_t character_size(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xC2 && first < 0xE0   ? 2
                      : first >= 0xE0 && first < 0xF0 ? 3
                      : first >= 0xF0 && first < 0xF5 ? 4
                                                      : 0;
  if (size == 0 || at + size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return 0;
  }
  return size;
}

std::string coordinate(double value) {
  std::string text = base::format_fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

std::string general(double value, int digits) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.*g", digits, value);
  return buffer;
}

std::string grouped(double value) {
  const std::string digits = base::format_fixed(std::abs(value), 0);
  std::string text = value < 0 ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace

std::string escape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t size = character_size(text, i);
    const char c = text[i];
    if (size > 1) {
      result += text.substr(i, size);
    } else if (size == 0 || (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      result += c == '\r' ? std::string_view() : kReplacement;
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '"') {
      result += "&quot;";
    } else if (c == '\'') {
      result += "&#39;";
    } else {
      result += c;
    }
    i += std::max<size_t>(size, 1);
  }
  return result;
}

Ticks nice_ticks(double low, double high, int count) {
  if (!(high > low)) {
    const double width = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= low == 0 ? 0 : width;
    high += width;
  }
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  Ticks ticks;
  ticks.step = 10 * power;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw * (1 - 1e-9)) {
      ticks.step = factor * power;
      break;
    }
  }
  const double first = std::floor(low / ticks.step + 1e-9), last = std::ceil(high / ticks.step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.values.push_back(i * ticks.step);
  ticks.low = ticks.values.front();
  ticks.high = ticks.values.back();
  return ticks;
}

std::string tick_text(double value, double step) {
  if (value == 0) return "0";
  if (step < 1e-3) return general(value, 3);
  if (step >= 1e6) return cat(general(value / 1e6, 4), "M");
  if (step >= 1e3) return cat(general(value / 1e3, 4), "k");
  int digits = 0;
  for (double s = step; digits < 4 && std::abs(s - std::round(s)) > 1e-6; s *= 10) ++digits;
  return digits == 0 ? grouped(value) : base::format_fixed(value, digits);
}

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size >= 100) return grouped(value);
  if (size == 0) return "0";
  return general(value, 3);
}

double text_width(std::string_view text, double font_size) {
  double units = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
    units += std::string_view(" .,:;'|!ijlt()[]").find(c) != std::string_view::npos ? 0.34
             : c >= 'A' && c <= 'Z'                                                 ? 0.7
             : c == 'm' || c == 'w'                                                 ? 0.85
                                                                                    : 0.6;
  }
  return units * font_size;
}

std::string fitted(const std::string& text, double limit) {
  if (text_width(text) <= limit) return text;
  std::vector<std::string> characters;
  for (size_t i = 0; i < text.size(); i += characters.back().size()) {
    characters.push_back(text.substr(i, std::max<size_t>(1, character_size(text, i))));
  }
  std::string head, tail;
  double used = text_width("\u2026");
  for (size_t front = 0, back = characters.size(); front < back;) {
    const bool at_front = front <= characters.size() - back;
    const std::string& next = at_front ? characters[front] : characters[back - 1];
    used += text_width(next);
    if (used > limit) break;
    at_front ? ++front : --back;
    at_front ? head += next : tail.insert(0, next);
  }
  return head + "\u2026" + tail;
}

Svg::Svg(double width, double height, std::string_view label)
    : body_(cat("<svg viewBox=\"0 0 ", coordinate(width), " ", coordinate(height), "\" role=\"img\" aria-label=\"",
                escape(label), "\">\n")) {}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view style) {
  body_ += cat("<line x1=\"", coordinate(x1), "\" y1=\"", coordinate(y1), "\" x2=\"", coordinate(x2), "\" y2=\"",
               coordinate(y2), "\" class=\"", style, "\"/>\n");
}

void Svg::rect(double x, double y, double width, double height, std::string_view style, std::string_view title) {
  body_ += cat("<rect x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" width=\"", coordinate(std::max(0.0, width)),
               "\" height=\"", coordinate(std::max(0.0, height)), "\" class=\"", style, "\">");
  if (!title.empty()) body_ += cat("<title>", escape(title), "</title>");
  body_ += "</rect>\n";
}

void Svg::circle(double x, double y, double radius, std::string_view style, std::string_view title) {
  body_ += cat("<circle cx=\"", coordinate(x), "\" cy=\"", coordinate(y), "\" r=\"", coordinate(radius), "\" class=\"",
               style, "\">");
  if (!title.empty()) body_ += cat("<title>", escape(title), "</title>");
  body_ += "</circle>\n";
}

void Svg::text(double x, double y, std::string_view text, std::string_view anchor, std::string_view style,
               std::string_view title) {
  body_ += cat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor, "\"");
  if (!style.empty()) body_ += cat(" class=\"", style, "\"");
  body_ += cat(">", escape(text));
  if (!title.empty()) body_ += cat("<title>", escape(title), "</title>");
  body_ += "</text>\n";
}

void Svg::points(std::string_view element, const std::vector<std::pair<double, double>>& points,
                 std::string_view style) {
  body_ += cat("<", element, " class=\"", style, "\" points=\"");
  for (const auto& [x, y] : points) body_ += cat(coordinate(x), ",", coordinate(y), " ");
  body_ += "\"/>\n";
}

void Svg::polyline(const std::vector<std::pair<double, double>>& points, std::string_view style) {
  this->points("polyline", points, style);
}

void Svg::polygon(const std::vector<std::pair<double, double>>& points, std::string_view style) {
  this->points("polygon", points, style);
}

std::string Svg::finish() const { return body_ + "</svg>\n"; }

}  // namespace rqat::pipeline::report
