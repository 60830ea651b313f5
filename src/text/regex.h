// Regular expressions of pre-tokenizers: Oniguruma syntax (what tokenizer.json is written for) run by PCRE2's JIT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rqat::text {

/// The same expression in PCRE2 syntax: \s, \w, \d, \h by Unicode properties as Oniguruma defines them, \uHHHH, (?m).
/// Throws IoError that names `where` for constructs that cannot be carried over.
std::string translate_oniguruma(std::string_view pattern, const std::string& where);

/// A compiled expression; thread-safe. Backtracking is bounded, so no text can hang it.
class Regex {
 public:
  /// `pattern` in Oniguruma syntax. Throws IoError that names `where` when it does not compile. `match_limit` bounds
  /// the backtracking of one search (0: ten million steps and 16 for each byte of text).
  Regex(std::string_view pattern, const std::string& where, uint32_t match_limit = 0);

  /// First match at or after `start` in valid UTF-8. Throws DataError when the limit is reached.
  bool search(std::string_view text, size_t start, size_t& match_begin, size_t& match_end) const;

  struct Span {
    size_t begin, end;
    bool is_match;
  };
  /// Matches and the stretches between them, in order. An empty match right after a match does not count.
  std::vector<Span> spans(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_;
  uint32_t match_limit_;
};

/// Regex source that matches `text` literally.
std::string escape_regex(std::string_view text);

}  // namespace rqat::text
