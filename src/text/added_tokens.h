// Tokens that are found in the text before the model sees it, such as "<|im_end|>".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace rqat::text {

struct AddedToken {
  std::string content;
  int64_t id = -1;
  bool special = true;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< swallows white space before it
  bool rstrip = false;       ///< swallows white space after it
  bool normalized = false;   ///< looked for in the normalized text
};

/// A stretch of text, or an added token found in it (id >= 0).
struct Segment {
  std::string_view text;
  int64_t id = -1;
};

/// Leftmost-longest search for a set of added tokens.
class AddedTokenMatcher {
 public:
  void add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  /// Segments that cover `text` except stripped white space. With `parse_special` false special tokens stay text.
  std::vector<Segment> split(std::string_view text, bool parse_special) const;

 private:
  /// Index of the longest token that starts at `position`, -1 when none.
  int64_t longest_at(std::string_view text, size_t position) const;

  std::vector<AddedToken> tokens_;
  std::vector<int64_t> token_of_node_{-1};        ///< node of the byte trie -> index into tokens_, -1 inner
  std::unordered_map<uint64_t, uint32_t> child_;  ///< node << 8 | byte -> node
  bool starts_[256] = {};
};

}  // namespace rqat::text
