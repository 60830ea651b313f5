#include "text/normalizer.h"

#include <array>
#include <cstring>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::text {
namespace {

constexpr size_t kMostGrowth = 64;
constexpr size_t kFreeGrowth = size_t{1} << 20;

void check_growth(size_t before, size_t after) {
  if (after <= kFreeGrowth || (after - kFreeGrowth) / kMostGrowth <= before) return;
  throw base::DataError(base::cat("the tokenizer's rules blow up a text of ", before, " bytes to more than ", after,
                                  " bytes; check the Replace and Prepend steps of its normalizer"));
}

template <class Change>
std::string map_characters(const std::string& text, Change&& change) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    change(step.code_point, std::string_view(text).substr(i, step.length), out);
    i += step.length;
  }
  return out;
}

bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_plain_control(uint32_t c) { return c == '\t' || c == '\n' || c == '\r'; }

std::string clean_for_bert(const std::string& text) {
  return map_characters(text, [](uint32_t c, std::string_view bytes, std::string& out) {
    if (c == 0 || c == 0xFFFD || (!is_plain_control(c) && is_other(c))) return;
    if (is_plain_control(c) || is_space(c)) {
      out += ' ';
    } else {
      out += bytes;
    }
  });
}

std::string space_around_chinese(const std::string& text) {
  return map_characters(text, [](uint32_t c, std::string_view bytes, std::string& out) {
    const bool apart = is_chinese(c);
    if (apart) out += ' ';
    out += bytes;
    if (apart) out += ' ';
  });
}

}  // namespace

std::string Normalizer::apply(std::string text) const {
  const size_t before = text.size();
  for (const Step& step : steps_) {
    text = step(std::move(text));
    check_growth(before, text.size());
  }
  return text;
}

std::string prepend(std::string text, const std::string& start) { return text.empty() ? text : text.insert(0, start); }

std::string strip_space(std::string text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  while (left && begin < end && is_space(utf8_step(text, begin).code_point)) begin += utf8_step(text, begin).length;
  while (right && begin < end) {
    size_t last = end - 1;
    while (last > begin && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_space(utf8_step(text, last).code_point)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string strip_accents(const std::string& text) {
  return map_characters(text, [](uint32_t c, std::string_view bytes, std::string& out) {
    if (!is_mark(c)) out += bytes;
  });
}

std::string clean_for_nmt(const std::string& text) {
  return map_characters(text, [](uint32_t c, std::string_view bytes, std::string& out) {
    const bool dropped =
        (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    if (dropped) return;
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (space) {
      out += ' ';
    } else {
      out += bytes;
    }
  });
}

std::string replace_all(const std::string& text, const std::string& from, const std::string& to) {
  size_t found = text.find(from);
  if (found == std::string::npos) return text;
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t begin = 0;
  for (; found != std::string::npos; found = text.find(from, begin)) {
    out.append(text, begin, found - begin).append(to);
    check_growth(text.size(), out.size());
    begin = found + from.size();
  }
  return out.append(text, begin, std::string::npos);
}

std::string replace_all(const std::string& text, const Regex& pattern, const std::string& to) {
  std::string out;
  for (const Regex::Span& span : pattern.spans(text)) {
    out += span.is_match ? to : text.substr(span.begin, span.end - span.begin);
    check_growth(text.size(), out.size());
  }
  return out;
}

std::string normalize_for_bert(std::string text, const BertNormalization& options) {
  if (options.clean_text) text = clean_for_bert(text);
  if (options.handle_chinese_chars) text = space_around_chinese(text);
  if (options.strip_accents) {
    text = map_characters(to_nfd(text), [](uint32_t c, std::string_view bytes, std::string& out) {
      if (!is_nonspacing_mark(c)) out += bytes;
    });
  }
  return options.lowercase ? to_lower(text) : text;
}

CharacterMap::CharacterMap(std::string blob, const std::string& where) {
  uint32_t trie_bytes = 0;
  if (blob.size() >= 4) std::memcpy(&trie_bytes, blob.data(), 4);
  if (blob.size() < 4 || trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > blob.size() - 4) {
    throw base::IoError(base::cat(where, ": the character map has ", blob.size(), " bytes, of which its trie claims ",
                                  trie_bytes, "; it is damaged"));
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data() + 4, trie_bytes);
  replacements_ = blob.substr(4 + trie_bytes);
  replacements_ += '\0';
  if (!is_valid_utf8(replacements_))
    throw base::IoError(base::cat(where, ": the replacements of the character map are not valid UTF-8; it is damaged"));
}

bool CharacterMap::find(std::string_view text, std::string_view& replacement) const {
  const auto offset_of = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  size_t position = offset_of(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) return false;
    position ^= byte;
    if (position >= units_.size()) return false;
    const uint32_t unit = units_[position];
    if ((unit & ((1u << 31) | 0xFFu)) != byte) return false;
    position ^= offset_of(unit);
    if (position >= units_.size()) return false;
    if ((unit >> 8) & 1) {
      const size_t at = units_[position] & 0x7FFFFFFFu;
      const bool inside_character =
          at < replacements_.size() && (static_cast<uint8_t>(replacements_[at]) & 0xC0) == 0x80;
      if (at >= replacements_.size() || inside_character) return false;
      replacement = replacements_.c_str() + at;
      return true;
    }
  }
  return false;
}

void CharacterMap::append(std::string_view cluster, std::string& out) const {
  std::string_view replacement;
  if (cluster.size() < 6 && find(cluster, replacement)) {
    out += replacement;
    return;
  }
  for (size_t i = 0; i < cluster.size();) {
    const std::string_view character = cluster.substr(i, utf8_step(cluster, i).length);
    out += find(character, replacement) ? replacement : character;
    i += character.size();
  }
}

std::string CharacterMap::apply(const std::string& text) const {
  std::string out;
  out.reserve(text.size());
  for (const std::string_view cluster : grapheme_clusters(text)) append(cluster, out);
  return out;
}

std::string decode_base64(std::string_view text, const std::string& where) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> values;
  values.fill(-1);
  for (size_t i = 0; i < kDigits.size(); ++i) values[static_cast<uint8_t>(kDigits[i])] = static_cast<int>(i);
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = values[static_cast<uint8_t>(c)];
    if (value < 0) throw base::IoError(base::cat(where, ": '", std::string(1, c), "' is not base64"));
    bits = (bits << 6) | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>((bits >> count) & 0xFF));
    }
  }
  return out;
}

}  // namespace rqat::text
