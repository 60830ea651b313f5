// Cuts text into the words that BPE works on, as the pre_tokenizer section of tokenizer.json describes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace rqat::text {

/// What becomes of the matches of a Split step; the names are those of tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Any number of splits followed by the byte-level step, which is always the last.
class PreTokenizer {
 public:
  /// Splits at the matches of `regex`; `invert` exchanges matches and the text between them.
  void add_split(Regex regex, SplitBehavior behavior, bool invert);
  /// Splits off characters of the categories Nd, Nl, No, one by one or as runs.
  void add_digits(bool individual);
  /// `use_regex` adds GPT-2's pattern. `add_prefix_space` puts a space before each piece that has none.
  void set_byte_level(bool add_prefix_space, bool use_regex);

  /// Words of valid UTF-8; they point into `text` or into `buffer`.
  std::vector<std::string_view> split(std::string_view text, std::string& buffer) const;

 private:
  struct Step {
    std::vector<Regex> regex;  ///< empty for digits, else one
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  static void apply(const Step& step, std::string_view piece, std::vector<std::string_view>& out);
  static std::vector<std::string_view> apply(const Step& step, const std::vector<std::string_view>& pieces);

  std::vector<Step> steps_;
  std::vector<Step> byte_level_;
  bool add_prefix_space_ = false;
};

}  // namespace rqat::text
