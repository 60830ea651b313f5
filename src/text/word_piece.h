// WordPiece (longest match first, as in BERT) and its plain form, one token a word.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/bpe.h"
#include "text/word_model.h"

namespace rqat::text {

class WordPiece : public WordModel {
 public:
  /// Tokens that start with `continuation` go on with a word. A word of more than `longest_word` characters, or one
  /// that cannot be covered, is one unknown token. `whole`: only whole words count (WordLevel). Throws IoError when
  /// there is no unknown token (`unknown_id` < 0).
  WordPiece(const std::vector<std::pair<std::string, int64_t>>& vocabulary, const std::string& continuation,
            int32_t unknown_id, size_t longest_word, bool whole, const std::string& source);
  size_t encode_word(std::string_view word, std::vector<int32_t>& out) const override;

 private:
  void add(int32_t root, std::string_view token, int32_t id);

  MergeTable trie_;                  ///< (node, byte) -> next node; node 0 begins a word, 1 goes on with it
  std::vector<int32_t> id_of_node_;  ///< -1 inner
  int32_t unknown_id_;
  size_t longest_word_;
  bool whole_;
};

}  // namespace rqat::text
