// rqat export and the import of what others quantized, as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "program.h"
#include "rqat/io/json_file.h"

namespace rqat::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// A model, and one of 4 symmetric bits made of it.
const Workplace& workplace() {
  static const Workplace work;
  static const bool made = [] {
    TinyModelConfig config;
    config.out = (work / "model").string();
    write_tiny_model(config);
    return work.run("quantize --model model --out w4 --num-bits 4 --group-size 32 --symmetric").exit_code == 0;
  }();
  EXPECT_TRUE(made);
  return work;
}

std::string success(const std::string& arguments) {
  const Outcome outcome = workplace().run(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << arguments << "\n" << outcome.output;
  return outcome.output;
}

TEST(ExportCommand, PrintsLayersCommandAndComparison) {
  const std::string text = success("export --model w4 --format gptq --out gptq");
  const std::string columns_one_space_apart = std::regex_replace(text, std::regex(" +"), " ");
  EXPECT_THAT(columns_one_space_apart,
              AllOf(HasSubstr("model.layers.*.mlp.down_proj 2 w4_g32_sym GPTQ v1"), HasSubstr("codes equal"),
                    HasSubstr("serve with: vllm serve gptq --dtype float16"), HasSubstr("note: compute in float16")));
}

TEST(ExportCommand, GgufIsOneFileThatCommandsTake) {
  EXPECT_THAT(success("export --model w4 --format gguf --out gguf --check-engine llama.cpp"),
              AllOf(HasSubstr("Q4_0"), HasSubstr("serve with: llama-server -m gguf/model.gguf")));
  EXPECT_THAT(success("inspect gguf/model.gguf --filter ffn_up"), HasSubstr("Q4_0"));
  success("generate --model gguf/model.gguf --prompt hi --max-new-tokens 2");
  success("export --model w4 --format gguf --out gguf --overwrite");
}

TEST(ExportCommand, AnswersForAnEngineWithoutWriting) {
  const auto before = workplace().listing();
  EXPECT_THAT(success("export --model w4 --format awq --check-engine sglang"),
              HasSubstr("sglang loads awq of this model"));
  const Outcome refused = workplace().run("export --model w4 --format awq --check-engine mlx");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("mlx cannot serve this model as awq"), HasSubstr("export as mlx")));
  EXPECT_EQ(workplace().run("export --model w4 --format gguf --check-engine vllm --out no").exit_code, 2);
  EXPECT_EQ(workplace().listing(), before);
}

TEST(ExportCommand, WantsAPlaceOrAQuestion) {
  EXPECT_THAT(workplace().run("export --model w4 --format awq").output, HasSubstr("--out is missing"));
  EXPECT_THAT(workplace().run("export --model w4 --format awq --check-engine ollama").output,
              HasSubstr("unknown engine 'ollama'"));
}

TEST(ExportCommand, WhatOthersQuantizedIsAStartingPoint) {
  success("export --model w4 --format gptq --out theirs --overwrite");
  success("convert theirs ours --dtype float32");
  EXPECT_THAT(success("inspect ours --filter q_proj"), HasSubstr("w4_g32_sym"));
  EXPECT_THAT(success("export --model theirs --format compressed_tensors --out again"), HasSubstr("codes equal"));
  EXPECT_EQ(workplace().read("ours/rqat_state.safetensors"), workplace().read("w4/rqat_state.safetensors"));
  workplace().write("from_theirs.yaml",
                    "name: t\noutput_dir: t\nmodels: {base: {path: theirs}}\n"
                    "stages:\n  - {id: files, type: export, model: base, formats: [awq, mlx, gptq]}\n");
  EXPECT_THAT(success("validate --config from_theirs.yaml"), HasSubstr("14 linears"));
  success("train --config from_theirs.yaml --quiet");
  EXPECT_EQ(workplace().read("t/files/gptq/model.safetensors").size(),
            workplace().read("theirs/model.safetensors").size());
}

TEST(ConvertCommand, SaysWhyThereIsNothingToConvert) {
  const auto failure = [](const std::string& input) {
    const Outcome outcome = workplace().run("convert " + input + " converted");
    EXPECT_NE(outcome.exit_code, 0);
    return outcome.output;
  };
  EXPECT_THAT(failure("model"), HasSubstr("model: holds plain safetensors weights"));
  success("export --model w4 --format mlx --out of_mlx");
  EXPECT_THAT(failure("of_mlx"), HasSubstr("is quantized by MLX, which is not read"));
  workplace().write("pytorch_model.bin", "pickled");
  EXPECT_THAT(failure("pytorch_model.bin"), HasSubstr("pytorch_model.bin: pickled weights are not read"));
  EXPECT_THAT(failure("absent"), HasSubstr("no such file or folder"));
}

