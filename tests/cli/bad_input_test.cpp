// What users get wrong: each case looks at the exit code, at what the message names, and that nothing half-written
// stays behind.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"

namespace rqat::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kRecipe = R"(name: short
output_dir: out
device: cpu
models:
  base: {path: model}
quant:
  w2: {num_bits: 2, group_size: 16}
data:
  train: {generators: [chain_sums], num_examples: 4}
stages:
  - {id: rtn, type: quantize, model: base, quant: w2, initializer: rtn}
  - id: kd
    type: train
    model: rtn
    teacher: base
    data: train
    objective: kl_forward
    max_steps: 2
    batch_size: 2
)";

/// A folder with a recipe and its model, and what stood there before the program ran.
class BadInput : public ::testing::Test {
 protected:
  BadInput() {
    write_small_model(work_ / "model");
    work_.write("recipe.yaml", kRecipe);
  }

  void change_recipe(const std::string& from, const std::string& to) {
    std::string text = work_.read("recipe.yaml");
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    work_.write("recipe.yaml", text.replace(at, from.size(), to));
  }

  /// Runs the program, which must fail with `exit_code` and leave the folder as it was.
  std::string failure(const std::string& arguments, int exit_code) {
    const std::set<std::string> before = work_.listing();
    const Outcome outcome = work_.run(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.output;
    EXPECT_EQ(work_.listing(), before) << "something was left behind";
    EXPECT_THAT(outcome.output, HasSubstr("rqat: error: "));
    return outcome.output;
  }

  /// Fails while a stage runs: the run's folder exists by then, but no stage in it may look finished or hold a model.
  std::string failed_run(int exit_code, const std::string& stage) {
    const Outcome outcome = work_.run("train --config recipe.yaml");
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.output;
    for (const char* name : {"stage.json", "model.safetensors", "rqat_state.safetensors"}) {
      EXPECT_FALSE(fs::exists(work_ / ("out/" + stage + "/" + name))) << name;
    }
    for (const std::string& name : work_.listing()) EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
    return outcome.output;
  }

  void truncate(const std::string& name, double share) {
    fs::resize_file(work_ / name, static_cast<uintmax_t>(share * static_cast<double>(fs::file_size(work_ / name))));
  }

  Workplace work_;
};

TEST_F(BadInput, TheRecipeItselfIsSound) {
  const Outcome outcome = work_.run("validate --config recipe.yaml");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
}

TEST_F(BadInput, UnknownKey) {
  change_recipe("max_steps: 2", "max_step: 2");
  EXPECT_THAT(
      failure("train --config recipe.yaml", 2),
      AllOf(HasSubstr("recipe.yaml:18: stages.kd.max_step: unknown key"), HasSubstr("did you mean 'max_steps'?")));
}

TEST_F(BadInput, WrongType) {
  change_recipe("max_steps: 2", "max_steps: two");
  EXPECT_THAT(failure("train --config recipe.yaml", 2),
              AllOf(HasSubstr("recipe.yaml:18: stages.kd.max_steps"), HasSubstr("integer"), HasSubstr("'two'")));
}

TEST_F(BadInput, OutOfRange) {
  change_recipe("batch_size: 2", "batch_size: 0");
  EXPECT_THAT(failure("train --config recipe.yaml", 2),
              AllOf(HasSubstr("recipe.yaml:19: stages.kd.batch_size: 0 is out of range"), HasSubstr("1..")));
}

TEST_F(BadInput, AllFaultsAtOnce) {
  change_recipe("max_steps: 2", "max_steps: two");
  change_recipe("objective: kl_forward", "objective: kl_foward");
  change_recipe("num_bits: 2", "num_bits: 5");
  EXPECT_THAT(failure("validate --config recipe.yaml", 2),
              AllOf(HasSubstr("max_steps"), HasSubstr("did you mean 'kl_forward'?"), HasSubstr("num_bits")));
}

TEST_F(BadInput, UnknownStageReference) {
  change_recipe("model: rtn", "model: rtm");
  EXPECT_THAT(failure("train --config recipe.yaml", 2),
              AllOf(HasSubstr("stages.kd: unknown model 'rtm'"), HasSubstr("did you mean 'rtn'?")));
}

TEST_F(BadInput, CircularStages) {
  change_recipe("model: base, quant", "model: kd, quant");
  EXPECT_THAT(failure("train --config recipe.yaml", 2), AllOf(HasSubstr("circle"), HasSubstr("rtn"), HasSubstr("kd")));
}

TEST_F(BadInput, YamlSyntax) {
  change_recipe("output_dir: out", "output_dir: [out");
  EXPECT_THAT(failure("train --config recipe.yaml", 2), HasSubstr("recipe.yaml:"));
}

TEST_F(BadInput, MissingRecipe) {
  EXPECT_THAT(failure("train --config recipy.yaml", 2), AllOf(HasSubstr("recipy.yaml"), HasSubstr("rqat recipes ls")));
}

TEST_F(BadInput, MalformedOverride) {
  EXPECT_THAT(failure("train --config recipe.yaml stages.kd.max_steps", 2), HasSubstr("key.sub_key=value"));
  EXPECT_THAT(failure("train --config recipe.yaml stages.kdd.max_steps=1", 2), HasSubstr("did you mean 'kd'"));
}

TEST_F(BadInput, UnknownStageInOnly) {
  EXPECT_THAT(failure("train --config recipe.yaml --only rtm", 2), HasSubstr("did you mean 'rtn'?"));
}

TEST_F(BadInput, MissingModelFolder) {
  change_recipe("path: model", "path: models/gone");
  const Outcome outcome = work_.run("train --config recipe.yaml");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("models.base.path"), HasSubstr("models/gone")));
}

