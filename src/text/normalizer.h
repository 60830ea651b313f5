// Rewrites text before it is split, as the normalizer section of tokenizer.json describes.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/regex.h"
#include "text/utf8.h"

namespace rqat::text {

class Normalizer {
 public:
  /// Valid UTF-8 in, valid UTF-8 out.
  using Step = std::function<std::string(std::string)>;
  void add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  /// Throws DataError when the text grows beyond 64 times its size and a MiB: few steps could fill any memory.
  std::string apply(std::string text) const;

 private:
  std::vector<Step> steps_;
};

// The steps that need more than a line; each names the section of tokenizer.json it stands for.
std::string prepend(std::string text, const std::string& start);   ///< Prepend: nothing before an empty text
std::string strip_space(std::string text, bool left, bool right);  ///< Strip
std::string strip_accents(const std::string& text);                ///< StripAccents: marks of any kind
std::string clean_for_nmt(const std::string& text);                ///< Nmt
/// Throws DataError when the text grows beyond 64 times its size and a MiB.
std::string replace_all(const std::string& text, const std::string& from, const std::string& to);
std::string replace_all(const std::string& text, const Regex& pattern, const std::string& to);

struct BertNormalization {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
};
std::string normalize_for_bert(std::string text, const BertNormalization& options);  ///< BertNormalizer

/// sentencepiece's character map ("Precompiled"): a double-array trie from character sequences to their replacements.
class CharacterMap {
 public:
  /// `blob`: size of the trie in bytes, the trie's 32-bit units, replacements that end in a zero byte. Throws IoError
  /// that names `where` when the sizes do not fit, or the replacements are not valid UTF-8.
  CharacterMap(std::string blob, const std::string& where);
  /// Each grapheme cluster of up to five bytes, else each of its characters, by the replacement of its shortest prefix
  /// in the map: what the `tokenizers` library does.
  std::string apply(const std::string& text) const;

 private:
  /// False when no prefix of `text` is in the map.
  bool find(std::string_view text, std::string_view& replacement) const;
  void append(std::string_view cluster, std::string& out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

/// Bytes of base64 text. Throws IoError that names `where`.
std::string decode_base64(std::string_view text, const std::string& where);

}  // namespace rqat::text
