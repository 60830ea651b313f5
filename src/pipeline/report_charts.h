// The charts of the report, as SVG text without a caption; colors come from the page's style.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report_data.h"

namespace rqat::pipeline::report {

/// Horizontal bars of shares from zero, with intervals; the numbers stand in a column on the right.
struct BarChart {
  struct Bar {
    std::string label;
    double value = 0, low = 0, high = 0;
    bool quantized = false;
    std::string hover;
  };
  std::string label;  ///< for screen readers
  std::vector<Bar> bars;
  double highest = 1;               ///< end of the axis, so that panels side by side share it
  std::optional<double> reference;  ///< dotted line, e.g. the teacher's accuracy
  std::string reference_label;
};
std::string draw(const BarChart& chart);

/// Differences of shares with intervals about a zero line; filled where the interval excludes zero.
struct IntervalChart {
  struct Row {
    std::string from, to;
    double mean = 0, low = 0, high = 0;
    bool shown = false;
  };
  std::string label;
  std::vector<Row> rows;
  double lowest = 0, highest = 0;  ///< the axis covers these and zero
};
std::string draw(const IntervalChart& chart);

/// Numbers over steps (or block numbers). Long series are thinned for drawing.
struct LineChart {
  struct Line {
    std::string name;  ///< in hover texts
    Series points;
    std::string style;   ///< class: "main", "raw", "other"
    bool dots = false;   ///< mark the points
    bool marks = false;  ///< points only, no line
  };
  std::string label, x_label = "step";
  std::vector<Line> lines;
  Series band_low, band_high;  ///< same steps; empty = no band
  bool from_zero = true;
  double factor = 1;              ///< applied to all values: 100 for per cent
  std::string unit;               ///< after tick labels: "%"
  std::optional<double> highest;  ///< shared axis end, before `factor`
  double width = 360, height = 190;
};
std::string draw(const LineChart& chart);

/// Centered moving average over a fifteenth of the series, over what there is of it near the ends; a short series comes
/// back as it is.
Series smoothed(const Series& series);

}  // namespace rqat::pipeline::report
