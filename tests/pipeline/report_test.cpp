#include "rqat/pipeline/report.h"

#include <gtest/gtest.h>

#include <set>

#include "pipeline/report_charts.h"
#include "pipeline/report_data.h"
#include "pipeline/report_sections.h"
#include "pipeline/report_svg.h"
#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "synthetic_run.h"

namespace rqat::pipeline {
namespace {

using nlohmann::json;

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "rqat_report_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
  }
  ~ReportTest() override { std::filesystem::remove_all(folder_); }

  std::string page() {
    write_report(folder_);
    return base::read_file(folder_ / "report.html");
  }

  std::filesystem::path folder_;
};

/// The first fault of nesting or quoting in an HTML page, or "".
std::string markup_fault(const std::string& html) {
  const std::set<std::string> kVoid{"meta", "wbr", "br"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "'<' without '>'";
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag.starts_with("!DOCTYPE")) continue;
    if (tag.find('<') != std::string::npos) return "'<' inside <" + tag;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "odd quotes in <" + tag;
    const bool closing = tag.starts_with("/");
    const std::string name = tag.substr(closing, tag.find_first_of(" /", closing) - closing);
    if (closing) {
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes <" + (open.empty() ? "" : open.back()) + ">";
      open.pop_back();
    } else if (!tag.ends_with("/") && kVoid.count(name) == 0) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

TEST(MarkupFault, FindsWhatIsWrong) {
  EXPECT_EQ(markup_fault("<p>a<br>b <i class=\"x\">c</i><path d=\"\"/></p>"), "");
  EXPECT_NE(markup_fault("<p><b>a</p></b>"), "");
  EXPECT_NE(markup_fault("<p>"), "");
  EXPECT_NE(markup_fault("<p class=\"x>a</p>"), "");
}

TEST(ResultsTable, AlignsColumnsAndLeavesOutEmptyOnes) {
  const json results = json::parse(R"({"teacher": "", "task_sets": ["heldout"], "models": [
    {"model": "gptq", "size_bytes": 1048576, "bits_per_weight": 2.25, "tasks": {"heldout": {
      "overall": {"successes": 30, "total": 120, "value": 0.25, "low": 0.181, "high": 0.334},
      "by_family": {"sums": {"value": 0.5}, "words": {"value": 0}},
      "mean_response_tokens": 31.25, "cut_share": 0.0125}}},
    {"model": "a_longer_name", "size_bytes": 524288, "bits_per_weight": 2, "tasks": {"heldout": {
      "overall": {"value": 1, "total": 120, "low": 0.97, "high": 1}, "by_family": {"sums": {"value": 1}},
      "mean_response_tokens": 7, "cut_share": 0}}}],
    "differences": [{"from": "gptq", "to": "kd", "task_set": "heldout", "mean": 0.3125,
      "low": 0.25, "high": 0.373, "shown": true},
                    {"from": "kd", "to": "rl", "task_set": "heldout", "mean": -0.01,
      "low": -0.05, "high": 0.03, "shown": false}]})");
  EXPECT_EQ(results_table(results),
            "heldout (120 problems): accuracy in % [95 % interval]\n"
            "                                                                               bits/\n"
            "  model           sums  words    all % [low, high]  tokens  cut %       size  weight\n"
            "  -------------  -----  -----  -------------------  ------  -----  ---------  ------\n"
            "  gptq            50.0    0.0    25.0 [18.1, 33.4]    31.2    1.2    1.0 MiB    2.25\n"
            "  a_longer_name  100.0      -  100.0 [97.0, 100.0]     7.0    0.0  512.0 KiB    2.00\n"
            "\n"
            "paired differences on the same problems: percentage points [95 % interval]\n"
            "              task set  points   [low, high]\n"
            "  ----------  --------  ------  ------------  ---------\n"
            "  gptq -> kd   heldout   +31.2  [25.0, 37.3]      shown\n"
            "  kd -> rl     heldout    -1.0   [-5.0, 3.0]  not shown\n");
}

