#include "rqat/pipeline/runner.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "cli/tiny_model.h"
#include "pipeline/recipe_text.h"
#include "rqat/base/files.h"
#include "rqat/base/log.h"
#include "rqat/base/progress.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/model_folder.h"

namespace rqat::pipeline {
namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

constexpr const char* kRecipe = R"(seed: 3
device: cpu
models:
  base: {path: MODEL}
quant:
  w4: {num_bits: 4, group_size: 16}
data:
  train: {generators: [chain_sums], num_examples: 4, max_length: 1024}
  heldout: {generators: [chain_sums], split: test, num_examples: 2, max_length: 1024}
output_dir: OUT
stages:
  - {id: rtn, type: quantize, model: base, quant: w4, initializer: rtn}
  - {id: kd, type: train, model: rtn, teacher: base, data: train, objective: kl_forward, max_steps: 1, batch_size: 2}
  - {id: sft, type: train, model: base, data: train, max_steps: 1, batch_size: 2}
  - {id: scores, type: evaluate, models: [base, rtn, kd], teacher: base, tasks: heldout, sampling: {max_new_tokens: 2}}
)";

class Runner : public testing::Test {
 protected:
  static void SetUpTestSuite() { base::set_log_level(base::LogLevel::kError); }
  static void TearDownTestSuite() { base::set_log_level(base::LogLevel::kInfo); }

  Runner() {
    cli::TinyModelConfig tiny;
    tiny.out = (folder_.path() / "tiny").string();
    tiny.dtype = "float32";
    tiny.hidden_size = 16;
    tiny.intermediate_size = 32;
    tiny.num_layers = 1;
    tiny.num_heads = 2;
    tiny.num_key_value_heads = 1;
    cli::write_tiny_model(tiny);
    std::string text = kRecipe;
    text = base::replace_all(text, "MODEL", tiny.out);
    file_ = folder_.write("recipe.yaml", base::replace_all(text, "OUT", out().string()));
  }

  fs::path out() const { return folder_.path() / "run"; }
  void run(const std::vector<std::string>& overrides = {}, const RunOptions& options = {}) {
    run_recipe(load_recipe(file_, overrides), options);
  }
  json stamp(const std::string& id) const { return io::read_json(out() / id / "stage.json"); }

  /// Stages that ran since the last call, told by the marks that this call leaves in their stage.json.
  std::set<std::string> ran() {
    std::set<std::string> ids;
    for (const char* id : {"base", "rtn", "kd", "sft", "scores"}) {
      const fs::path file = out() / id / "stage.json";
      if (!fs::exists(file)) continue;
      json stage = io::read_json(file);
      if (stage.contains("seen")) continue;
      ids.insert(id);
      stage["seen"] = true;
      io::write_json(file, stage);
    }
    return ids;
  }
  /// The same for rows of the evaluation.
  std::set<std::string> measured() {
    std::set<std::string> ids;
    for (const char* id : {"base", "rtn", "kd"}) {
      const fs::path file = out() / "scores" / cat("model_", id, ".json");
      if (!fs::exists(file)) continue;
      json row = io::read_json(file);
      if (row.contains("seen")) continue;
      ids.insert(id);
      row["seen"] = true;
      io::write_json(file, row);
    }
    return ids;
  }
  using Ids = std::set<std::string>;

  RecipeFolder folder_;
  fs::path file_;
};

TEST_F(Runner, RunsOnceThenKeepsWhatIsUnchanged) {
  run();
  EXPECT_EQ(ran(), (Ids{"rtn", "kd", "sft", "scores"}));
  EXPECT_EQ(measured(), (Ids{"base", "rtn", "kd"}));
  for (const char* file : {"recipe.yaml", "run.json", "report.html", "rtn/model.safetensors", "rtn/rqat_quant.json",
                           "rtn/rqat_state.safetensors", "kd/metrics.jsonl", "kd/config.json", "kd/tokenizer.json",
                           "scores/results.json"}) {
    EXPECT_TRUE(fs::exists(out() / file)) << file;
  }
  const json kd = stamp("kd");
  EXPECT_TRUE(kd.at("finished"));
  EXPECT_EQ(kd.at("makes"), "model");
  EXPECT_EQ(kd.at("inputs").at("rtn"), stamp("rtn").at("fingerprint"));
  EXPECT_TRUE(io::read_json(out() / "run.json").at("finished"));
  run();
  EXPECT_EQ(ran(), Ids{});
  EXPECT_EQ(measured(), Ids{});
  // The resolved recipe is a recipe of the same run.
  run_recipe(load_recipe(out() / "recipe.yaml"), {});
  EXPECT_EQ(ran(), Ids{});
}

