// A tokenizer of bytes and a template of letters.
#pragma once

#include <string>
#include <vector>

#include "rqat/text/chat_template.h"
#include "rqat/text/tokenizer.h"

namespace rqat::data {

/// One token a byte, `|` as the special token that ends a turn, `^` as BOS.
class ByteTokenizer : public text::Tokenizer {
 public:
  std::vector<int64_t> encode(std::string_view text, bool) const override {
    std::vector<int64_t> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::string token_bytes(int64_t id) const override { return {static_cast<char>(id)}; }
  bool is_special(int64_t id) const override { return id == '|'; }
  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override {
    ids.insert(ids.begin(), '^');
    return ids;
  }
  bool decodes_by_token() const override { return true; }
  int64_t vocab_size() const override { return 256; }
  int64_t token_id(std::string_view token) const override { return token == "|" || token == "^" ? token[0] : -1; }
  std::string token_text(int64_t id) const override { return token_bytes(id); }
  int64_t bos_id() const override { return '^'; }
  int64_t eos_id() const override { return '|'; }
};

class LetterTemplate : public text::ChatTemplate {
 public:
  std::string name() const override { return "letters"; }
  std::string render(const std::vector<text::Message>& messages, bool add_generation_prompt) const override {
    std::string text;
    for (const text::Message& message : messages) text += message.role.substr(0, 1) + ":" + message.content + "|\n";
    return text + (add_generation_prompt ? "a:" : "");
  }
  text::RenderedChat render_variables(const nlohmann::ordered_json&) const override { return {}; }
  bool has_generation_blocks() const override { return false; }
  std::string stop_text() const override { return "|"; }
};

}  // namespace rqat::data