TEST(ResultsTable, ToleratesAnything) {
  EXPECT_EQ(results_table(json::object()), "");
  EXPECT_EQ(results_table(nullptr), "");
  EXPECT_TRUE(contains(
      results_table(json::parse(R"({"models": [{"model": "m", "tasks": {"set": {"overall": null}}}, 7]})")), "m"));
}

TEST_F(ReportTest, FinishedRunIsOneWellFormedPage) {
  SyntheticRun run(folder_);
  run.write_finished();
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  for (const char* external : {"http://", "https://", "<script", "<link", "@import", "url(", "src="}) {
    EXPECT_FALSE(contains(html, external)) << external;
  }
  EXPECT_TRUE(contains(html, "prefers-color-scheme: dark"));
  EXPECT_FALSE(contains(html, "not finished"));
  for (const char* bad : {" nan", "\"nan", ">nan", " inf", "\"inf", ">inf", ">-0<", "\"-0\""})
    EXPECT_FALSE(contains(html, bad)) << bad;
}

TEST_F(ReportTest, ShowsTheNumbersOfTheRun) {
  SyntheticRun run(folder_);
  run.write_finished();
  const std::string html = page();
  for (const char* part : {"<h1>quickstart</h1>",
                           "2026-11-22",
                           "seed 42",  // header
                           "Accuracy on heldout",
                           "Accuracy on familiar",
                           "480 problems",  // pictures
                           "<td>84.6 [",
                           "<td>7.3100</td>",
                           "<td>6,553</td>",
                           "<td>2.28</td>",
                           "KL to teacher",  // table
                           "+31.3",
                           "gptq \u2192 kd",
                           "a difference is shown",  // differences
                           "Loss",
                           "Mean reward",
                           "mean standard deviation",
                           "Codes flipped per step, of a million",  // curves
                           "mlp.down_proj",
                           "1 fell back to RTN",
                           "model.layers.29.mlp.up_proj",  // layers
                           "all 106,168,320 equal",
                           "17 of 106,168,320 DIFFER",
                           "vllm serve &#39;runs",  // export
                           "hf_dequantized: plain weights at full size",
                           "5 min 11 s",
                           "<td>scores</td><td>evaluate</td><td>done</td><td>5 min 0 s",
                           "initializer: gptq",
                           "{id: scores, type: evaluate, models"}) {  // stages, settings, recipe
    EXPECT_TRUE(contains(html, part)) << part;
  }
  EXPECT_TRUE(contains(html, "best quantized model, <b>rl</b>, solves 70.4 % at 2.28 bits per weight")) << "sentence";
}

TEST_F(ReportTest, RunUnderWayShowsWhatThereIs) {
  SyntheticRun run(folder_);
  run.write_under_way();
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_TRUE(contains(html, "This run is not finished"));
  EXPECT_TRUE(contains(html, "This evaluation is not complete"));
  EXPECT_TRUE(contains(html, "<td>84.6 ["));
  EXPECT_TRUE(contains(html, "KL to teacher")) << "from the recipe";
  EXPECT_LT(html.find("Accuracy on heldout"), html.find("Accuracy on familiar")) << "the recipe's order";
  EXPECT_TRUE(contains(html, "<td>kd</td><td>train</td><td>under way</td>"));
  EXPECT_TRUE(contains(html, "<td>rl</td><td>reinforce</td><td>waiting</td>"));
  EXPECT_FALSE(contains(html, "Could not be read")) << "half a line at the end of metrics is no fault";
}

TEST_F(ReportTest, EscapesEverything) {
  SyntheticRun run(folder_);
  const std::string evil = "<script>alert('x')</script>&\"";
  run.write_run_file(true, evil);
  run.write("recipe.yaml", "name: '<b>'\nstages:\n  - {id: kd, type: '<u>'}\n");
  run.write_stamp("teacher", evil, evil, 1);
  json results = run.results();
  results["models"][0]["model"] = evil;
  results["differences"][0]["from"] = evil;
  run.write("scores/results.json", results.dump());
  run.write("scores/stage.json", R"({"finished": true})");
  run.write(
      "rtn/quant_report.json",
      json::array({{{"layer", evil}, {"error", 0.1}, {"rtn_error", 0.2}, {"format", evil}, {"note", evil}}}).dump());
  run.write("files/export_report.json", json({{evil, {{"total_bytes", 3}, {"serve_command", evil}}}}).dump());
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_FALSE(contains(html, "<script"));
  EXPECT_FALSE(contains(html, "<u>"));
  EXPECT_TRUE(contains(html, "<title>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot; - rqat</title>"));
}

