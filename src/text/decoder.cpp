#include "text/decoder.h"

#include <optional>

#include "rqat/base/strings.h"
#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

using Tokens = Decoder::Tokens;

// Byte of "<0xE2>". The library reads the digits with Rust's from_str_radix, which takes a sign too.
std::optional<uint8_t> byte_of(const std::string& token) {
  if (token.size() != 6 || !base::starts_with(token, "<0x") || token.back() != '>') return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  const int low = digit(token[4]), high = token[3] == '+' ? 0 : digit(token[3]);
  if (low < 0 || high < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

std::string clean_up(std::string text) {
  static const std::pair<const char*, const char*> kPairs[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kPairs) text = replace_all(text, from, to);
  return text;
}

}  // namespace

std::string Decoder::decode(Tokens tokens) const {
  if (steps_.empty()) return base::join(tokens, " ");
  for (const Step& step : steps_) tokens = step(std::move(tokens));
  return base::join(tokens, "");
}

Tokens decode_byte_level(const Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += alphabet_to_bytes(token).value_or(token);
  return {replace_invalid_utf8(bytes)};
}

Tokens decode_byte_fallback(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes.push_back(static_cast<char>(*byte));
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

Tokens decode_fuse(const Tokens& tokens) { return {base::join(tokens, "")}; }

Tokens decode_strip(Tokens tokens, const std::string& character, size_t start, size_t stop) {
  for (std::string& token : tokens) {
    size_t begin = 0, end = token.size();
    for (size_t i = 0; i < start && token.compare(begin, character.size(), character) == 0 && begin < end; ++i)
      begin += character.size();
    for (size_t i = 0; i < stop && end >= begin + character.size() &&
                       token.compare(end - character.size(), character.size(), character) == 0;
         ++i)
      end -= character.size();
    token = token.substr(begin, end - begin);
  }
  return tokens;
}

Tokens decode_metaspace(Tokens tokens, const std::string& replacement, PrependScheme scheme) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool dropped = i == 0 && scheme != PrependScheme::kNever;
    tokens[i] = replace_all(tokens[i], replacement, dropped ? "" : " ");
  }
  return tokens;
}

Tokens decode_word_piece(Tokens tokens, const std::string& prefix, bool cleanup) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && base::starts_with(tokens[i], prefix)) {
      tokens[i].erase(0, prefix.size());
    } else if (i > 0) {
      tokens[i] = base::cat(" ", tokens[i]);
    }
    if (cleanup) tokens[i] = clean_up(std::move(tokens[i]));
  }
  return tokens;
}

Tokens decode_bpe(Tokens tokens, const std::string& suffix) {
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
  return tokens;
}

Tokens decode_ctc(const Tokens& tokens, const std::string& pad, const std::string& delimiter, bool cleanup) {
  Tokens out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && tokens[i] == tokens[i - 1]) continue;
    std::string text = replace_all(tokens[i], pad, "");
    if (cleanup) text = replace_all(clean_up(std::move(text)), delimiter, " ");
    if (!text.empty()) out.push_back(std::move(text));
  }
  return out;
}

}  // namespace rqat::text