TEST_F(Runner, ChangedSettingRunsThatStageAndWhatDependsOnIt) {
  run();
  ran();
  measured();
  run({"stages.kd.optimizer.adamw.learning_rate=0.01"});
  EXPECT_EQ(ran(), (Ids{"kd", "scores"}));
  EXPECT_EQ(measured(), Ids{"kd"}) << "rows of models that did not change are kept";
  run({"stages.kd.optimizer.adamw.learning_rate=0.01", "quant.w4.num_bits=3"});
  EXPECT_EQ(ran(), (Ids{"rtn", "kd", "scores"}));
  EXPECT_EQ(measured(), (Ids{"rtn", "kd"}));
  run({"stages.kd.optimizer.adamw.learning_rate=0.01", "quant.w4.num_bits=3", "data.heldout.num_examples=3"});
  EXPECT_EQ(ran(), Ids{"scores"});
  EXPECT_EQ(measured(), (Ids{"base", "rtn", "kd"}));
}

TEST_F(Runner, ChangedModelOrSeedRunsEverything) {
  run();
  ran();
  run({"seed=4"});
  EXPECT_EQ(ran(), (Ids{"rtn", "kd", "sft", "scores"}));
  json config = io::read_json(folder_.path() / "tiny" / "generation_config.json");
  config["temperature"] = 0.5;
  io::write_json(folder_.path() / "tiny" / "generation_config.json", config);
  run({"seed=4"});
  EXPECT_EQ(ran(), (Ids{"rtn", "kd", "sft", "scores"}));
}

TEST_F(Runner, ChangedDataFilesRunWhatReadsThem) {
  const auto write = [&](const std::string& answer) {
    return folder_.write("words.jsonl", "{\"prompt\": \"say\", \"completion\": \"" + answer + "\"}\n").string();
  };
  const std::vector<std::string> from_file{"~data.train.generators", "+data.train.file=" + write("yes"),
                                           "~data.train.num_examples"};
  run(from_file);
  ran();
  run(from_file);
  EXPECT_EQ(ran(), Ids{});
  write("yes");  // the same again
  run(from_file);
  EXPECT_EQ(ran(), Ids{});
  write("no");
  run(from_file);
  EXPECT_EQ(ran(), (Ids{"kd", "sft", "scores"}));
  // A file that is gone stops the run before any stage is touched.
  fs::remove(folder_.path() / "words.jsonl");
  EXPECT_THROW(run(from_file), base::IoError);
  EXPECT_TRUE(fs::exists(out() / "kd" / "stage.json"));
}

TEST_F(Runner, FoldersOfOthersAreNotReplaced) {
  const fs::path mine = folder_.write("run/kd/notes.txt", "mine");
  folder_.write("run/data.partial/notes.txt", "mine");
  const std::string text = message_of<base::ConfigError>([&] { run(); });
  expect_contains(text, "' holds files that no run wrote, and 'kd' would replace them; choose another output_dir");
  EXPECT_FALSE(fs::exists(out() / "run.json"));
  fs::remove(mine);
  run();
  run({"stages.kd.max_steps=2"});
  EXPECT_TRUE(fs::exists(out() / "data.partial/notes.txt"));
  // Rows of a table that was never finished are a run's own.
  fs::remove(out() / "scores" / "stage.json");
  EXPECT_NO_THROW(run({"stages.kd.max_steps=2"}));
}