TEST_F(ReportTest, BrokenFilesAreNamedOnThePage) {
  SyntheticRun run(folder_);
  run.write_finished();
  run.write("gptq/quant_report.json", "[{\"layer\": ");
  run.write("kd/metrics.jsonl",
            "{\"step\": 0, \"loss\": 1}\nnonsense\n{\"step\": 2, \"loss\": null}\n[1]\n{\"step\": 3, \"loss\": 0.5}\n");
  run.write("recipe.yaml", "a: [");
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_EQ(count(html, "Could not be read"), 4u);
  EXPECT_TRUE(contains(html, "metrics.jsonl:2: is no JSON object"));
  EXPECT_TRUE(contains(html, "quant_report.json:1"));
}

TEST_F(ReportTest, FilesOfUnexpectedShapeDoNotStopIt) {
  SyntheticRun run(folder_);
  run.write_run_file(false);
  for (const char* file : {"stage.json", "results.json", "quant_report.json", "export_report.json"}) {
    for (const char* content :
         {"[]", "{}", "7", "\"text\"", "null", "[1, [2], null]", R"({"models": 3, "differences": {}, "a": 1})",
          R"({"models": [null, {"tasks": []}], "task_sets": [1, "x"]})"}) {
      run.write(std::string("teacher/") + file, content);
      EXPECT_EQ(markup_fault(page()), "") << file << " " << content;
    }
  }
}

TEST_F(ReportTest, LayersAreGroupedByKind) {
  SyntheticRun run(folder_);
  run.write_run_file(true);
  json layers = json::array();
  for (int block = 0; block < 3; ++block) {
    for (int expert = 0; expert < 4; ++expert) {
      const std::string name =
          "model.layers." + std::to_string(block) + ".mlp.experts." + std::to_string(expert) + ".up_proj";
      layers.push_back({{"layer", name}, {"error", 0.1}, {"rtn_error", 0.2}});
    }
  }
  run.write("gptq/quant_report.json", layers.dump());
  EXPECT_EQ(count(page(), "<b>mlp.experts.*.up_proj</b>"), 1u);
  EXPECT_FALSE(contains(page(), "are drawn"));
  for (int i = 0; i < 20; ++i) layers.push_back({{"layer", "odd" + std::to_string(i)}, {"error", 0.1}});
  run.write("gptq/quant_report.json", layers.dump());
  EXPECT_TRUE(contains(page(), "The first 16 of 21 kinds of layers are drawn."));
}

TEST_F(ReportTest, OnlyRunJson) {
  SyntheticRun(folder_).write_run_file(false);
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_FALSE(contains(html, "<h2>Results</h2>"));
  EXPECT_TRUE(contains(html, "<h2>Stages</h2>"));
}

TEST_F(ReportTest, NoRunIsAnError) {
  try {
    write_report(folder_);
    FAIL() << "nothing was thrown";
  } catch (const base::IoError& error) {
    EXPECT_TRUE(contains(error.what(), "holds no run.json")) << error.what();
  }
}

TEST_F(ReportTest, LongSeriesAreThinned) {
  SyntheticRun run(folder_);
  run.write_run_file(true);
  std::string lines;
  for (int i = 0; i < 50000; ++i) lines += json({{"step", i}, {"loss", 1.0 / (1 + i)}, {"reward", 0.5}}).dump() + "\n";
  run.write("kd/metrics.jsonl", lines);
  EXPECT_LT(page().size(), 120000u);
}

