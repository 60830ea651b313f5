// Byte-pair encoding of one word (arXiv 1508.07909, on bytes as in GPT-2).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

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

class Bpe {
 public:
  struct Options {
    bool ignore_merges = false;  ///< a word that is itself a token is not merged from its bytes
    bool fuse_unknown = false;
    int32_t unknown_id = -1;
  };
  Bpe(std::array<int32_t, 256> byte_ids, MergeTable merges, std::unordered_map<std::string, int32_t> whole_words,
      Options options);

  /// Appends the ids of `word` (raw bytes). Returns the number of bytes that have no token: they become the unknown
  /// token where there is one and are dropped where there is none, as the `tokenizers` library does. O(n log n).
  size_t encode_word(std::string_view word, std::vector<int32_t>& out) const;

 private:
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // indices, -1 at the ends
  };
  size_t split_bytes(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge(std::vector<Symbol>& symbols) const;

  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  std::unordered_map<std::string, int32_t> whole_words_;
  Options options_;
};

}  // namespace rqat::text
