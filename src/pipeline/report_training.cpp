// Curves of training, and errors of layers, on the page.
#include <algorithm>
#include <cctype>
#include <set>

#include "report_charts.h"
#include "report_sections.h"
#include "report_svg.h"
#include "rqat/base/strings.h"

namespace rqat::pipeline::report {

namespace {

using base::cat;

/// How a metric is drawn.
struct Curve {
  std::string key, title, unit;
  double factor = 1;
  bool from_zero = true, smooth = true, dots = false;
};

const std::vector<Curve>& curves() {
  static const std::vector<Curve> kCurves{
      {"loss", "Loss", "", 1, false},
      {"reward", "Mean reward", ""},
      {"eval_accuracy", "Accuracy meanwhile", "%", 100, true, false, true},
      {"zero_std_groups", "Groups of equal rewards", "%", 100},
      {"mean_length", "Response tokens", ""},
      {"codes_flipped", "Codes flipped per step, of a million", "", 1e6},
      {"tokens_per_second", "Tokens per second", ""},
      {"grad_norm", "Gradient norm", ""},
      {"learning_rate", "Learning rate", "", 1, true, false},
  };
  return kCurves;
}

double mean_of(Series::const_iterator begin, Series::const_iterator end) {
  double sum = 0;
  for (auto at = begin; at != end; ++at) sum += at->second;
  return sum / static_cast<double>(end - begin);
}

double last_tenth(const Series& series) {
  const auto count = static_cast<std::ptrdiff_t>(std::max<size_t>(1, series.size() / 10));
  return mean_of(series.end() - count, series.end());
}

double first_tenth(const Series& series) {
  const auto count = static_cast<std::ptrdiff_t>(std::max<size_t>(1, series.size() / 10));
  return mean_of(series.begin(), series.begin() + count);
}

/// The band of one standard deviation about the reward, where both are logged at the same steps.
void add_band(LineChart& chart, const Series& rewards, const std::map<std::string, Series>& metrics) {
  const auto found = metrics.find("reward_std");
  if (found == metrics.end() || found->second.size() != rewards.size()) return;
  const Series mean = smoothed(rewards), spread = smoothed(found->second);
  for (size_t i = 0; i < mean.size(); ++i) {
    chart.band_low.emplace_back(mean[i].first, mean[i].second - spread[i].second);
    chart.band_high.emplace_back(mean[i].first, mean[i].second + spread[i].second);
  }
}

std::string curve_figure(const StageView& stage, const Curve& curve, const Series& series) {
  LineChart chart;
  chart.label = cat(curve.title, " of stage ", stage.id);
  chart.from_zero = curve.from_zero;
  chart.factor = curve.factor;
  chart.unit = curve.unit;
  const Series smooth = smoothed(series);
  if (!curve.smooth || smooth == series) {
    chart.lines.push_back({curve.title, series, "main", curve.dots, false});
  } else {
    chart.lines.push_back({curve.title, series, "raw", false, false});
    chart.lines.push_back({"smoothed", smooth, "main", false, false});
  }
  if (curve.key == "reward") add_band(chart, series, stage.metrics);
  const double value = curve.factor * (curve.smooth ? last_tenth(series) : series.back().second);
  return figure(curve.title, cat(short_number(value), curve.unit.empty() ? "" : " " + curve.unit), draw(chart));
}

std::string metrics_table(const StageView& stage) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, series] : stage.metrics) {
    const auto [low, high] = std::minmax_element(series.begin(), series.end(),
                                                 [](const auto& a, const auto& b) { return a.second < b.second; });
    rows.push_back({key, short_number(first_tenth(series)), short_number(last_tenth(series)), short_number(low->second),
                    short_number(high->second), short_number(static_cast<double>(series.size()))});
  }
  return table_html({"metric", "first tenth", "last tenth", "lowest", "highest", "rows"}, rows, "numbers");
}

/// "3.2 % of the", "5.9 of a million"
std::string small_share(double share) {
  return share >= 0.001 ? cat(short_number(100 * share), " % of the") : cat(short_number(1e6 * share), " of a million");
}

std::string training_of(const StageView& stage) {
  double steps = 0;
  for (const auto& [_, series] : stage.metrics) steps = std::max(steps, series.back().first + 1);
  std::string html = cat("<h3>", escape(stage.id), " <span class=\"remark\">", escape(stage.type), ", ",
                         short_number(steps), " steps");
  if (const auto seconds = number(stage.stamp, "seconds")) html += cat(", ", duration_text(*seconds));
  if (const auto share = number(child(stage.stamp, "summary"), "codes_changed"))
    html += cat(", ", small_share(*share), " codes changed");
  html += cat(stage.state == "done" ? "" : ", " + escape(stage.state), "</span></h3>\n<div class=\"curves\">\n");
  for (const Curve& curve : curves()) {
    const auto found = stage.metrics.find(curve.key);
    if (found == stage.metrics.end()) continue;
    const bool flat_zero =
        std::all_of(found->second.begin(), found->second.end(), [](const auto& point) { return point.second == 0; });
    if (!(flat_zero && curve.key == "codes_flipped")) html += curve_figure(stage, curve, found->second);
  }
  return html + "</div>\n" + details("All metrics in numbers", metrics_table(stage));
}

/// "model.layers.12.mlp.experts.3.up_proj" is block 12, kind "mlp.experts.*.up_proj".
struct LayerPlace {
  double block = 0;
  std::string kind;
};

