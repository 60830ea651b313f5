// `rqat bench` on a small model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/benchmarks.h"
#include "cli/peak_memory.h"
#include "program.h"
#include "rqat/io/json_file.h"

namespace rqat::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Workplace& workplace() {
  static const Workplace work;
  static const bool made = (write_small_model(work / "model"), true);
  (void)made;
  return work;
}

Outcome bench(const std::string& arguments) {
  return workplace().run("bench " + arguments + " --quiet --repeats 2 --group-size 16");
}

nlohmann::json measured(const std::string& arguments) {
  const Outcome outcome = bench(arguments + " --json");
  EXPECT_EQ(outcome.exit_code, 0) << arguments << "\n" << outcome.output;
  EXPECT_EQ(outcome.output.find('\n'), outcome.output.size() - 1) << "one line";
  return io::parse_json(outcome.output, arguments);
}

TEST(Benchmarks, TableOfEachKind) {
  for (const char* name : {"load", "sft_step", "kd_step", "generate", "gptq"}) {
    const Outcome outcome = bench(std::string(name) + " --model model --batch-size 2 --max-new-tokens 4");
    EXPECT_THAT(outcome.output, AllOf(HasSubstr(std::string(name) + "  "), HasSubstr("peak memory: "))) << name;
  }
}

TEST(Benchmarks, FixedSequencesMakeTheNumberOfTokensExact) {
  for (const char* name : {"sft_step", "kd_step", "gptq"}) {
    const nlohmann::json json = measured(
        std::string(name) + " --model model --batch-size 3 --sequence-length 20 --max-tokens-per-micro-batch 40");
    ASSERT_EQ(json["series"].size(), 1u) << name;
    const nlohmann::json& series = json["series"][0];
    EXPECT_EQ(series["amount"], 60) << name;
    EXPECT_EQ(series["unit"], "tokens");
    EXPECT_EQ(series["repeats"], 2);
    EXPECT_NEAR(series["per_second"].get<double>() * series["median_seconds"].get<double>(), 60, 1e-6);
    EXPECT_LE(series["p10_seconds"], series["median_seconds"]);
    EXPECT_LE(series["median_seconds"], series["p90_seconds"]);
    EXPECT_GT(json["peak_memory_bytes"], 1 << 20);
    EXPECT_GE(json["threads"], 1);
  }
}

TEST(Benchmarks, GenerationDrawsAllTokensAskedFor) {
  const nlohmann::json json = measured("generate --model model --batch-size 3 --sequence-length 8 --max-new-tokens 5");
  EXPECT_EQ(json["series"][0]["amount"], 15);
  EXPECT_THAT(json["what"].get<std::string>(), HasSubstr("24 tokens"));
}

TEST(Benchmarks, QatStepIsTimedInTurnsWithAPlainOne) {
  const nlohmann::json json = measured("qat_step --model model --batch-size 2 --sequence-length 16");
  ASSERT_EQ(json["series"].size(), 2u);
  EXPECT_EQ(json["series"][0]["name"], "qat_step");
  EXPECT_EQ(json["series"][1]["name"], "sft_step");
  EXPECT_EQ(json["series"][0]["repeats"], 2);
  EXPECT_EQ(json["series"][0]["amount"], json["series"][1]["amount"]);
  EXPECT_THAT(bench("qat_step --model model --batch-size 2").output, HasSubstr("of a full-precision one"));
}

TEST(Benchmarks, LoadHasNoTokens) {
  const nlohmann::json json = measured("load --model model");
  EXPECT_FALSE(json["series"][0].contains("per_second"));
  EXPECT_EQ(json["series"][0]["repeats"], 2);
}

TEST(Benchmarks, SequencesFromAFile) {
  workplace().write("sequences.json", "[[1, 2, 3, 4], [5, 6, 7, 8, 9, 10]]");
  const nlohmann::json whole = measured("gptq --model model --ids sequences.json --batch-size 3");
  EXPECT_EQ(whole["series"][0]["amount"], 4 + 6 + 4);  // the third is the first again
  const nlohmann::json cut = measured("gptq --model model --ids sequences.json --batch-size 2 --sequence-length 4");
  EXPECT_EQ(cut["series"][0]["amount"], 8);
  const auto fault = [](const std::string& ids, const std::string& options) {
    workplace().write("faulty.json", ids);
    const Outcome outcome = bench("sft_step --model model --ids faulty.json " + options);
    EXPECT_EQ(outcome.exit_code, 1);
    return outcome.output;
  };
  EXPECT_THAT(fault("[[1, 2], [3]]", "--sequence-length 2"), HasSubstr("list 1 holds 1 ids; at least 2 are needed"));
  EXPECT_THAT(fault("[[1, 2], []]", ""), HasSubstr("faulty.json: list 2 of 2 is empty"));
  EXPECT_THAT(fault("[]", ""), HasSubstr("faulty.json: no list of token ids in it"));
  EXPECT_THAT(fault("[[1, 259]]", ""), HasSubstr("outside the vocabulary of 259"));
}

TEST(Benchmarks, NeedAFullPrecisionModel) {
  EXPECT_THAT(bench("kd_step").output, HasSubstr("benchmark kd_step needs a model"));
  EXPECT_EQ(bench("kd_step").exit_code, 2);
  ASSERT_EQ(workplace().run("quantize --model model --out w2 --num-bits 2 --group-size 16").exit_code, 0);
  const Outcome outcome = bench("load --model w2");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("w2: is quantized"));
}

TEST(Benchmarks, QuantilesInterpolate) {
  EXPECT_DOUBLE_EQ(quantile({3}, 0.9), 3);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 2, 3}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({0, 10}, 0.1), 1);
  EXPECT_DOUBLE_EQ(quantile({5, 1}, 1), 5);
}

TEST(Benchmarks, PeakMemoryForgetsWhatWasFreedBefore) {
  constexpr size_t kBytes = size_t{64} << 20;
  { const std::vector<char> freed(4 * kBytes, 1); }
  const PeakMemory peak;
  const int64_t before = peak.bytes();
  { const std::vector<char> held(kBytes, 1); }
  EXPECT_GE(peak.bytes() - before, static_cast<int64_t>(kBytes / 2));
  EXPECT_LT(peak.bytes() - before, static_cast<int64_t>(2 * kBytes));
}

TEST(BenchmarksSlow, MachineNeedsNoModel) {
  const nlohmann::json json = measured("machine");
  ASSERT_EQ(json["series"].size(), 3u);
  EXPECT_EQ(json["series"][0]["unit"], "GFLOP");
  EXPECT_EQ(json["series"][2]["unit"], "GB");
}

}  // namespace
}  // namespace rqat::cli
