#include <filesystem>
#include <iostream>

#include "rqat/base/strings.h"
#include "rqat/cli/command.h"
#include "rqat/pipeline/report.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;

struct ReportOptions : base::Config {
  std::vector<std::string> runs;
  std::string out = "comparison.html";
  void fields(base::FieldVisitor& v) override {
    v.field("runs", runs, "output folder of a run; of several, to compare them");
    v.required("runs");
    v.field("out", out, "file of the page that compares several runs");
  }
};

class Report : public Command {
 public:
  explicit Report(ReportOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Makes report.html of a run again, from the files in its folder alone, and prints the tables of its "
        "evaluations. "
        "Also for a run that is under way, or was broken off: the report shows what there is. Several runs are "
        "compared "
        "on one page instead: their models in one table per task set, their curves over each other, and the settings "
        "in "
        "which they differ.",
        {"rqat report runs/quickstart", "rqat report runs/a runs/b --out a_b.html"},
        {"runs"}};
  }

  void run() override {
    if (options_.runs.size() > 1) return compare({options_.runs.begin(), options_.runs.end()});
    for (const fs::path run : options_.runs) {
      pipeline::write_report(run);
      std::cout << pipeline::run_tables(run) << "report: " << (run / "report.html").string() << "\n";
    }
  }

 private:
  void compare(const std::vector<fs::path>& runs) const {
    pipeline::write_comparison(runs, options_.out);
    std::cout << pipeline::comparison_tables(runs) << "comparison: " << options_.out << "\n";
  }

  ReportOptions options_;
};

}  // namespace

base::Entry<Command> report_entry() {
  return base::make_entry<base::Entry<Command>, ReportOptions>(
      "report", "make the report of a run again, or compare several runs", "",
      [](const ReportOptions& options) { return std::make_unique<Report>(options); });
}

}  // namespace rqat::cli