bool is_number(const std::string& part) {
  return !part.empty() && part.size() < 7 &&
         std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

LayerPlace place_of(const std::string& layer) {
  std::vector<std::string> parts = base::split(layer, '.');
  const auto block = std::find_if(parts.begin(), parts.end(), is_number);
  if (block == parts.end() || block + 1 == parts.end()) return {0, layer};
  std::replace_if(block + 1, parts.end(), is_number, std::string("*"));
  return {std::stod(*block), base::join({block + 1, parts.end()}, ".")};
}

struct KindErrors {
  std::string kind;
  Series rtn, method, fallbacks;
};

constexpr size_t kMostKinds = 16;

std::vector<KindErrors> errors_by_kind(const json& layers) {
  std::vector<KindErrors> kinds;
  for (const json& layer : layers) {
    const auto error = number(layer, "error"), rtn = number(layer, "rtn_error");
    if (!error) continue;
    const LayerPlace place = place_of(text(layer, "layer"));
    auto found = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.kind == place.kind; });
    if (found == kinds.end()) found = kinds.insert(kinds.end(), {place.kind, {}, {}, {}});
    found->method.emplace_back(place.block, *error);
    if (rtn) found->rtn.emplace_back(place.block, *rtn);
    if (flag(layer, "fallback")) found->fallbacks.emplace_back(place.block, *error);
  }
  for (KindErrors& kind : kinds) {
    for (Series* series : {&kind.rtn, &kind.method, &kind.fallbacks}) std::sort(series->begin(), series->end());
  }
  return kinds;
}

std::string error_figure(const KindErrors& kind, const std::string& id, bool compared, double highest) {
  LineChart chart;
  chart.label = cat("Relative error of ", kind.kind, " by block");
  chart.x_label = "block";
  chart.width = 250;
  chart.height = 150;
  chart.highest = highest;
  if (compared) chart.lines.push_back({"RTN", kind.rtn, "other", true, false});
  chart.lines.push_back({id, kind.method, "main", true, false});
  if (!kind.fallbacks.empty()) chart.lines.push_back({"fell back to RTN", kind.fallbacks, "accent", false, true});
  return figure(kind.kind, "", draw(chart));
}

std::string layers_table(const json& layers) {
  std::vector<std::vector<std::string>> rows;
  for (const json& layer : layers) {
    const auto error = number(layer, "error"), rtn = number(layer, "rtn_error");
    rows.push_back({text(layer, "layer", "?"), error ? short_number(*error) : "-", rtn ? short_number(*rtn) : "-",
                    text(layer, "format"), cat(flag(layer, "fallback") ? "RTN taken: " : "", text(layer, "note"))});
  }
  return table_html({"layer", "error", "RTN error", "format", "note"}, rows, "numbers");
}

std::string quantization_of(const StageView& stage) {
  double error_sum = 0, rtn_sum = 0, highest = 0, count = 0, fallbacks = 0;
  bool compared = false;
  for (const json& layer : stage.quant_report) {
    const auto error = number(layer, "error"), rtn = number(layer, "rtn_error");
    if (!error) continue;
    ++count;
    fallbacks += flag(layer, "fallback") ? 1 : 0;
    error_sum += *error;
    rtn_sum += rtn.value_or(*error);
    highest = std::max({highest, *error, rtn.value_or(0)});
    compared = compared || (rtn && *rtn != *error);
  }
  if (count == 0) return "";
  std::string html =
      cat("<h3>", escape(stage.id), " <span class=\"remark\">", short_number(count), " layers, mean relative error ",
          short_number(error_sum / count), compared ? cat(", with RTN ", short_number(rtn_sum / count)) : "",
          fallbacks > 0 ? cat(", ", fallbacks, " fell back to RTN") : "", "</span></h3>\n");
  if (compared) {
    std::vector<std::pair<std::string, std::string>> entries{{"swatch other", "RTN (round to nearest)"},
                                                             {"swatch main", stage.id}};
    if (fallbacks > 0) entries.emplace_back("ring", "fell back to RTN");
    html += legend(entries);
  }
  html += "<div class=\"small\">\n";
  const std::vector<KindErrors> kinds = errors_by_kind(stage.quant_report);
  for (size_t i = 0; i < std::min(kMostKinds, kinds.size()); ++i)
    html += error_figure(kinds[i], stage.id, compared, highest);
  html += "</div>\n";
  if (kinds.size() > kMostKinds) {
    html +=
        cat("<p class=\"remark\">The first ", kMostKinds, " of ", kinds.size(), " kinds of layers are drawn.</p>\n");
  }
  return html + details("All layers in numbers", layers_table(stage.quant_report));
}

}  // namespace

std::string training_section(const RunView& run) {
  std::string html;
  for (const StageView& stage : run.stages) {
    if (!stage.metrics.empty()) html += training_of(stage);
  }
  return html.empty()
             ? ""
             : cat("<section>\n<h2>Training</h2>\n<p class=\"remark\">Faint: each step; strong: moving average. Beside "
                   "a title "
                   "stands the mean of the last tenth of the steps, for accuracy and learning rate the last value. "
                   "The band about a reward is the mean standard deviation within a group of answers to one "
                   "problem.</p>\n",
                   html, "</section>\n");
}

std::string quantization_section(const RunView& run) {
  std::string html;
  for (const StageView& stage : run.stages) {
    if (stage.quant_report.is_array()) html += quantization_of(stage);
  }
  if (html.empty()) return "";
  return cat(
      "<section>\n<h2>Quantization error by layer</h2>\n<p class=\"remark\">Squared error of a layer's output on "
      "calibration "
      "inputs (of its weight, where there are none) relative to the output itself, by block of the model.</p>\n",
      html, "</section>\n");
}

}  // namespace rqat::pipeline::report
