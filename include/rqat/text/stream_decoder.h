// Text of tokens as they are generated.
#pragma once

#include <cstdint>
#include <string>

#include "rqat/text/tokenizer.h"

namespace rqat::text {

/// Hands out text token by token and holds back bytes that may still become a character. The concatenation of all
/// results equals Tokenizer::decode of all ids.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive this object.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false);
  /// Text that became certain with this token, often "". Throws DataError on an id outside the vocabulary.
  std::string push(int64_t id);
  /// What is still held back, as U+FFFD; the decoder starts anew.
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace rqat::text
