// The commands on a small model, as a user runs them.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"
#include "rqat/base/strings.h"
#include "rqat/cli/command.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"

namespace rqat::cli {
namespace {

using base::cat;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// One model for all tests of this file: nothing here changes it.
const Workplace& workplace() {
  static const Workplace work;
  static const bool made = (write_small_model(work / "model"), true);
  (void)made;
  return work;
}

std::string success(const std::string& arguments) {
  const Outcome outcome = workplace().run(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << arguments << "\n" << outcome.output;
  return outcome.output;
}

TEST(Commands, VersionAndOverview) {
  EXPECT_THAT(success("--version"), HasSubstr("LibTorch 2."));
  const std::string help = success("--help");
  for (const std::string& name : commands().names()) EXPECT_THAT(help, HasSubstr("  " + name + " "));
}

TEST(Commands, Env) {
  EXPECT_THAT(success("env --threads 1"), AllOf(HasSubstr("CPU kernels"), HasSubstr("1 of "), HasSubstr("Parquet")));
}

TEST(Commands, ListTellsKindsEntriesAndSettings) {
  EXPECT_THAT(success("list"), AllOf(HasSubstr("objectives:"), HasSubstr("kl_forward"), HasSubstr("commands:")));
  EXPECT_THAT(success("list optimizers adamw"), AllOf(HasSubstr("learning_rate"), HasSubstr("> 0")));
}

TEST(Commands, ListNamesEveryEntryOfAKindWithItsPaper) {
  const std::string text = success("list initializers");
  EXPECT_THAT(text, AllOf(HasSubstr("initializers:"), HasSubstr("rtn "), HasSubstr("arXiv 2210.17323")));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("optimizers:")));
  const Outcome unknown = workplace().run("list optimizer");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("unknown kind 'optimizer'; did you mean 'optimizers'?"));
}

TEST(Commands, ListFindsTheRecipesHere) {
  const Workplace work;
  const Outcome none = work.run("list recipes");
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.output, HasSubstr("no recipes/*.yaml below the present folder; `rqat recipes ls`"));
  work.write("recipes/sub/b.yaml", "name: b\n");
  work.write("recipes/a.yaml", "# rqat train --config recipes/a.yaml\nname: a\n");
  work.write("recipes/notes.txt", "# not a recipe\n");
  const Outcome listed = work.run("list recipes");
  EXPECT_EQ(listed.exit_code, 0);
  EXPECT_EQ(listed.output, "recipes/a.yaml      rqat train --config recipes/a.yaml\nrecipes/sub/b.yaml\n");
}

TEST(Commands, ListWritesThePagesOfTheReference) {
  const Workplace work;
  const Outcome written = work.run("list --markdown pages/here");
  ASSERT_EQ(written.exit_code, 0) << written.output;
  const fs::path committed = fs::path(RQAT_SOURCE_DIR) / "docs/reference";
  size_t count = 0;
  for (const auto& page : fs::directory_iterator(committed)) {
    const std::string name = page.path().filename().string();
    EXPECT_TRUE(fs::exists(work / ("pages/here/" + name))) << name;
    ++count;
  }
  EXPECT_THAT(written.output, HasSubstr("pages/here: " + std::to_string(count) + " pages"));
}

TEST(Commands, RenderFromAModelOrATemplate) {
  workplace().write("conversation.json", R"({"messages": [{"role": "user", "content": "hi"}]})"
                                         "\n");
  workplace().write("t.jinja", "{{ messages[0].content }}!");
  EXPECT_EQ(workplace().run_real("render --template t.jinja < conversation.json").output, "{\"text\":\"hi!\"}\n");
  const std::string line = workplace().run_real("render --model model < conversation.json").output;
  const nlohmann::json rendered = nlohmann::json::parse(line);
  EXPECT_THAT(rendered.at("text").get<std::string>(), HasSubstr("hi"));
  EXPECT_THAT(rendered.at("ids").get<std::vector<int>>(), ::testing::IsSupersetOf({104, 105}));
  const Outcome both = workplace().run("render --model model --template t.jinja");
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.output, HasSubstr("give either --model or --template"));
}

TEST(Commands, TokenizeThereAndBack) {
  ASSERT_TRUE(fs::exists(program_path())) << program_path() << " is missing: build target rqat, or set RQAT_BIN";
  workplace().write("text.json", "\"a<|im_end|>\"\n");
  workplace().write("ids.txt", "[104, 105]\n");
  EXPECT_EQ(workplace().run_real("tokenize --model model < text.json").output, "[97,258]\n");
  EXPECT_EQ(workplace().run_real("tokenize --model model --decode < ids.txt").output, "\"hi\"\n");
}

