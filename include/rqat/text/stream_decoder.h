// Text of tokens as they are generated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rqat/text/tokenizer.h"

namespace rqat::text {

/// Hands out text token by token and holds back what later tokens may still change: bytes that may become a character.
/// The concatenation of all results equals Tokenizer::decode of all ids.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive this object.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false);
  /// Text that became certain with this token, often "". Throws DataError on an id outside the vocabulary.
  std::string push(int64_t id);
  /// What is still held back, unfinished characters as U+FFFD; the decoder starts anew.
  std::string flush();

 private:
  std::string push_in_context(int64_t id);
  std::string tell_held();

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;       ///< bytes, where tokens decode one by one
  std::vector<int64_t> ids_;  ///< else: the last token told, then those held back
  size_t told_ = 0;           ///< bytes of text that ids_ had told when it began
  size_t held_ = 0;           ///< tokens of ids_ held back
};

}  // namespace rqat::text