TEST_F(Runner, FailedStageLeavesNoStampAndTheRestResumes) {
  const std::string text = message_of<base::DataError>([&] { run({"data.train.max_length=20"}); });
  expect_contains(text, "max_length is 20");
  EXPECT_EQ(ran(), Ids{"rtn"});
  EXPECT_FALSE(fs::exists(out() / "kd" / "stage.json"));
  EXPECT_FALSE(fs::exists(out() / "kd" / "model.safetensors"));
  EXPECT_FALSE(io::read_json(out() / "run.json").at("finished"));
  run();
  EXPECT_EQ(ran(), (Ids{"kd", "sft", "scores"}));
}

TEST_F(Runner, OnlySomeStages) {
  expect_contains(message_of<base::ConfigError>([&] {
                    run({}, {false, {"kd"}});
                  }),
                  "stage kd reads 'rtn', which has not run yet");
  run({}, {false, {"rtn"}});
  EXPECT_EQ(ran(), Ids{"rtn"});
  run({}, {false, {"kd"}});
  EXPECT_EQ(ran(), Ids{"kd"});
  EXPECT_EQ(measured(), Ids{});
  run();
  EXPECT_EQ(ran(), (Ids{"sft", "scores"}));
}

TEST_F(Runner, OnlyWarnsOfStaleInputsAndSaysWhy) {
  run();
  const auto warnings = [&](const std::vector<std::string>& overrides, const std::vector<std::string>& only) {
    base::set_log_level(base::LogLevel::kWarning);
    testing::internal::CaptureStderr();
    run(overrides, {true, only});
    base::set_log_level(base::LogLevel::kError);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(warnings({}, {"kd"}).find("stale"), std::string::npos);
  expect_contains(warnings({"quant.w4.num_bits=3"}, {"kd"}),
                  "stage kd reads 'rtn' as it is on disk, although it is stale: its settings have changed since: "
                  "was `num_bits: 4`, is `num_bits: 3`");
  expect_contains(warnings({"seed=4"}, {"kd"}), "'rtn' as it is on disk, although it is stale: the recipe's seed");
  // kd is made from an rtn that is stale itself, then from one that is not there any more.
  run({}, {true, {"kd"}});
  const std::string through = warnings({"quant.w4.num_bits=3"}, {"scores"});
  expect_contains(through, "stage scores reads 'rtn' as it is on disk, although it is stale: its settings");
  expect_contains(through,
                  "stage scores reads 'kd' as it is on disk, although it is stale: its input 'rtn' is stale: ");
  run({"quant.w4.num_bits=3"}, {false, {"rtn"}});
  expect_contains(warnings({"quant.w4.num_bits=3"}, {"scores"}), "its input 'rtn' has changed since");
}

TEST_F(Runner, ForceRunsAndMeasuresEverythingAgain) {
  run();
  ran();
  measured();
  run({}, {true, {}});
  EXPECT_EQ(ran(), (Ids{"rtn", "kd", "sft", "scores"}));
  EXPECT_EQ(measured(), (Ids{"base", "rtn", "kd"}));
}

TEST_F(Runner, SourceInAnotherTypeIsConverted) {
  run({"models.base.dtype=bfloat16"}, {false, {"sft"}});
  EXPECT_EQ(ran(), (Ids{"base", "sft"}));
  EXPECT_EQ(io::read_json(out() / "sft" / "config.json").at("torch_dtype"), "bfloat16");
  EXPECT_EQ(io::read_json(folder_.path() / "tiny" / "config.json").at("torch_dtype"), "float32")
      << "the source stays as it was";
  run({"models.base.dtype=bfloat16"}, {false, {"sft"}});
  EXPECT_EQ(ran(), Ids{});
  run({"models.base.dtype=float32"}, {false, {"sft"}});
  EXPECT_EQ(ran(), (Ids{"base", "sft"}));
  EXPECT_EQ(io::read_json(out() / "sft" / "config.json").at("torch_dtype"), "float32");
}

/// Codes of a stage folder, as one list.
std::vector<uint8_t> stored_codes(const fs::path& folder) {
  const io::SafetensorsReader reader(folder / kStateFile);
  std::vector<uint8_t> codes;
  for (const auto& [name, info] : reader.tensors()) {
    if (!name.ends_with("weight_packed")) continue;
    const at::Tensor words = reader.read(name);
    for (int64_t row = 0; row < words.size(0); ++row) {
      for (int64_t word = 0; word < words.size(1); ++word) {
        const auto bits = static_cast<uint32_t>(words[row][word].item<int32_t>());
        for (int shift = 0; shift < 32; shift += 4) codes.push_back(bits >> shift & 15);  // widths are multiples of 8
      }
    }
  }
  return codes;
}

TEST_F(Runner, ChangedCodesAreCountedByStepAndByStage) {
  for (const int steps : {1, 3}) {
    run({"stages.kd.optimizer.adamw.learning_rate=0.02", cat("stages.kd.max_steps=", steps)}, {false, {"rtn", "kd"}});
    const std::vector<uint8_t> before = stored_codes(out() / "rtn"), after = stored_codes(out() / "kd");
    ASSERT_EQ(before.size(), after.size());
    ASSERT_GT(before.size(), 1000u);
    double changed = 0;
    for (size_t i = 0; i < before.size(); ++i) changed += before[i] != after[i];
    ASSERT_GT(changed, 0);
    EXPECT_DOUBLE_EQ(stamp("kd").at("summary").at("codes_changed").get<double>(),
                     changed / static_cast<double>(before.size()));
    double by_step = 0;
    for (const std::string& line : base::split(base::trim(base::read_file(out() / "kd" / "metrics.jsonl")), '\n'))
      by_step += json::parse(line).at("codes_flipped").get<double>();
    const double by_stage = changed / static_cast<double>(before.size());
    if (steps == 1) {
      EXPECT_DOUBLE_EQ(by_step, by_stage);
    } else {
      EXPECT_GE(by_step, by_stage) << "some flip back";
    }
    const std::string page = base::read_file(out() / "report.html");
    expect_contains(page, " codes changed");
  }
  run({}, {false, {"sft"}});
  EXPECT_FALSE(stamp("sft").at("summary").contains("codes_changed"));
  EXPECT_EQ(base::read_file(out() / "sft" / "metrics.jsonl").find("codes_flipped"), std::string::npos);
}

TEST_F(Runner, MissingSource) {
  expect_contains(message_of<base::ConfigError>([&] { run({"models.base.path=/no/such/model"}); }),
                  "models.base.path: '/no/such/model' does not exist");
}

TEST_F(Runner, QuantizedModelIsNotQuantisedTwice) {
  const auto file =
      folder_.write("twice.yaml", base::read_file(file_) +
                                      "  - {id: again, type: quantize, model: rtn, quant: w4, initializer: rtn}\n");
  expect_contains(message_of<base::ConfigError>([&] { run_recipe(load_recipe(file), {}); }),
                  "stage again: model 'rtn' is quantized already");
}

TEST_F(Runner, SameRunTwiceGivesTheSameWeights) {
  run();
  const std::string first = base::content_hash(out() / "kd" / "model.safetensors");
  run({}, {true, {}});
  EXPECT_EQ(base::content_hash(out() / "kd" / "model.safetensors"), first);
}

TEST(PickDevice, NamesOfDevicesAndTypes) {
  EXPECT_EQ(pick_device("cpu"), at::Device(at::kCPU));
  EXPECT_THROW(pick_device("tpu"), base::ConfigError);
  if (!at::hasCUDA()) {
    EXPECT_EQ(pick_device("auto"), at::Device(at::kCPU));
    EXPECT_THROW(pick_device("cuda"), base::ConfigError);
  }
  EXPECT_EQ(dtype_by_name("bfloat16"), at::kBFloat16);
  EXPECT_EQ(dtype_by_name("float32"), at::kFloat);
  EXPECT_THROW(dtype_by_name("float16"), base::ConfigError);
}

}  // namespace
}  // namespace rqat::pipeline
