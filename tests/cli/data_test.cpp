// `rqat data preview` as a person sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/preview.h"
#include "data/fake_text.h"
#include "program.h"

namespace rqat::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const data::ByteTokenizer kTokenizer;

TEST(ExampleText, StretchesUnderHeadingsOrInColors) {
  const data::Example example{{'u', ':', 'a', '|', 'b'}, {1, 0, 1, 1, 0}};
  EXPECT_EQ(example_text(example, kTokenizer, false),
            "--- not learned, 2 tokens ---\nu:\n--- learned, 2 tokens ---\na|\n--- not learned, 1 tokens ---\nb\n"
            "ids (* = learned): 117 58 97* 124* 98\n");
  const std::string colored = example_text(example, kTokenizer, true);
  EXPECT_THAT(colored, AllOf(HasSubstr("\x1b[2mu:\x1b[0m\x1b[32ma|\x1b[0m\x1b[2mb\x1b[0m\n"),
                             HasSubstr(" \x1b[32m97\x1b[0m"), Not(HasSubstr("---"))));
}

TEST(ExampleText, ControlCharactersOfTheDataAreSpelledOut) {
  const data::Example example{{'a', 0x1b, '[', '3', '1', 'm', '\r', 0x7f, '\n', '\t'}, std::vector<uint8_t>(10, 0)};
  EXPECT_THAT(example_text(example, kTokenizer, true), HasSubstr("a\\x1b[31m\\x0d\\x7f\n\t"));
}

TEST(ExampleText, LongListsOfIdsAreWrapped) {
  const data::Example example{std::vector<int64_t>(100, 200), std::vector<uint8_t>(100, 0)};
  const std::string text = example_text(example, kTokenizer, false);
  size_t longest = 0, begin = 0;
  for (size_t end = text.find('\n', text.find("ids")); end != std::string::npos; end = text.find('\n', begin)) {
    if (begin > 0) longest = std::max(longest, end - begin);
    begin = end + 1;
  }
  EXPECT_GT(longest, 90u);
  EXPECT_LE(longest, 110u);
}

class Preview : public ::testing::Test {
 protected:
  Preview() {
    work_.write("problems.jsonl",
                "{\"problem\": \"What is 1 + 1?\", \"solution\": \"\\\\boxed{2}\"}\n"
                "{\"problem\": \"What is 1 + 2?\", \"solution\": \"\\\\boxed{3}\"}\n"
                "{\"problem\": \"Why?\"}\n");
    write_small_model(work_ / "model");
    work_.write("recipe.yaml",
                "device: cpu\nmodels: {base: {path: model}, none: {path: nowhere}}\n"
                "data:\n"
                "  train: {file: problems.jsonl, num_examples: 2, max_length: 300}\n"
                "  open: {file: problems.jsonl, mapping: {question: problem}}\n"
                "  both: {mixture: {train: 1, open: 1}}\n"
                "stages:\n"
                "  - {id: sft, type: train, model: base, data: both, max_steps: 1}\n"
                "  - {id: said, type: synthesize, model: base, data: open}\n"
                "  - {id: lost, type: train, model: none, data: said, max_steps: 1}\n");
  }
  std::string output(const std::string& arguments, int exit_code = 0) {
    const Outcome outcome = work_.run("data " + arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.output;
    return outcome.output;
  }
  Workplace work_;
};

TEST_F(Preview, AFileTurnByTurn) {
  EXPECT_THAT(output("preview problems.jsonl"),
              AllOf(HasSubstr("problems.jsonl; no --model, so no chat template and no ids"),
                    HasSubstr("record 1 (problems.jsonl:1)\n[user]\nWhat is 1 + 1?\n[assistant]\n\\boxed{2}\n"),
                    HasSubstr("record 2 (problems.jsonl:2)"), Not(HasSubstr("record 3"))));
  EXPECT_THAT(output("preview problems.jsonl --first 2 --num-examples 1"),
              AllOf(HasSubstr("record 2"), Not(HasSubstr("record 1"))));
}

TEST_F(Preview, AFileAsTheModelSeesIt) {
  EXPECT_THAT(output("preview problems.jsonl --model model --mapping '{question: problem, answer: \"solution?\"}' "
                     "--num-examples 1"),
              AllOf(HasSubstr("--- learned, "), HasSubstr("\\boxed{2}<|im_end|>\nids (* = learned): ")));
}

TEST_F(Preview, ARecipe) {
  EXPECT_THAT(output("preview --config recipe.yaml"),
              AllOf(HasSubstr("data.train = problems.jsonl; text by model"), HasSubstr("data.both; text by model"),
                    HasSubstr("(a problem without a response)"), HasSubstr("first 2 records: "),
                    HasSubstr("longer than max_length 300"), Not(HasSubstr("data.said"))));
  EXPECT_THAT(output("preview --config recipe.yaml --data train --overrides data.train.max_length=20"),
              AllOf(HasSubstr("tokens, max_length is 20"), HasSubstr("2 longer than max_length 20 (too_long: error)")));
}

TEST_F(Preview, Faults) {
  EXPECT_THAT(
      output("preview problems.jsonl --mapping '{question: problm}'", 1),
      HasSubstr("problems.jsonl:1: `problm` is missing; did you mean 'problem'? (columns found: problem, solution)"));
  EXPECT_THAT(output("preview problems.jsonl --mapping gsm9k", 2), HasSubstr("gsm8k"));
  EXPECT_THAT(output("preview problems.jsonl --first 9", 1), HasSubstr("there are only 3 records; lower --first (9)"));
  EXPECT_THAT(output("preview problems.jsonl --first 4", 1), HasSubstr("there is no record 4"));
  EXPECT_THAT(output("preview nothing.jsonl", 1), HasSubstr("nothing.jsonl: cannot be opened: no such file"));
  EXPECT_THAT(output("preview", 2), HasSubstr("give either a FILE or --config RECIPE"));
  EXPECT_THAT(output("preview problems.jsonl --data train", 2), HasSubstr("--data names an entry of a recipe"));
  EXPECT_THAT(output("preview problems.jsonl --overrides a=b", 2), HasSubstr("--overrides change a recipe"));
  EXPECT_THAT(output("preview --config recipe.yaml --mapping gsm8k", 2), HasSubstr("--mapping belongs to a FILE"));
  EXPECT_THAT(output("preview --config recipe.yaml --data trian", 2),
              HasSubstr("no data 'trian'; did you mean 'train'?"));
  EXPECT_THAT(output("preview --config recipe.yaml --data said", 1),
              HasSubstr("stage said has not run yet, which will write this data into "));
  EXPECT_THAT(output("show problems.jsonl", 2), HasSubstr("preview"));
}

}  // namespace
}  // namespace rqat::cli
