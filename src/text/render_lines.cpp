#include "rqat/text/render_lines.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/text/stream_decoder.h"
#include "shown_line.h"

namespace rqat::text {
namespace {

using nlohmann::ordered_json;

// Byte of the text after each token. A character that several tokens share ends with the last of them and begins with
// the first.
struct TokenSpan {
  size_t begin, end;
};

std::vector<TokenSpan> token_spans(const Tokenizer& tokenizer, const std::string& text,
                                   const std::vector<int64_t>& ids) {
  std::vector<TokenSpan> spans;
  StreamDecoder decoder(tokenizer);
  std::string decoded;
  size_t waiting = 0;  // tokens whose text has not come yet
  const auto settle = [&](const std::string& piece) {
    const size_t begin = decoded.size();
    decoded += piece;
    for (size_t i = spans.size() - waiting; i < spans.size(); ++i) spans[i] = {begin, decoded.size()};
    waiting = 0;
  };
  for (const int64_t id : ids) {
    spans.push_back({0, 0});
    ++waiting;
    const std::string piece = decoder.push(id);
    if (!piece.empty()) settle(piece);
  }
  settle(decoder.flush());
  if (decoded != text) {
    throw base::DataError(
        "the tokenizer changes the rendered text, so that its tokens cannot be assigned to the assistant's part; mask "
        "by text instead");
  }
  return spans;
}

ordered_json render_line(const ChatTemplate& chat, const Tokenizer* tokenizer, const ordered_json& variables) {
  const RenderedChat rendered = chat.render_variables(variables);
  ordered_json result = {{"text", rendered.text}};
  if (tokenizer == nullptr) return result;
  const std::vector<int64_t> ids = tokenizer->encode(rendered.text);
  result["ids"] = ids;
  if (chat.has_generation_blocks())
    result["assistant_mask"] = mask_of_ranges(*tokenizer, rendered.text, ids, rendered.generated);
  return result;
}

}  // namespace

std::vector<int> mask_of_ranges(const Tokenizer& tokenizer, const std::string& text, const std::vector<int64_t>& ids,
                                const std::vector<std::pair<size_t, size_t>>& ranges) {
  std::vector<int> mask(ids.size(), 0);
  if (ranges.empty()) return mask;
  const std::vector<TokenSpan> spans = token_spans(tokenizer, text, ids);
  for (const auto& [begin, end] : ranges) {
    for (size_t i = 0; i < spans.size(); ++i) {
      if (spans[i].begin < end && spans[i].end > begin) mask[i] = 1;
    }
  }
  return mask;
}

void render_lines(const ChatTemplate& chat, const Tokenizer* tokenizer, std::istream& in, std::ostream& out) {
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (base::trim(line).empty()) continue;
    const ordered_json variables = ordered_json::parse(line, nullptr, false);
    if (!variables.is_object()) {
      throw base::DataError(
          base::cat("line ", number, ": expected a JSON object with messages, got ", shown_line(line)));
    }
    try {
      out << render_line(chat, tokenizer, variables).dump(-1, ' ', true) << '\n';
    } catch (const base::DataError& error) {
      throw base::DataError(base::cat("line ", number, ": ", error.what()));
    }
  }
}

}  // namespace rqat::text
