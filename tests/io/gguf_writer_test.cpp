#include "rqat/io/gguf_writer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "support/messages.h"
#include "temporary_folder.h"

namespace rqat::io {
namespace {

using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

at::Tensor bytes_of(const at::Tensor& tensor) { return tensor.contiguous().view({-1}).view(at::kByte); }

class GgufWriter : public ::testing::Test {
 protected:
  std::string failure(const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors,
                      const at::Tensor& data = at::zeros({4}, at::kByte)) {
    return message_of<base::IoError>(
        [&] { write_gguf(file_, metadata, tensors, [&](const std::string&) { return data; }); });
  }
  TemporaryFolder folder_;
  std::filesystem::path file_ = folder_.path() / "m.gguf";
};

TEST_F(GgufWriter, ReadsBackEqual) {
  const GgufMetadata metadata{{"general.architecture", std::string("llama")},
                              {"llama.block_count", int64_t{4000000000}},
                              {"llama.eps", 1e-5},
                              {"flag", true},
                              {"types", std::vector<int64_t>{1, -3, 2}},
                              {"scores", std::vector<double>{0.5, -1}},
                              {"tokens", std::vector<std::string>{"a", "",
                                                                  "\xc4\xa0"
                                                                  "b"}},
                              {"none", std::vector<std::string>{}}};
  const at::Tensor odd = at::arange(7, at::kFloat), matrix = at::randn({3, 5}).to(at::kHalf);
  const std::map<std::string, at::Tensor> data{{"odd", bytes_of(odd)}, {"matrix", bytes_of(matrix)}};
  write_gguf(file_, metadata, {{"odd", 0, {7}, 28}, {"matrix", 1, {3, 5}, 30}},
             [&](const std::string& name) { return data.at(name); });
  const GgufReader reader(file_);
  EXPECT_EQ(reader.text("general.architecture"), "llama");
  EXPECT_EQ(reader.integer("llama.block_count"), 4000000000);
  EXPECT_EQ(reader.number("llama.eps"), static_cast<double>(1e-5f));
  EXPECT_EQ(std::get<bool>(reader.metadata().at("flag")), true);
  EXPECT_THAT(reader.integers("types"), ElementsAre(1, -3, 2));
  EXPECT_THAT(reader.numbers("scores"), ElementsAre(0.5, -1));
  EXPECT_THAT(reader.texts("tokens"), ElementsAre("a", "",
                                                  "\xc4\xa0"
                                                  "b"));
  EXPECT_TRUE(reader.texts("none").empty());
  EXPECT_TRUE(at::equal(reader.read("odd"), odd));
  EXPECT_TRUE(at::equal(reader.read("matrix"), matrix.to(at::kFloat)));
  EXPECT_EQ(reader.tensors().at("matrix").shape, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(reader.tensors().at("matrix").offset, 32);  // 28 bytes, padded
  EXPECT_EQ(std::filesystem::file_size(file_) % 32, 0u);
  EXPECT_EQ(reader.raw("odd", 28)[4 * 3 + 2], 0x40);  // 3.0f = 0x40400000
}

TEST_F(GgufWriter, RawStaysInsideTheFile) {
  write_gguf(file_, {}, {{"t", 0, {1}, 4}}, [](const std::string&) { return at::zeros({4}, at::kByte); });
  const GgufReader reader(file_);
  EXPECT_THAT(message_of<base::IoError>([&] { reader.raw("t", 33); }), HasSubstr("beyond the end"));
  EXPECT_THAT(message_of<base::IoError>([&] { reader.raw("u", 1); }), HasSubstr("has no tensor 'u'"));
}

TEST_F(GgufWriter, RefusesWhatTheFormatCannotHold) {
  EXPECT_THAT(failure({{"k", int64_t{-1}}}, {}), AllOf(HasSubstr("'k' is -1"), HasSubstr("0..4294967295")));
  EXPECT_THAT(failure({{"k", std::vector<int64_t>{int64_t{1} << 40}}}, {}), HasSubstr("2147483647"));
  EXPECT_THAT(failure({{"k", true}, {"k", false}}, {}), HasSubstr("'k' is given twice"));
  EXPECT_THAT(failure({}, {{std::string(64, 'n'), 0, {1}, 4}}), HasSubstr("at most 63 bytes"));
  EXPECT_THAT(failure({}, {{"t", 0, {1}, 4}, {"t", 0, {1}, 4}}), HasSubstr("expected a new name"));
  EXPECT_THAT(failure({}, {{"t", 0, {1, 1, 1, 1, 1}, 4}}), HasSubstr("of 5 dimensions"));
  EXPECT_THAT(failure({}, {{"t", 0, {2}, 8}}), HasSubstr("made as 4 values of Byte, announced as 8 bytes"));
  EXPECT_THAT(failure({}, {{"t", 0, {1}, 4}}, at::zeros({4}, at::kInt)), HasSubstr("values of Int"));
  EXPECT_FALSE(std::filesystem::exists(file_));
}

}  // namespace
}  // namespace rqat::io
