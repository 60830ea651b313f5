// Turns tokens back into text, as the decoder section of tokenizer.json describes.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "text/pre_tokenizer.h"

namespace rqat::text {

class Decoder {
 public:
  using Tokens = std::vector<std::string>;
  using Step = std::function<Tokens(Tokens)>;

  void add(Step step) { steps_.push_back(std::move(step)); }
  /// The byte alphabet alone: the text of each token does not depend on its neighbors.
  void set_byte_level() { byte_level_ = true; }
  bool is_byte_level() const { return byte_level_; }
  /// Tokens without a decoder are separated by spaces. Not for byte level.
  std::string decode(Tokens tokens) const;

 private:
  std::vector<Step> steps_;
  bool byte_level_ = false;
};

// The steps, named as in tokenizer.json.
Decoder::Tokens decode_byte_level(const Decoder::Tokens& tokens);
/// Runs of byte tokens ("<0xE2>") become their characters, one U+FFFD for each when they are not valid UTF-8.
Decoder::Tokens decode_byte_fallback(const Decoder::Tokens& tokens);
Decoder::Tokens decode_fuse(const Decoder::Tokens& tokens);
/// Up to `start` of `character` at the start of each token and up to `stop` at its end are cut off.
Decoder::Tokens decode_strip(Decoder::Tokens tokens, const std::string& character, size_t start, size_t stop);
Decoder::Tokens decode_metaspace(Decoder::Tokens tokens, const std::string& replacement, PrependScheme scheme);
Decoder::Tokens decode_word_piece(Decoder::Tokens tokens, const std::string& prefix, bool cleanup);
Decoder::Tokens decode_bpe(Decoder::Tokens tokens, const std::string& suffix);
Decoder::Tokens decode_ctc(const Decoder::Tokens& tokens, const std::string& pad, const std::string& delimiter,
                           bool cleanup);

}  // namespace rqat::text