TEST(Escape, TextAttributesAndBrokenUtf8) {
  EXPECT_EQ(report::escape("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(report::escape("\u00e9\u2192\U0001F600\n"), "\u00e9\u2192\U0001F600\n");
  EXPECT_EQ(report::escape("\xff|\xc3|\x01|\r"), "\uFFFD|\uFFFD|\uFFFD|");
}

TEST(NiceTicks, AreRoundAndCover) {
  EXPECT_EQ(report::nice_ticks(0, 93, 5).values, (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(report::nice_ticks(-0.4, 1.1, 4).values, (std::vector<double>{-0.5, 0, 0.5, 1, 1.5}));
  const report::Ticks flat = report::nice_ticks(3, 3, 4);
  EXPECT_LT(flat.low, 3);
  EXPECT_GT(flat.high, 3);
  for (const double high : {1e-9, 3.7e-5, 0.2, 7.0, 123456.0, 4e9}) {
    const report::Ticks ticks = report::nice_ticks(0, high, 4);
    EXPECT_EQ(ticks.low, 0);
    EXPECT_GE(ticks.high, high * (1 - 1e-9));
    EXPECT_LE(ticks.values.size(), 6u);
  }
}

TEST(NumberText, HasTheDigitsThatMatter) {
  EXPECT_EQ(report::tick_text(0.5, 0.25), "0.50");
  EXPECT_EQ(report::tick_text(40, 20), "40");
  EXPECT_EQ(report::tick_text(1500, 500), "1,500");
  EXPECT_EQ(report::tick_text(12000, 2000), "12k");
  EXPECT_EQ(report::tick_text(2e-5, 1e-5), "2e-05");
  EXPECT_EQ(report::tick_text(2.5, 2.5), "2.5");
  EXPECT_EQ(report::short_number(0.012345), "0.0123");
  EXPECT_EQ(report::short_number(-1234567.4), "-1,234,567");
  EXPECT_EQ(report::duration_text(4.23), "4.2 s");
  EXPECT_EQ(report::duration_text(725), "12 min 5 s");
  EXPECT_EQ(report::duration_text(3780), "1 h 3 min");
}

TEST(Fitted, ShortensInTheMiddle) {
  EXPECT_EQ(report::fitted("short", 100), "short");
  const std::string cut = report::fitted("gptq_w2_g64_\u00e9\u00e9\u00e9\u00e9_kd_grpo_12", 80);
  EXPECT_TRUE(cut.starts_with("gptq_") && cut.ends_with("_12") && contains(cut, "\u2026")) << cut;
  EXPECT_LE(report::text_width(cut), 80);
  EXPECT_EQ(report::fitted("abc", 1), "\u2026");
}

TEST(Smoothed, KeepsLinesAndAveragesNoise) {
  report::Series line;
  for (int i = 0; i < 90; ++i) line.emplace_back(i, 2.0 * i + 1);
  const report::Series smooth = report::smoothed(line);
  ASSERT_EQ(smooth.size(), line.size());
  for (size_t i = 3; i + 3 < line.size(); ++i) EXPECT_NEAR(smooth[i].second, line[i].second, 1e-9);
  EXPECT_NEAR(smooth[0].second, 4, 1e-9);  // of 1, 3, 5, 7
  report::Series noise;
  for (int i = 0; i < 90; ++i) noise.emplace_back(i, i % 2);
  EXPECT_NEAR(report::smoothed(noise)[45].second, 0.5, 0.1);
}

/// Bars start at zero and end where the axis says.
TEST(BarChart, LengthsAreProportional) {
  report::BarChart chart;
  chart.bars = {{"a", 0.25, 0.2, 0.3, false, ""}, {"b", 0.5, 0.45, 0.55, true, ""}, {"c", 0, 0, 0.01, true, ""}};
  const std::string svg = report::draw(chart);
  EXPECT_EQ(markup_fault(svg), "");
  std::vector<double> widths;
  for (size_t at = svg.find("<rect"); at != std::string::npos; at = svg.find("<rect", at + 1)) {
    widths.push_back(std::stod(svg.substr(svg.find("width=\"", at) + 7)));
  }
  ASSERT_EQ(widths.size(), 3u);
  EXPECT_NEAR(widths[1], 2 * widths[0], 0.2);
  EXPECT_EQ(widths[2], 0);
}

}  // namespace
}  // namespace rqat::pipeline
