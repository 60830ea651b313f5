#include <gtest/gtest.h>

#include "pipeline/recipe_text.h"
#include "pipeline/synthetic_run.h"
#include "rqat/base/files.h"
#include "rqat/pipeline/report.h"

namespace rqat::pipeline {
namespace {

TEST(ReportCompare, RunsSideBySide) {
  const RecipeFolder folder;
  const std::vector<std::filesystem::path> runs{folder.path() / "a", folder.path() / "b"};
  for (const auto& run : runs) SyntheticRun(run).write_finished();
  SyntheticRun(runs[1]).write_run_file(true, "other");
  SyntheticRun(runs[1]).write("recipe.yaml", "name: other\nseed: 7\nstages:\n  - {id: kd, max_steps: 11}\n");
  SyntheticRun(runs[0]).write("recipe.yaml", "name: quickstart\nseed: 7\nstages:\n  - {id: kd, max_steps: 12}\n");
  const std::string tables = comparison_tables(runs);
  expect_contains(tables, "quickstart: kd");
  expect_contains(tables, "other: kd");
  write_comparison(runs, folder.path() / "page.html");
  const std::string page = base::read_file(folder.path() / "page.html");
  expect_contains(page, "<h1>2 runs compared</h1>");
  expect_contains(page, "class=\"line run0\"");
  expect_contains(page, "class=\"line run1\"");
  expect_contains(page, "<td>stages.kd.max_steps</td><td>12</td><td>11</td>");
  EXPECT_EQ(page.find("<td>seed</td>"), std::string::npos) << "it is the same in both";
}

TEST(ReportCompare, RunsOfOneNameGoByTheirFolders) {
  const RecipeFolder folder;
  for (const char* run : {"a", "b"}) SyntheticRun(folder.path() / run).write_finished();
  const std::string tables = comparison_tables({folder.path() / "a", folder.path() / "b"});
  expect_contains(tables, "  a: kd");
  expect_contains(tables, "  b: kd");
  const auto deep = [&](const char* name) { return folder.path() / name / "runs" / "quickstart"; };
  for (const char* name : {"one", "two"}) SyntheticRun(deep(name)).write_finished();
  expect_contains(comparison_tables({deep("one"), deep("two")}), "  one: kd");
  // The same folder twice has but one name.
  expect_contains(comparison_tables({deep("one"), deep("one")}), "quickstart: kd");
}

TEST(ReportCompare, AFolderThatIsNoRun) {
  const RecipeFolder folder;
  EXPECT_THROW(comparison_tables({folder.path(), folder.path()}), base::IoError);
}

}  // namespace
}  // namespace rqat::pipeline
