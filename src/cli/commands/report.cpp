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
  void fields(base::FieldVisitor& v) override {
    v.field("runs", runs, "output folder of a run");
    v.required("runs");
  }
  std::vector<std::string> check() const override {
    if (runs.size() > 1) return {base::cat("one run folder is expected, found ", runs.size())};
    return {};
  }
};

class Report : public Command {
 public:
  explicit Report(ReportOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Makes report.html of a run again, from the files in its folder alone, and prints the tables of its "
        "evaluations. "
        "Also for a run that is under way, or was broken off: the report shows what there is.",
        {"rqat report runs/quickstart"},
        {"runs"}};
  }

  void run() override {
    for (const fs::path run : options_.runs) {
      pipeline::write_report(run);
      std::cout << pipeline::run_tables(run) << "report: " << (run / "report.html").string() << "\n";
    }
  }

 private:
  ReportOptions options_;
};

}  // namespace

base::Entry<Command> report_entry() {
  return base::make_entry<base::Entry<Command>, ReportOptions>(
      "report", "makes the report of an existing run again and prints its tables", "",
      [](const ReportOptions& options) { return std::make_unique<Report>(options); });
}

}  // namespace rqat::cli
