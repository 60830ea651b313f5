// What makes the program easy to use: recipes at hand, completion, the reference, suggestions, dry runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/reference.h"
#include "program.h"
#include "rqat/base/files.h"
#include "rqat/cli/command.h"

namespace rqat::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Comfort, ReferencePagesAreUpToDate) {
  const fs::path folder = fs::path(RQAT_SOURCE_DIR) / "docs/reference";
  const std::map<std::string, std::string> pages = reference_pages();
  for (const auto& [name, text] : pages) {
    EXPECT_TRUE(fs::exists(folder / name) && base::read_file(folder / name) == text)
        << "docs/reference/" << name << " is stale: write it with `build/rqat list --markdown docs/reference`";
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    EXPECT_EQ(pages.count(entry.path().filename().string()), 1u) << entry.path() << " belongs to no table";
  }
}

TEST(Comfort, RecipesAreListedShownAndCopied) {
  const Workplace work;
  EXPECT_THAT(work.run("recipes").output,
              AllOf(HasSubstr("quickstart  (2 CPU cores"), HasSubstr("\n  A real language model loses its"),
                    HasSubstr("debug/full ")));
  EXPECT_THAT(work.run("recipes show quickstart").output, HasSubstr("name: quickstart"));
  EXPECT_EQ(work.run("recipes cp quickstart mine.yaml").exit_code, 0);
  EXPECT_THAT(work.read("mine.yaml"), HasSubstr("name: quickstart"));
  EXPECT_EQ(work.run("validate --config mine.yaml").exit_code, 0) << "its include is found among the program's files";
  EXPECT_THAT(work.run("recipes cp quickstart mine.yaml").output, HasSubstr("--overwrite"));
  EXPECT_EQ(work.run("recipes cp quickstart mine.yaml --overwrite").exit_code, 0);
  EXPECT_THAT(work.run("recipes show quickstrt").output, HasSubstr("did you mean 'quickstart'?"));
  EXPECT_THAT(work.run("recipes show").output, HasSubstr("show needs the NAME of a recipe"));
  EXPECT_THAT(work.run("recipes ls x").output, HasSubstr("ls takes no name"));
  EXPECT_THAT(work.run("recipes show quickstart x").output, HasSubstr("only cp takes a file"));
  EXPECT_THAT(work.run("recipes shw").output, HasSubstr("did you mean 'show'?"));
}

/// What bash would offer for the words, the last of which is being typed.
std::string completed(const Workplace& work, const std::string& words, int last) {
  work.write("ask.sh", "source ./completion.bash\nCOMP_WORDS=(" + words + ")\nCOMP_CWORD=" + std::to_string(last) +
                           "\n_rqat\necho \"${COMPREPLY[@]}\"\n");
  const std::string command = "cd '" + work.path().string() + "' && bash ask.sh > answer.txt 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0);
  const std::string answer = work.read("answer.txt");
  return answer.substr(0, answer.find('\n'));
}

TEST(Comfort, BashCompletes) {
  const Workplace work;
  work.write("completion.bash", work.run("completion bash").output);
  EXPECT_EQ(completed(work, "rqat tra", 1), "train");
  EXPECT_EQ(completed(work, "rqat train --conf", 2), "--config");
  EXPECT_EQ(completed(work, "rqat quantize --initializer gp", 3), "gptq");
  EXPECT_EQ(completed(work, "rqat list optimi", 2), "optimizers");
  EXPECT_EQ(completed(work, "rqat recipes show quick", 3), "quickstart");
}

TEST(Comfort, ZshCompletionNamesEveryCommand) {
  const Workplace work;
  const std::string script = work.run("completion zsh").output;
  EXPECT_THAT(script, HasSubstr("#compdef rqat"));
  for (const std::string& name : commands().names()) EXPECT_THAT(script, HasSubstr("    " + name + ")\n"));
  EXPECT_THAT(script, HasSubstr("'1:action:(ls show cp)'"));
  EXPECT_THAT(script, HasSubstr("'2:"));
  EXPECT_THAT(script, HasSubstr("'*:overrides:"));
  EXPECT_THAT(work.run("completion fish").output, HasSubstr("one of bash, zsh"));
  work.write("_rqat", script);
  if (std::system("command -v zsh >/dev/null") != 0) GTEST_SKIP() << "zsh is not installed";
  EXPECT_EQ(std::system(("zsh -n '" + (work / "_rqat").string() + "'").c_str()), 0);
}

constexpr const char* kRecipe = R"(models: {base: {path: model}}
data: {train: {generators: [comparison], num_examples: 4}}
stages:
  - {id: sft, type: train, model: base, data: train, max_steps: 2, batch_size: 2, evaluation: {data: train}}
)";

TEST(Comfort, WarningsOfSettingsWithoutEffect) {
  const Workplace work;
  write_small_model(work / "model");
  work.write("r.yaml", kRecipe);
  const Outcome outcome = work.run_real("validate --config r.yaml");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("stages.sft.evaluation has no effect: eval_steps is 0"));
}

TEST(Comfort, DryRun) {
  const Workplace work;
  write_small_model(work / "model");
  work.write("r.yaml", kRecipe);
  const Outcome outcome = work.run("train --config r.yaml --dry-run --quiet");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("sft (train): base -> model"), HasSubstr("2 steps x 2 examples")));
  EXPECT_FALSE(fs::exists(work / "runs"));
}

TEST(Comfort, SuggestionsEverywhere) {
  const Workplace work;
  work.write("r.yaml", kRecipe);
  for (const auto& [arguments, suggestion] : std::vector<std::pair<std::string, std::string>>{
           {"trian", "did you mean 'train'?"},
           {"train --confg r.yaml", "did you mean --config?"},
           {"list objectivs", "did you mean 'objectives'?"},
           {"list objectives kl_forwrd", "did you mean 'kl_forward'?"},
           {"validate --explain learning_rat", "did you mean 'learning_rate'?"},
           {"validate --config q.yaml", "did you mean 'r.yaml'?"},
           {"validate --config r.yaml stages.sft.max_step=1", "did you mean 'max_steps'?"},
           {"validate --config r.yaml stages.stf.max_steps=1", "did you mean 'sft'?"},
           {"validate --config r.yaml stages.sft.type=trian", "did you mean 'train'?"},
           {"validate --config r.yaml stages.sft.model=bas", "did you mean 'base'?"},
           {"validate --config r.yaml stages.sft.data=trian", "did you mean 'train'?"},
           {"validate --config r.yaml stages.sft.objective=cross_entrpy", "did you mean 'cross_entropy'?"},
           {"validate --config r.yaml stages.sft.lr_scheduler.kind=cosin", "did you mean 'cosine'?"},
           {"validate --config r.yaml data.train.generators=[comparsion]", "did you mean 'comparison'?"},
           {"validate --config r.yaml stages.sft.freeze=[embeding]", "did you mean 'embedding'?"},
           {"train --config r.yaml --only stf", "did you mean 'sft'?"}}) {
    const Outcome outcome = work.run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(suggestion)) << arguments;
  }
}

}  // namespace
}  // namespace rqat::cli