TEST(InspectCommand, ReadsFoldersOfOthers) {
  for (const char* format : {"gptq", "awq", "compressed_tensors"}) {
    success(std::string("export --model w4 --out inspected --overwrite --format ") + format);
    const std::string text = std::regex_replace(success("inspect inspected"), std::regex(" +"), " ");
    EXPECT_THAT(text, AllOf(HasSubstr("model.layers.1.mlp.down_proj w4_g32"), HasSubstr("8..8, mean 8.00"),
                            HasSubstr("model.layers.1.input_layernorm.weight bfloat16")))
        << format;
  }
  // A weight file without its configuration: the layers that were packed, at the shape that they tell.
  const std::string file = std::regex_replace(success("inspect inspected/model.safetensors"), std::regex(" +"), " ");
  EXPECT_THAT(file, AllOf(HasSubstr("model.layers.1.mlp.down_proj pack-quantized"),
                          HasSubstr("model.layers.1.input_layernorm.weight bfloat16"),
                          ::testing::Not(HasSubstr("weight_packed"))));
}

std::string recipe(const std::string& formats, const std::string& engine, const std::string& quant = "num_bits: 2") {
  return "models: {base: {path: model}}\nquant: {q: {" + quant +
         ", group_size: 32}}\nstages:\n"
         "  - {id: rtn, type: quantize, model: base, quant: q, initializer: rtn}\n"
         "  - {id: files, type: export, model: rtn, formats: [" +
         formats + "], target_engine: " + engine + "}\n";
}

TEST(TargetEngine, RefusesARecipeBeforeItRuns) {
  const auto outcome = [](const std::string& text) {
    workplace().write("engine.yaml", text);
    return workplace().run("validate --config engine.yaml");
  };
  EXPECT_EQ(outcome(recipe("gguf", "llama.cpp")).exit_code, 0);
  EXPECT_EQ(outcome(recipe("compressed_tensors", "any")).exit_code, 0);
  const Outcome refused = outcome(recipe("compressed_tensors", "vllm"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output,
              AllOf(HasSubstr("engine.yaml:"), HasSubstr("stages.files: target_engine vllm cannot load"),
                    HasSubstr("vLLM refuses asymmetric 2 and 3 bits")));
  EXPECT_THAT(outcome(recipe("gguf", "mlx")).output, HasSubstr("target_engine mlx cannot load format gguf"));
  EXPECT_THAT(outcome(recipe("awq", "vllm")).output,
              AllOf(HasSubstr("format awq cannot hold the model"), HasSubstr("AWQ holds 4 bits, not 2")));
  EXPECT_THAT(outcome(recipe("gguf", "ollama")).output, HasSubstr("target_engine"));
  EXPECT_EQ(outcome(recipe("awq", "vllm", "num_bits: 4")).exit_code, 0);
}

/// An order of the inputs that an initializer will give, and one that is there.
TEST(TargetEngine, KnowsOfActOrderBeforeARecipeRuns) {
  const auto outcome = [](const std::string& format, const std::string& settings) {
    workplace().write("order.yaml",
                      "name: o\noutput_dir: o\nmodels: {base: {path: model}}\n"
                      "quant: {q: {num_bits: 4, group_size: 32, symmetric: true}}\n"
                      "data: {d: {generators: [comparison], split: train, num_examples: 4}}\nstages:\n"
                      "  - {id: ptq, type: quantize, model: base, quant: q, initializer: {gptq: {" +
                          settings +
                          "}}, calibration: {data: d}}\n"
                          "  - {id: files, type: export, model: ptq, formats: [" +
                          format + "]}\n");
    return workplace().run("validate --config order.yaml");
  };
  EXPECT_THAT(outcome("awq", "static_groups: false").output,
              AllOf(HasSubstr("stages.files: format awq cannot hold the model"), HasSubstr("act-order"),
                    HasSubstr("export as gptq or hf_dequantized")));
  EXPECT_EQ(outcome("gptq", "static_groups: false").exit_code, 0);
  EXPECT_EQ(outcome("awq", "static_groups: true").exit_code, 0);

  success(
      "train --config order.yaml --quiet stages.ptq.initializer.gptq.static_groups=false stages.files.formats=[gptq]");
  EXPECT_THAT(success("inspect o/ptq --filter q_proj"), HasSubstr("w4_g32_sym_act_order"));
  EXPECT_THAT(success("inspect o/files/gptq --filter q_proj"), HasSubstr("w4_g32_sym_act_order"));
  success("convert o/files/gptq from_order --dtype float32");
  const Outcome refused = workplace().run("export --model from_order --format gguf --out refused");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.output, HasSubstr("act-order"));
}

TEST(TargetEngine, IsInTheReport) {
  workplace().write("report.yaml",
                    "name: r\noutput_dir: r\n" + recipe("gptq, awq", "sglang", "num_bits: 4, symmetric: true"));
  success("train --config report.yaml --quiet");
  const nlohmann::json report = io::read_json(workplace() / "r/files/export_report.json");
  EXPECT_THAT(report["gptq"]["serve_command"].get<std::string>(), HasSubstr("sglang.launch_server"));
  EXPECT_EQ(report["awq"]["layers"].size(), 14u);
  EXPECT_EQ(report["awq"]["layers"][0]["stored_as"], "AWQ");
  EXPECT_EQ(report["awq"]["max_weight_difference"], 0);
}

}  // namespace
}  // namespace rqat::cli
