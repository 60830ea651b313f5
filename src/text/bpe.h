// Byte-pair encoding of one word (arXiv 1508.07909), on bytes as in GPT-2 or on characters.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/word_model.h"

namespace rqat::text {

/// Flat hash table from a pair of token ids to the merge that joins them.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1;  ///< -1: no merge
    int32_t id = -1;
  };
  explicit MergeTable(size_t expected);
  void set(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge;
  };
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
  size_t mask_ = 0;
};

/// A token of the word being merged.
struct Symbol {
  int32_t id;              ///< kMergedAway: now part of a symbol to its left
  int32_t previous, next;  ///< indices, -1 at the ends
};
constexpr int32_t kMergedAway = -2;
/// Joins neighbors by rising rank, leftmost first. O(n log n).
void merge_symbols(const MergeTable& merges, std::vector<Symbol>& symbols);

/// On bytes.
class Bpe : public WordModel {
 public:
  struct Options {
    bool ignore_merges = false;  ///< a word that is itself a token is not merged from its bytes
    bool fuse_unknown = false;
    int32_t unknown_id = -1;
  };
  Bpe(std::array<int32_t, 256> byte_ids, MergeTable merges, std::unordered_map<std::string, int32_t> whole_words,
      Options options);
  size_t encode_word(std::string_view word, std::vector<int32_t>& out) const override;

 private:
  size_t split_bytes(std::string_view word, std::vector<Symbol>& symbols) const;

  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  std::unordered_map<std::string, int32_t> whole_words_;
  Options options_;
};

/// On characters of valid UTF-8.
class CharacterBpe : public WordModel {
 public:
  struct Options {
    bool ignore_merges = false;
    bool fuse_unknown = false;
    int32_t unknown_id = -1;
    std::string continuation;                          ///< goes before every character but the first
    std::string word_end;                              ///< goes after the last character
    std::optional<std::array<int32_t, 256>> byte_ids;  ///< characters without a token become these, where all exist
  };
  /// `ids` must outlive this object.
  CharacterBpe(const TokenIds& ids, MergeTable merges, Options options);
  size_t encode_word(std::string_view word, std::vector<int32_t>& out) const override;

 private:
  int32_t character_id(std::string_view word, size_t begin, size_t length, uint32_t code_point) const;
  bool split_to_bytes(std::string_view character, std::vector<Symbol>& symbols) const;
  size_t split_characters(std::string_view word, std::vector<Symbol>& symbols) const;

  const TokenIds& ids_;
  std::vector<int32_t> by_code_point_;  ///< ids of one-character tokens, -1 where there is none
  MergeTable merges_;
  Options options_;
};

}  // namespace rqat::text