TEST(Commands, ForwardWritesLogits) {
  workplace().write("ids.json", "[[1, 2, 3], [4, 5, 6]]");
  success("forward --model model --ids ids.json --out logits.safetensors --dtype float32");
  const at::Tensor logits = io::SafetensorsReader(workplace() / "logits.safetensors").read("logits");
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_EQ(logits.sizes(), (at::IntArrayRef{2, 3, 259}));
}

TEST(Commands, ForwardRejectsWhatIsNoListOfIds) {
  const auto outcome = [](const std::string& ids) {
    workplace().write("bad_ids.json", ids);
    return workplace().run("forward --model model --ids bad_ids.json --out logits.safetensors");
  };
  EXPECT_THAT(outcome("[[1, 2], 3]").output, HasSubstr("bad_ids.json: a list of lists of token ids is expected"));
  EXPECT_THAT(outcome("[[1, 2], [3, 259]]").output,
              HasSubstr("bad_ids.json: id 259 in list 2, place 2 is outside the vocabulary of 259"));
  EXPECT_EQ(outcome("[[1, -1]]").exit_code, 1);
}

TEST(Commands, QuantizeInspectGenerateExport) {
  success("quantize --model model --out w2 --num-bits 2 --group-size 16");
  // 2 bits, and per 16 weights a scale of 16 bits and a zero point of 8 (q_proj has 16 inputs: one group).
  EXPECT_THAT(success("inspect w2 --filter q_proj"),
              AllOf(HasSubstr("w2_g16"), HasSubstr("16 x 16"), HasSubstr("1 rows, 256 weights")));
  EXPECT_THAT(success("inspect model --filter norm"), HasSubstr("bfloat16"));
  success("generate --model w2 --prompt hi --max-new-tokens 3");
  EXPECT_THAT(success("export --model w2 --format hf_dequantized --out dense"), HasSubstr("dense: "));
  EXPECT_TRUE(fs::exists(workplace() / "dense/model.safetensors"));
  EXPECT_TRUE(fs::exists(workplace() / "w2/stage.json"));
  EXPECT_TRUE(fs::exists(workplace() / "w2/tokenizer.json"));
  success("quantize --model model --out w2 --num-bits 3 --group-size 16 --overwrite");
  EXPECT_THAT(success("inspect w2 --filter q_proj"), HasSubstr("w3_g16"));
}

TEST(Commands, QuantizeReadsCalibrationAndStageSettings) {
  workplace().write("calibration.jsonl", R"({"prompt": "1 + 1 = ", "completion": "2"})"
                                         "\n"
                                         R"({"prompt": "2 + 1 = ", "completion": "3"})"
                                         "\n");
  success(
      "quantize --model model --out from_file --initializer gptq --num-bits 4 --group-size 16 --file calibration.jsonl "
      "--num-samples 2 calibration.max_tokens_per_batch=768");
  const nlohmann::json stage = nlohmann::json::parse(workplace().read("from_file/stage.json"));
  EXPECT_THAT(stage.dump(), AllOf(HasSubstr("calibration.jsonl"), HasSubstr("768")));
  success(
      "quantize --model model --out drawn --initializer gptq --num-bits 4 --group-size 16 --generators comparison "
      "--num-samples 2");
  const auto codes = [](const std::string& folder) {
    return io::SafetensorsReader(workplace() / folder / "rqat_state.safetensors")
        .read("model.layers.0.mlp.down_proj.weight_packed");
  };
  EXPECT_FALSE(at::equal(codes("from_file"), codes("drawn"))) << "other calibration data, the same codes";
  const Outcome wrong = workplace().run("quantize --model model --out never --num-bits 4 calibrated.num_samples=1");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.output, HasSubstr("did you mean 'calibration'"));
}

TEST(Commands, StreamedTextIsSeededAndDoesNotDependOnExecution) {
  const std::string options =
      "generate --quiet --model model --raw --prompt abc --max-new-tokens 12 --temperature 1 --show-special --seed ";
  const std::string first = success(options + "3");
  EXPECT_EQ(success(options + "3"), first);
  EXPECT_NE(success(options + "4"), first);
}

