// Cuts text into the words that the model works on, as the pre_tokenizer section of tokenizer.json describes.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace rqat::text {

/// What becomes of the matches of a Split step; the names are those of tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
/// When Metaspace puts its character before a piece that has none.
enum class PrependScheme { kFirst, kNever, kAlways };

struct Piece {
  std::string_view text;
  bool first = false;  ///< begins the whole text, special tokens included
};

/// Pieces of a text and the storage of those that were rewritten.
struct Pieces {
  std::vector<Piece> list;
  std::deque<std::string> storage;
};

class PreTokenizer {
 public:
  /// Splits at the matches of `regex`; `invert` exchanges matches and the text between them.
  void add_split(Regex regex, SplitBehavior behavior, bool invert);
  /// Splits at characters for which `is_separator` holds.
  void add_character_split(std::function<bool(uint32_t)> is_separator, SplitBehavior behavior);
  /// Runs of word characters, and runs of what is neither that nor white space.
  void add_words();
  /// Splits off characters of the categories Nd, Nl, No, one by one or as runs.
  void add_digits(bool individual);
  /// Spaces become `replacement`, which `scheme` may put at the start too; `split` begins a word at each.
  void add_metaspace(const std::string& replacement, PrependScheme scheme, bool split);
  /// Words of one script each; Hiragana and Katakana count as Han, spaces go with what precedes them.
  void add_unicode_scripts();
  /// Words of `length` characters.
  void add_fixed_length(size_t length);
  /// `use_regex` adds GPT-2's pattern. `add_prefix_space` puts a space before each piece that has none. Then every byte
  /// becomes a character of byte_alphabet.h, which take_bytes() can undo.
  void add_byte_level(bool add_prefix_space, bool use_regex);
  /// True when the last step is the byte level; from now on words are the bytes themselves.
  bool take_bytes();

  /// True when words depend on Piece::first.
  bool minds_first() const { return minds_first_; }
  /// Words of valid UTF-8 (or of bytes after take_bytes()); none is empty. They point into `text` or `pieces.storage`,
  /// which is emptied first.
  void split(std::string_view text, bool first, Pieces& pieces) const;

 private:
  using Step = std::function<void(Pieces&)>;
  std::vector<Step> steps_;
  bool ends_in_bytes_ = false;
  bool minds_first_ = false;
};

}  // namespace rqat::text
