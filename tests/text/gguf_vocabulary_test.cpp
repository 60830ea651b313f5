#include <gtest/gtest.h>

#include <cstdlib>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/text/tokenizer.h"
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
  void numbers(const std::string& key, const std::vector<float>& values) {
    entry(key, 9);
    raw(uint32_t{6});
    raw(uint64_t{values.size()});
    for (const float value : values) raw(value);
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
  EXPECT_EQ(tokenizer->vocab_size(), 260) << "unused tokens only pad";
  toy.pre = "gpt-2";
  EXPECT_EQ(toy.load()->encode("12"), (Ids{257}));
}

TEST(GgufVocabulary, EveryKnownPresetLoads) {
  for (const std::string name : {"gpt-2", "smollm", "qwen2", "llama-bpe", "falcon", "deepseek-llm", "deepseek-coder",
                                 "deepseek-v3", "tekken", "gpt-4o", "command-r", "olmo"}) {
    Toy toy;
    toy.pre = name;
    EXPECT_EQ(toy.load()->encode("ab"), (Ids{256})) << name;
  }
}

TEST(GgufVocabulary, TokensOfSentencePieceAreShort) {
  GgufFile file;
  file.text("tokenizer.ggml.model", "llama");
  file.texts("tokenizer.ggml.tokens", {"a", std::string(3000, 'a')});
  file.numbers("tokenizer.ggml.scores", {0, -1});
  const auto path = file.write();
  try {
    load_tokenizer(path);
    FAIL() << "all cuts of a token are looked up, which would take forever";
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("token 1 has 3000 bytes; allowed are 2048"), std::string::npos)
        << error.what();
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
  toy.pre = "unheard-of";
  EXPECT_NE(message(toy).find("'unheard-of' (tokenizer.ggml.pre) is not supported; known are gpt-2"), std::string::npos)
      << message(toy);
  toy = Toy();
  toy.model = "bert";
  EXPECT_NE(message(toy).find("'bert' (tokenizer.ggml.model) is not supported"), std::string::npos) << message(toy);
  toy = Toy();
  toy.types.pop_back();
  EXPECT_NE(message(toy).find("260 token types"), std::string::npos) << message(toy);
  toy = Toy();
  toy.merges.push_back("abc");
  EXPECT_NE(message(toy).find("merge 2 'abc'"), std::string::npos) << message(toy);
  toy = Toy();
  toy.eos = 5000;
  EXPECT_NE(message(toy).find("eos_token_id is 5000"), std::string::npos) << message(toy);
  toy = Toy();
  toy.tokens[3] = toy.tokens[4];
  EXPECT_NE(message(toy).find("appears twice"), std::string::npos) << message(toy);
}

// llama.cpp's conformance files: texts and the ids that the original tokenizers give.
class Conformance : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

std::filesystem::path data_folder() {
  const char* folder = std::getenv("RQAT_DATA");
  return folder == nullptr ? "" : std::filesystem::path(folder) / "tokenizers";
}

TEST_P(Conformance, EqualsTheOriginal) {
  const std::filesystem::path root = data_folder();
  if (root.empty()) GTEST_SKIP() << "RQAT_DATA is not set";
  const auto [name, path] = GetParam();
  const auto tokenizer = load_tokenizer(root / path);
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
                                           std::pair{"falcon", "llamacpp_vocab/ggml-vocab-falcon.gguf"},
                                           std::pair{"deepseek-llm", "llamacpp_vocab/ggml-vocab-deepseek-llm.gguf"},
                                           std::pair{"deepseek-coder", "llamacpp_vocab/ggml-vocab-deepseek-coder.gguf"},
                                           std::pair{"llama-spm", "llamacpp_vocab/ggml-vocab-llama-spm.gguf"},
                                           std::pair{"phi-3", "llamacpp_vocab/ggml-vocab-phi-3.gguf"},
                                           std::pair{"llama-spm", "hf_json/llama2_tokenizer.json.gz"},
                                           std::pair{"phi-3", "hf_json/phi-3_tokenizer.json"},
                                           std::pair{"qwen2", "qwen/Qwen2_5"},
                                           std::pair{"deepseek-r1-qwen", "qwen/Qwen2_5"},
                                           std::pair{"llama-bpe", "llama3"}));

}  // namespace
}  // namespace rqat::text
