#include <gtest/gtest.h>

#include <cstdlib>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/text/tokenizer.h"
#include "text/presets.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

using Ids = std::vector<int64_t>;

// Writes GGUF v3 with metadata only.
class GgufFile {
 public:
  void text(const std::string& key, const std::string& value) {
    entry(key, 8);
    string(value);
  }
  void integer(const std::string& key, uint32_t value) {
    entry(key, 4);
    raw(value);
  }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    entry(key, 9);
    raw(uint32_t{8});
    raw(uint64_t{values.size()});
    for (const std::string& value : values) string(value);
  }
  void integers(const std::string& key, const std::vector<int32_t>& values) {
    entry(key, 9);
    raw(uint32_t{5});
    raw(uint64_t{values.size()});
    for (const int32_t value : values) raw(value);
  }
  std::filesystem::path write() const {
    GgufFile head;
    head.bytes_ = "GGUF";
    head.raw(uint32_t{3});
    head.raw(uint64_t{0});
    head.raw(count_);
    std::string content = head.bytes_ + bytes_;
    content.resize((content.size() + 31) / 32 * 32);
    return write_text(fresh_folder("gguf") / "toy.gguf", content);
  }

 private:
  template <class T>
  void raw(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void string(const std::string& value) {
    raw(uint64_t{value.size()});
    bytes_ += value;
  }
  void entry(const std::string& key, uint32_t type) {
    ++count_;
    string(key);
    raw(type);
  }
  std::string bytes_;
  uint64_t count_ = 0;
};

struct Toy {
  std::string model = "gpt2", pre = "smollm";
  std::vector<std::string> tokens, merges = {"a b", "1 2"};
  std::vector<int32_t> types;
  uint32_t eos = 258;

  Toy() {
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_character(static_cast<uint8_t>(byte)));
    for (const char* more : {"ab", "12", "<|im_end|>", "<think>", "[PAD260]"}) tokens.emplace_back(more);  // 256 ...
    types.assign(258, 1);
    types.insert(types.end(), {3, 4, 5});  // control, user defined, unused
  }

  std::unique_ptr<Tokenizer> load() const {
    GgufFile file;
    file.text("tokenizer.ggml.model", model);
    file.text("tokenizer.ggml.pre", pre);
    file.texts("tokenizer.ggml.tokens", tokens);
    file.texts("tokenizer.ggml.merges", merges);
    file.integers("tokenizer.ggml.token_type", types);
    file.integer("tokenizer.ggml.eos_token_id", eos);
    return load_tokenizer(file.write());
  }
};

TEST(GgufVocabulary, ReadsTokensMergesAndRoles) {
  Toy toy;
  auto tokenizer = toy.load();
  EXPECT_EQ(tokenizer->encode("ab12<|im_end|><think>[PAD260]"),
            (Ids{256, '1', '2', 258, 259, '[', 'P', 'A', 'D', '2', '6', '0', ']'}));
  EXPECT_EQ(tokenizer->encode("<|im_end|>", false).size(), 10u);
  EXPECT_EQ(tokenizer->eos_id(), 258);
  EXPECT_EQ(tokenizer->bos_id(), -1);
  EXPECT_EQ(tokenizer->vocab_size(), 261);
  toy.pre = "gpt-2";
  EXPECT_EQ(toy.load()->encode("12"), (Ids{257}));
}

TEST(GgufVocabulary, EveryKnownPresetLoads) {
  for (const std::string& name : known_presets()) {
    Toy toy;
    toy.pre = name;
    EXPECT_EQ(toy.load()->encode("ab"), (Ids{256})) << name;
  }
}

