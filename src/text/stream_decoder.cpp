#include "rqat/text/stream_decoder.h"

#include <algorithm>

#include "rqat/base/strings.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

// A token for one byte of a character: the text of a run of them is known when it ends.
bool is_byte_token(const std::string& token) {
  return token.size() == 6 && base::starts_with(token, "<0x") && token.back() == '>';
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(int64_t id) {
  if (skip_special_ && tokenizer_.is_special(id)) return "";
  if (!tokenizer_.decodes_by_token()) return push_in_context(id);
  pending_ += tokenizer_.token_bytes(id);
  const size_t ready = pending_.size() - incomplete_suffix(pending_);
  std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, ready);
  return text;
}

// The text of a token depends on whether it is the first one, so each is decoded after the last one told.
std::string StreamDecoder::push_in_context(int64_t id) {
  const std::string token = tokenizer_.token_text(id);  // refuses ids outside the vocabulary
  ids_.push_back(id);
  ++held_;
  return is_byte_token(token) ? "" : tell_held();
}

std::string StreamDecoder::tell_held() {
  const std::string text = tokenizer_.decode(ids_);
  std::string fresh = text.substr(std::min(told_, text.size()));
  held_ = 0;
  ids_.erase(ids_.begin(), ids_.end() - 1);
  told_ = tokenizer_.decode(ids_).size();
  return fresh;
}

std::string StreamDecoder::flush() {
  std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  if (held_ > 0) text += tell_held();
  ids_.clear();
  told_ = held_ = 0;
  return text;
}

}  // namespace rqat::text