TEST_F(BadInput, PolicyThatMatchesNothing) {
  change_recipe("group_size: 16}", "group_size: 16, overrides: {\"*.dwn_proj\": none}}");
  EXPECT_THAT(failure("train --config recipe.yaml", 2), AllOf(HasSubstr("stages.rtn"), HasSubstr("*.dwn_proj")));
}

TEST_F(BadInput, TruncatedWeights) {
  truncate("model/model.safetensors", 0.5);
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1),
              HasSubstr("model.safetensors"));
  EXPECT_THAT(failed_run(1, "rtn"), HasSubstr("model.safetensors"));
}

TEST_F(BadInput, CorruptWeightsHeader) {
  std::string bytes = work_.read("model/model.safetensors");
  bytes[20] = '\x01';
  work_.write("model/model.safetensors", bytes);
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1),
              HasSubstr("model.safetensors"));
}

TEST_F(BadInput, NanWeights) {
  const io::TensorSource source(work_ / "model");
  io::TensorMap tensors;
  for (const std::string& name : source.names()) tensors[name] = source.read(name);
  tensors["model.layers.0.mlp.up_proj.weight"][3][5] = std::nan("");
  io::write_safetensors(work_ / "model/model.safetensors", tensors);
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1),
              AllOf(HasSubstr("model.layers.0.mlp.up_proj.weight"), HasSubstr("NaN")));
}

TEST_F(BadInput, ShapesThatDisagree) {
  nlohmann::json config = io::read_json(work_ / "model/config.json");
  config["intermediate_size"] = 48;
  io::write_json(work_ / "model/config.json", config);
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1),
              AllOf(HasSubstr("mlp."), HasSubstr("[48, 16]"), HasSubstr("[32, 16]")));
}

TEST_F(BadInput, BrokenConfigJson) {
  work_.write("model/config.json", "{\"model_type\": \"llama\",\n \"vocab_size\": ");
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1), HasSubstr("config.json:2"));
}

TEST_F(BadInput, UnsupportedModel) {
  nlohmann::json config = io::read_json(work_ / "model/config.json");
  config["model_type"] = "lama";
  io::write_json(work_ / "model/config.json", config);
  EXPECT_THAT(failure("quantize --model model --out q --num-bits 2 --group-size 16", 1), HasSubstr("lama"));
}

TEST_F(BadInput, BrokenTokenizer) {
  truncate("model/tokenizer.json", 0.7);
  EXPECT_THAT(failure("generate --model model --prompt hi", 1), HasSubstr("tokenizer.json"));
}

TEST_F(BadInput, CorruptGguf) {
  work_.write("m.gguf", std::string("GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0", 24));
  EXPECT_THAT(failure("convert m.gguf converted", 1), HasSubstr("m.gguf"));
  work_.write("m.gguf", "GGUX");
  EXPECT_THAT(failure("convert m.gguf converted", 1), HasSubstr("m.gguf"));
}

TEST_F(BadInput, EmptyDataSet) {
  work_.write("empty.jsonl", "\n\n");
  change_recipe("{generators: [chain_sums], num_examples: 4}", "{file: empty.jsonl}");
  EXPECT_THAT(failed_run(2, "rtn"), AllOf(HasSubstr("empty.jsonl"), HasSubstr("empty")));
}