TEST(GgufVocabulary, RefusesWhatItDoesNotKnow) {
  const auto message = [](const Toy& toy) -> std::string {
    try {
      toy.load();
      return "accepted";
    } catch (const base::IoError& error) {
      return error.what();
    }
  };
  Toy toy;
  toy.pre = "tekken";
  EXPECT_NE(message(toy).find("'tekken' is not supported; known are gpt-2"), std::string::npos) << message(toy);
  toy = Toy();
  toy.model = "llama";
  EXPECT_NE(message(toy).find("'llama' is not supported"), std::string::npos) << message(toy);
  toy = Toy();
  toy.types.pop_back();
  EXPECT_NE(message(toy).find("260 token types"), std::string::npos) << message(toy);
  toy = Toy();
  toy.merges.push_back("abc");
  EXPECT_NE(message(toy).find("merges[2] 'abc'"), std::string::npos) << message(toy);
  toy = Toy();
  toy.eos = 5000;
  EXPECT_NE(message(toy).find("eos_token_id is 5000"), std::string::npos) << message(toy);
  toy = Toy();
  toy.tokens[3] = toy.tokens[4];
  EXPECT_NE(message(toy).find("has the ids"), std::string::npos) << message(toy);
}

// llama.cpp's conformance files: texts and the ids that the original tokenizers give.
class Conformance : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

std::filesystem::path data_folder() {
  const char* folder = std::getenv("RQAT_DATA");
  return folder == nullptr ? "" : std::filesystem::path(folder) / "tokenizers";
}

// Llama 3's vocabulary lies there in GPT-2's two files.
std::unique_ptr<Tokenizer> load_llama3(const std::filesystem::path& folder) {
  nlohmann::json value = toy_json({});
  value["model"]["vocab"] = nlohmann::json::parse(base::read_file(folder / "encoder.json"));
  value["model"]["ignore_merges"] = true;
  value["model"]["merges"] = nlohmann::json::array();
  for (const std::string& line : base::split(base::read_file(folder / "vocab.bpe"), '\n')) {
    if (!line.empty() && line[0] != '#') value["model"]["merges"].push_back(line);
  }
  const char* pattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const nlohmann::json split = {
      {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const nlohmann::json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  value["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
  return load_tokenizer(write_text(fresh_folder("llama3") / "tokenizer.json", value.dump()));
}

TEST_P(Conformance, EqualsTheOriginal) {
  const std::filesystem::path root = data_folder();
  if (root.empty()) GTEST_SKIP() << "RQAT_DATA is not set";
  const auto [name, path] = GetParam();
  const auto tokenizer = std::string(name) == "llama-bpe" ? load_llama3(root / path) : load_tokenizer(root / path);
  const std::string stem = (root / "llamacpp_vocab" / base::cat("ggml-vocab-", name, ".gguf")).string();
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string inputs = base::read_file(stem + ".inp");
  const std::vector<std::string> expected = base::split(base::read_file(stem + ".out"), '\n');
  size_t checked = 0;
  for (const std::string& line : expected) {
    const size_t end = inputs.find(separator);
    if (end == std::string::npos) break;
    std::string ids;
    for (const int64_t id : tokenizer->encode(inputs.substr(0, end))) ids += base::cat(' ', id);
    EXPECT_EQ(ids, line) << inputs.substr(0, end);
    inputs.erase(0, end + separator.size());
    ++checked;
  }
  EXPECT_GE(checked, 40u);
}

INSTANTIATE_TEST_SUITE_P(LlamaCpp, Conformance,
                         ::testing::Values(std::pair{"gpt-2", "llamacpp_vocab/ggml-vocab-gpt-2.gguf"},
                                           std::pair{"starcoder", "llamacpp_vocab/ggml-vocab-starcoder.gguf"},
                                           std::pair{"refact", "llamacpp_vocab/ggml-vocab-refact.gguf"},
                                           std::pair{"mpt", "llamacpp_vocab/ggml-vocab-mpt.gguf"},
                                           std::pair{"qwen2", "qwen/Qwen2_5"}, std::pair{"llama-bpe", "llama3"}));

}  // namespace
}  // namespace rqat::text
