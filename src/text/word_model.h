// Models that turn one word into token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rqat::text {

class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the ids of a word that is not empty. Returns how many of its bytes have no token: they become the unknown
  /// token where there is one and are dropped where there is none, as the `tokenizers` library does. Thread-safe.
  /// Throws DataError where that library refuses unknown characters.
  virtual size_t encode_word(std::string_view word, std::vector<int32_t>& out) const = 0;
};

using TokenIds = std::unordered_map<std::string, int64_t>;

/// The model section of tokenizer.json.
struct ModelDescription {
  enum class Kind { kBpe, kUnigram, kWordPiece, kWordLevel };
  Kind kind = Kind::kBpe;
  std::vector<std::pair<std::string, int64_t>> vocabulary;  ///< token and id
  std::string unknown_token;                                ///< "" for none
  bool byte_fallback = false;                               ///< BPE, Unigram: unknown characters as tokens "<0xE2>"
  // BPE
  std::vector<std::pair<std::string, std::string>> merges;  ///< by falling priority
  bool raw_bytes = false;  ///< words are bytes and tokens are written in the byte alphabet
  bool ignore_merges = false;
  bool fuse_unknown = false;
  std::string word_end;        ///< end_of_word_suffix
  std::string continuation;    ///< continuing_subword_prefix, WordPiece too
  std::vector<double> scores;  ///< Unigram, one for each token of `vocabulary`
  size_t longest_word = 100;   ///< WordPiece: max_input_chars_per_word
};

/// Throws IoError that names `source` when the parts contradict each other.
std::unique_ptr<const WordModel> make_word_model(const ModelDescription& description, const TokenIds& ids,
                                                 const std::string& source);

/// "<0x0A>" for 10.
std::string byte_token(uint8_t byte);

}  // namespace rqat::text