TEST_F(BadInput, DataThatIsNotThereOrDoesNotFit) {
  change_recipe("{generators: [chain_sums], num_examples: 4}", "{file: none.jsonl}");
  EXPECT_THAT(work_.run("validate --config recipe.yaml").output,
              HasSubstr("data.train.file: none.jsonl: cannot be opened: no such file"));
  EXPECT_THAT(failed_run(1, "rtn"), HasSubstr("none.jsonl"));
  work_.write("none.jsonl", "{\"question\": \"1+1\"}\n");
  EXPECT_THAT(work_.run("validate --config recipe.yaml").output, HasSubstr("none.jsonl:1"));
  work_.write("none.jsonl", "{\"text\": \"a text\"}\n");
  change_recipe("    max_steps: 2\n    batch_size: 2\n",
                "    max_steps: 2\n  - {id: rl, type: reinforce, model: rtn, data: train, max_steps: 1}\n");
  EXPECT_THAT(work_.run("validate --config recipe.yaml").output,
              HasSubstr("stages.rl: data.train: none.jsonl:1 is plain text, which has no prompt to answer"));
}

TEST_F(BadInput, MalformedRecord) {
  work_.write("data.jsonl", "{\"question\": \"1+1\", \"answer\": \"2\"}\n{\"question\": \"1+\n");
  change_recipe("{generators: [chain_sums], num_examples: 4}", "{file: data.jsonl}");
  EXPECT_THAT(failed_run(1, "kd"), HasSubstr("data.jsonl:2"));
}

TEST_F(BadInput, ExampleOverTheLimit) {
  change_recipe("num_examples: 4}", "num_examples: 4, max_length: 32}");
  EXPECT_THAT(failed_run(1, "kd"), AllOf(HasSubstr("record"), HasSubstr("32")));
}

TEST_F(BadInput, PromptOverTheLimit) {
  EXPECT_THAT(failure(std::string("generate --model model --raw --prompt ").append(600, 'a'), 1),
              AllOf(HasSubstr("600 tokens"), HasSubstr("512")));
}

TEST_F(BadInput, NonFiniteLoss) {
  change_recipe("batch_size: 2",
                "batch_size: 2\n    optimizer: {adamw: {learning_rate: 1.0e+30}}\n    max_grad_norm: 0");
  EXPECT_THAT(failed_run(1, "kd"), AllOf(HasSubstr("step"), ::testing::ContainsRegex("finite|NaN")));
}

TEST_F(BadInput, TokenIds) {
  work_.write("ids.json", "[[1, 2], [3, \"x\"]]");
  EXPECT_THAT(failure("forward --model model --ids ids.json --out l.safetensors", 1), HasSubstr("ids.json"));
  work_.write("ids.json", "[[1, 2], [3, 300]]");
  EXPECT_THAT(failure("forward --model model --ids ids.json --out l.safetensors", 1),
              AllOf(HasSubstr("300"), HasSubstr("259")));
  work_.write("ids.json", "[[1, 2], []]");
  EXPECT_THAT(failure("forward --model model --ids ids.json --out l.safetensors", 1),
              HasSubstr("ids.json: list 2 of 2 is empty; give it at least one token id"));
  work_.write("ids.json", "[]");
  EXPECT_THAT(failure("forward --model model --ids ids.json --out l.safetensors", 1),
              HasSubstr("ids.json: no list of token ids in it"));
  work_.write("ids.json", "[[1, 2]]");
  EXPECT_THAT(failure("forward --model model --ids ids.json --out nodir/l.safetensors", 1),
              HasSubstr("nodir/l.safetensors: cannot create the file: the folder nodir does not exist"));
  work_.write("ids.json", "[[1, 2], [3]]");
  failure("forward --model model --ids ids.json --out l.safetensors", 1);
}

TEST_F(BadInput, NothingToContinue) {
  EXPECT_THAT(failure("generate --model model --raw --prompt ''", 2), HasSubstr("--prompt is empty"));
}

TEST_F(BadInput, InfiniteNumber) {
  change_recipe("batch_size: 2", "batch_size: 2\n    optimizer: {adamw: {learning_rate: .inf}}");
  EXPECT_THAT(failure("validate --config recipe.yaml", 2),
              HasSubstr("learning_rate: expected a finite number, found the number .inf"));
}

TEST_F(BadInput, OutputThatCannotBeWritten) {
  for (const char* words : {"--help", "--version", "train --help", "help"}) {
    const Outcome outcome = work_.run_real(std::string(words) + " > /dev/full");
    EXPECT_EQ(outcome.exit_code, 1) << words;
  }
}