TEST(Commands, EvaluateComparesModels) {
  success("init --out other --hidden-size 16 --num-heads 2 --num-key-value-heads 1 --num-layers 1 --seed 9");
  const std::string table = success(
      "evaluate --model model,other --teacher model --generators comparison --num-examples 2 "
      "--max-new-tokens 4 --likelihood-examples 2 --out results");
  EXPECT_THAT(table, AllOf(HasSubstr("model"), HasSubstr("other")));
  const nlohmann::json results = io::read_json(workplace() / "results/results.json");
  ASSERT_EQ(results["models"].size(), 2u);
  EXPECT_NEAR(results["models"][0]["tasks"]["problems"]["kl_to_teacher"].get<double>(), 0, 1e-4);
  EXPECT_GT(results["models"][1]["tasks"]["problems"]["kl_to_teacher"].get<double>(), 1e-6);
}

TEST(Commands, EvaluateTellsModelsOfOneNameApart) {
  const std::string tiny =
      "--hidden-size 64 --intermediate-size 64 --num-heads 2 --num-key-value-heads 2 --num-layers 1";
  for (const char* name : {"one", "two"}) {
    success(cat("init --out ", name, "/float ", tiny, " --seed ", int{name[0]}));
    success(cat("quantize --model ", name, "/float --out ", name, "/w4 --num-bits 4 --group-size 16"));
    success(cat("export --model ", name, "/w4 --format gptq --out ", name, "/gptq"));
  }
  const auto perplexities = [&](const char* models) {
    success(cat("evaluate --model ", models,
                " --generators comparison --num-examples 2 --max-new-tokens 1 --out results --overwrite"));
    std::vector<double> found;
    const nlohmann::json results = io::read_json(workplace() / "results/results.json");
    for (const nlohmann::json& model : results["models"]) found.push_back(model["tasks"]["problems"]["perplexity"]);
    return found;
  };
  const std::vector<double> both = perplexities("one/gptq,two/gptq"), turned = perplexities("two/gptq,one/gptq");
  EXPECT_NE(both.at(0), both.at(1));
  EXPECT_EQ(both.at(0), turned.at(1));
}

TEST(Commands, EvaluateProblemsWithoutSolutions) {
  workplace().write("problems.jsonl", R"({"prompt": [{"role": "user", "content": "1+1"}], "reward_model": )"
                                      R"({"ground_truth": "2"}})"
                                      "\n");
  const std::string table = success("evaluate --model model --file problems.jsonl --mapping verl --max-new-tokens 2");
  EXPECT_THAT(table, HasSubstr("0.0"));
}

TEST(Commands, EvaluateReadsColumnsByAMap) {
  workplace().write("problems.jsonl", R"({"q": "1 + 1?", "a": "2"})"
                                      "\n");
  success(
      "evaluate --model 'model, model' --file problems.jsonl --mapping '{question: q, reference: a}' "
      "--max-new-tokens 2 --likelihood-examples 0 --out mapped");
  const nlohmann::json results = io::read_json(workplace() / "mapped/results.json");
  EXPECT_EQ(results["models"][0]["tasks"]["problems"]["correct"].size(), 1u);
}

TEST(Commands, CalibrationCutsLongExamples) {
  const std::string lengthy(4000, 'x');
  workplace().write("long.jsonl", "{\"prompt\": \"" + lengthy + "\", \"completion\": \"" + lengthy + "\"}\n" +
                                      "{\"text\": \"" + lengthy + "\"}\n");
  success(
      "quantize --model model --out from_long --initializer gptq --num-bits 4 --group-size 16 --file long.jsonl "
      "--num-samples 1");
}

TEST(Commands, ValidateShowsStagesAndExplains) {
  workplace().write("r.yaml",
                    "models: {base: {path: model}}\nquant: {w2: {num_bits: 2, group_size: 16}}\n"
                    "data: {d: {file: x.jsonl, mapping: {question: task}}}\n"
                    "stages:\n  - {id: files, type: export, model: rtn, formats: [hf_dequantized]}\n"
                    "  - {id: rtn, type: quantize, model: base, quant: w2, initializer: rtn}\n");
  const std::string text = success("validate --config r.yaml");
  EXPECT_LT(text.find("\nrtn "), text.find("\nfiles ")) << text;
  EXPECT_THAT(text, AllOf(HasSubstr("OK: "), HasSubstr("models.base: llama, 1 blocks of width 16, 7 linears")));
  EXPECT_THAT(success("validate --config r.yaml --explain quant.w2.num_bits"),
              AllOf(HasSubstr("in the recipe: 2"), HasSubstr("r.yaml:2")));
  EXPECT_THAT(success("validate --config r.yaml --explain data.d.mapping.question"),
              AllOf(HasSubstr("question (mapping of a data: entry): column"), HasSubstr("in the recipe: task")));
  EXPECT_THAT(success("validate --explain optimizer.adamw.weight_decay"), HasSubstr("default"));
  EXPECT_THAT(
      workplace().run("validate --config r.yaml --explain quant.w2.num_bit").output,
      HasSubstr("--explain: quant: entry has no key 'num_bit'; did you mean 'num_bits'? (its keys: num_bits, "));
  EXPECT_THAT(success("validate --config r.yaml --resolved quant.w2.num_bits=3"), HasSubstr("num_bits: 3"));
}

