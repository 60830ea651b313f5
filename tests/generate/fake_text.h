// A tokenizer of single characters and a chat template that adds nothing, for the tiny model's 50 tokens.
#pragma once

#include <string>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/text/chat_template.h"
#include "rqat/text/tokenizer.h"

namespace rqat::generate {

class CharacterTokenizer : public text::Tokenizer {
 public:
  static constexpr int64_t kStop = 49;
  std::vector<int64_t> encode(std::string_view text, bool = true) const override {
    std::vector<int64_t> ids;
    for (const char character : text) ids.push_back(static_cast<int64_t>(kAlphabet.find(character)));
    return ids;
  }
  std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const override {
    std::string text;
    for (const int64_t id : ids) text += id == kStop && skip_special ? "" : token_text(id);
    return text;
  }
  std::string token_bytes(int64_t id) const override { return token_text(id); }
  bool is_special(int64_t id) const override { return id == kStop; }
  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override { return ids; }
  bool decodes_by_token() const override { return true; }
  int64_t vocab_size() const override { return 50; }
  int64_t token_id(std::string_view token) const override { return static_cast<int64_t>(kAlphabet.find(token)); }
  std::string token_text(int64_t id) const override {
    return id == kStop ? "<stop>" : std::string(1, kAlphabet.at(static_cast<size_t>(id)));
  }
  int64_t bos_id() const override { return -1; }
  int64_t eos_id() const override { return kStop; }

 private:
  static constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz+-=?#., \n()/*!";
};

class PlainChat : public text::ChatTemplate {
 public:
  std::string name() const override { return "plain"; }
  std::string render(const std::vector<text::Message>& messages, bool) const override {
    return messages.back().content;
  }
  text::RenderedChat render_variables(const nlohmann::ordered_json&) const override { return {}; }
  bool has_generation_blocks() const override { return false; }
  std::string stop_text() const override { return ""; }
};

}  // namespace rqat::generate