TEST_F(BadInput, EvaluateWantsProblemsFromOnePlace) {
  EXPECT_THAT(failure("evaluate --model model", 2), HasSubstr("either --generators (`rqat list tasks`) or --file"));
  EXPECT_THAT(failure("evaluate --model model --generators comparison --mixture '{a: 1}'", 2),
              HasSubstr("unknown option --mixture"));
}

TEST_F(BadInput, CommandLine) {
  EXPECT_THAT(failure("trian", 2), HasSubstr("did you mean 'train'?"));
  EXPECT_THAT(failure("", 2), HasSubstr("rqat COMMAND"));
  EXPECT_THAT(failure("train --confg recipe.yaml", 2), HasSubstr("did you mean --config?"));
  EXPECT_THAT(failure("train", 2), HasSubstr("missing --config"));
  EXPECT_THAT(failure("quantize --model model --out q --num-bits five", 2),
              AllOf(HasSubstr("--num-bits"), HasSubstr("'five'")));
  EXPECT_THAT(failure("quantize --model model --out q --num-bits", 2), HasSubstr("--num-bits"));
  EXPECT_THAT(failure("quantize --model model --out q --initializer gptw", 2), HasSubstr("did you mean 'gptq'?"));
  EXPECT_THAT(failure("quantize --model model --out q --initializer gptq", 2), HasSubstr("--generators"));
  EXPECT_THAT(failure("convert a b c", 2), HasSubstr("c"));
  EXPECT_THAT(failure("env --quiet --verbose", 2), HasSubstr("exclude"));
  EXPECT_THAT(failure("--threads 2", 2), HasSubstr("a command is missing before or after '--threads'"));
  EXPECT_THAT(failure("launch --nproc-per-node 2 -- evaluate --model model", 2),
              HasSubstr("runs `train`, got 'evaluate'"));
  EXPECT_THAT(failure("launch --nproc-per-node 2", 2), HasSubstr("missing COMMAND (what every rank runs"));
  EXPECT_THAT(failure("launch --nproc-per-node 2 -- train", 2), HasSubstr("missing --config RECIPE"));
  EXPECT_THAT(failure("launch --standalone --nnodes 2 -- train --config recipe.yaml", 2), HasSubstr("is one host"));
  EXPECT_THAT(failure("launch --nproc-per-node 2 train --config recipe.yaml", 2),
              HasSubstr("stand behind it and `--`: rqat launch --nproc-per-node 2 -- train"));
}

TEST_F(BadInput, RealProgramExitsAsItSays) {
  ASSERT_TRUE(fs::exists(program_path())) << program_path() << " is missing: build target rqat, or set RQAT_BIN";
  const Outcome usage = work_.run_real("trian"), failed = work_.run_real("inspect gone"),
                done = work_.run_real("--version");
  EXPECT_EQ(usage.exit_code, 2);
  EXPECT_THAT(usage.output, HasSubstr("rqat: error: unknown command 'trian'"));
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.output, HasSubstr("rqat: error: gone: no such"));
  EXPECT_EQ(done.exit_code, 0);
}

TEST_F(BadInput, MissingModel) {
  EXPECT_THAT(failure("generate --model gone --prompt hi", 1), HasSubstr("gone"));
  EXPECT_THAT(failure("inspect gone", 1), HasSubstr("gone"));
  EXPECT_THAT(failure("generate --model models --prompt hi", 1), HasSubstr("did you mean 'model'?"));
  EXPECT_THAT(failure("generate --model Qwen/Qwen3-0.6B --prompt hi", 1),
              HasSubstr("`hf download Qwen/Qwen3-0.6B --local-dir models/Qwen3-0.6B`"));
  work_.write("notes/readme.txt", "mine");
  EXPECT_THAT(failure("generate --model notes --prompt hi", 1), HasSubstr("holds no config.json"));
  EXPECT_THAT(failure("generate --model notes/readme.txt --prompt hi", 1), HasSubstr("is a file, but not a .gguf"));
}

TEST_F(BadInput, OutputThatIsTaken) {
  work_.write("notes/readme.txt", "mine");
  EXPECT_THAT(failure("quantize --model model --out notes", 2), HasSubstr("not empty"));
  EXPECT_THAT(failure("quantize --model model --out notes --overwrite", 2),
              HasSubstr("other things than this command writes"));
  EXPECT_THAT(failure("quantize --model model --out model --overwrite", 2), HasSubstr("which the command reads"));
  EXPECT_THAT(failure("evaluate --model model --generators comparison --out model --overwrite", 2),
              HasSubstr("which the command reads"));
  EXPECT_THAT(failure("quantize --model model --out recipe.yaml", 2), HasSubstr("is a file"));
}

}  // namespace
}  // namespace rqat::cli
