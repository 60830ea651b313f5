#include "preview.h"

#include "rqat/base/strings.h"

namespace rqat::cli {

namespace {

using base::cat;

constexpr const char *kLearned = "\x1b[32m", *kOther = "\x1b[2m", *kPlain = "\x1b[0m";
constexpr size_t kLineWidth = 110;

/// What a terminal would take for a command, not for text, is spelled out.
std::string printable(const std::string& text) {
  static constexpr const char* kDigits = "0123456789abcdef";
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) {
      shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      shown += c;
    }
  }
  return shown;
}

/// Text of tokens begin..end where they stand: decoders may treat the first token of a text otherwise.
std::string text_between(const std::vector<int64_t>& ids, size_t begin, size_t end, const text::Tokenizer& tokenizer) {
  const auto first = ids.begin(), from = first + static_cast<std::ptrdiff_t>(begin),
             to = first + static_cast<std::ptrdiff_t>(end);
  const std::string before = tokenizer.decode({first, from}), all = tokenizer.decode({first, to});
  return base::starts_with(all, before) ? all.substr(before.size()) : tokenizer.decode({from, to});
}

std::string ids_text(const data::Example& example, bool color) {
  std::string text = color ? "ids:" : "ids (* = learned):";
  size_t width = text.size();
  for (size_t i = 0; i < example.ids.size(); ++i) {
    const bool learned = i > 0 && example.loss_mask[i] != 0;
    std::string id = std::to_string(example.ids[i]);
    if (learned && !color) id += "*";
    if (width + 1 + id.size() > kLineWidth) {
      text += "\n ";
      width = 1;
    }
    text += color ? cat(" ", learned ? kLearned : kOther, id, kPlain) : cat(" ", id);
    width += 1 + id.size();
  }
  return text + "\n";
}

}  // namespace

std::string record_text(const data::Record& record) {
  std::string text;
  const auto add = [&](const std::string& title, const std::string& content) {
    if (!content.empty()) text += cat("[", title, "]\n", printable(content), content.back() == '\n' ? "" : "\n");
  };
  add("text", record.text);
  add("system", record.system);
  for (const text::Message& turn : record.history) add(turn.role, turn.content);
  add("user", record.prompt);
  add(record.cut ? "assistant, cut at a limit" : "assistant", record.response);
  add("reference", record.problem.answer);
  add("family", record.family);
  return text;
}

std::string example_text(const data::Example& example, const text::Tokenizer& tokenizer, bool color) {
  std::string text;
  for (size_t begin = 0; begin < example.ids.size();) {
    // The first token is never predicted.
    const auto is_learned = [&](size_t i) { return i > 0 && example.loss_mask[i] != 0; };
    size_t end = begin + 1;
    while (end < example.ids.size() && is_learned(end) == is_learned(begin)) ++end;
    const std::string stretch = printable(text_between(example.ids, begin, end, tokenizer));
    if (color) {
      text += cat(is_learned(begin) ? kLearned : kOther, stretch, kPlain);
    } else {
      text += cat(text.empty() || text.back() == '\n' ? "" : "\n", "--- ",
                  is_learned(begin) ? "learned" : "not learned", ", ", end - begin, " tokens ---\n", stretch);
    }
    begin = end;
  }
  return cat(text, text.empty() || text.back() == '\n' ? "" : "\n", ids_text(example, color));
}

}  // namespace rqat::cli