TEST(Commands, ReportIsMadeAgainFromTheFilesOfARun) {
  workplace().write("report.yaml",
                    "name: short\noutput_dir: reported\ndevice: cpu\nmodels: {base: {path: model}}\n"
                    "data: {heldout: {generators: [comparison], split: test, num_examples: 2}}\n"
                    "stages:\n  - {id: scores, type: evaluate, models: base, tasks: heldout, "
                    "sampling: {max_new_tokens: 4}}\n");
  success("train --config report.yaml --quiet");
  const std::string page = workplace().read("reported/report.html");
  ASSERT_THAT(page, HasSubstr("Accuracy on heldout"));
  workplace().write("reported/report.html", "gone");
  const std::string text = success("report reported");
  EXPECT_THAT(text, AllOf(HasSubstr("stage scores:"), HasSubstr("heldout (2 problems): accuracy in %"),
                          HasSubstr("report: reported/report.html")));
  EXPECT_EQ(workplace().read("reported/report.html"), page);
  // A run that was broken off shows the rows it has.
  fs::remove(workplace() / "reported/scores/results.json");
  fs::remove(workplace() / "reported/scores/stage.json");
  EXPECT_THAT(success("report reported"), HasSubstr("stage scores (not complete):"));
  const Outcome no_run = workplace().run("report model");
  EXPECT_EQ(no_run.exit_code, 1);
  EXPECT_THAT(no_run.output, HasSubstr("model: holds no run.json"));
  EXPECT_FALSE(fs::exists(workplace() / "model/report.html"));
  EXPECT_EQ(workplace().run("report").exit_code, 2);
}

TEST(Commands, ReportComparesRuns) {
  const auto run = [](const std::string& name) {
    workplace().write("compared.yaml", "name: " + name + "\noutput_dir: " + name +
                                           "\ndevice: cpu\nmodels: {base: {path: model}}\n"
                                           "data: {heldout: {generators: [comparison], split: test, num_examples: 2}}\n"
                                           "stages:\n  - {id: scores, type: evaluate, models: base, tasks: heldout, "
                                           "sampling: {max_new_tokens: 4}}\n");
    success("train --config compared.yaml --quiet");
  };
  run("first");
  run("second");
  EXPECT_THAT(success("report first second --out both.html"),
              AllOf(HasSubstr("first"), HasSubstr("second"), HasSubstr("comparison: both.html")));
  EXPECT_THAT(workplace().read("both.html"), AllOf(HasSubstr("<html"), HasSubstr("first"), HasSubstr("second")));
  const Outcome missing = workplace().run("report first gone --out none.html");
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.output, HasSubstr("gone"));
  EXPECT_FALSE(fs::exists(workplace() / "none.html"));
}

TEST(Commands, ValidateFindsAFreezeThatTiedModelsCannotKeep) {
  const auto outcome = [](const std::string& freeze) {
    workplace().write("freeze.yaml",
                      "models: {base: {path: model}}\ndata: {train: {generators: [comparison]}}\n"
                      "stages:\n  - {id: sft, type: train, model: base, data: train, freeze: [" +
                          freeze + "]}\n");
    return workplace().run("validate --config freeze.yaml");
  };
  const Outcome half = outcome("head");
  EXPECT_EQ(half.exit_code, 2);
  EXPECT_THAT(half.output, AllOf(HasSubstr("freeze.yaml:4"),
                                 HasSubstr("stages.sft: freeze names `head` but not "
                                           "`embedding`"),
                                 HasSubstr("tie_word_embeddings")));
  EXPECT_EQ(outcome("head, embedding").exit_code, 0);
  EXPECT_EQ(outcome("").exit_code, 0);
}

}  // namespace
}  // namespace rqat::cli
