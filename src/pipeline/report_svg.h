// Small pieces that the charts are drawn with: escaping, axis ticks, SVG elements.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rqat::pipeline::report {

/// Text as HTML content or attribute value; control characters and broken UTF-8 become U+FFFD.
std::string escape(std::string_view text);

/// Round numbers that cover a range: step is 1, 2, 2.5 or 5 times a power of ten.
struct Ticks {
  double low = 0, high = 1, step = 1;
  std::vector<double> values;
};
/// Ticks from at or below `low` to at or above `high`, about `count` intervals. A range without width gets one.
Ticks nice_ticks(double low, double high, int count);

/// A tick with just the digits that its step needs: "0.25", "40", "12k", "2e-05".
std::string tick_text(double value, double step);

/// Three significant digits: "0.0123", "4.57", "813", "12,346".
std::string short_number(double value);

/// Estimated width in pixels of text set in the charts' font.
double text_width(std::string_view text, double font_size = 12);
/// Text wider than `limit` with an ellipsis in place of its middle: names often differ at their ends.
std::string fitted(const std::string& text, double limit);

/// Collects the elements of one drawing; classes are styled by the page. `title` is shown on hover.
class Svg {
 public:
  /// `label` names the drawing for screen readers.
  Svg(double width, double height, std::string_view label);
  void line(double x1, double y1, double x2, double y2, std::string_view style);
  void rect(double x, double y, double width, double height, std::string_view style, std::string_view title = "");
  void circle(double x, double y, double radius, std::string_view style, std::string_view title = "");
  /// `anchor` is start, middle or end; (x, y) is on the baseline.
  void text(double x, double y, std::string_view text, std::string_view anchor, std::string_view style = "",
            std::string_view title = "");
  void polyline(const std::vector<std::pair<double, double>>& points, std::string_view style);
  void polygon(const std::vector<std::pair<double, double>>& points, std::string_view style);
  std::string finish() const;

 private:
  void points(std::string_view element, const std::vector<std::pair<double, double>>& points, std::string_view style);
  std::string body_;
};

}  // namespace rqat::pipeline::report
