#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdio>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackLimit = 16 * 1024 * 1024;
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kMatchLimitPerByte = 16;

// White_Space, and its complement, as class content. PCRE2's own \s adds U+180E.
constexpr const char* kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr const char* kHexDigit = "0-9a-fA-F";

// Characters that this Unicode's PCRE2 may not know in the category `name` ("L", "Nd", "Han").
std::string young_characters(std::string_view name) {
  std::string out;
  char text[32];
  for (size_t i = 0; i < kYoungCategoriesCount; ++i) {
    const CategoryRange& range = kYoungCategories[i];
    const std::string_view category = range.category;
    const bool member = category == name || (name.size() == 1 && category.size() == 2 && category[0] == name[0]);
    if (!member) continue;
    std::snprintf(text, sizeof(text), "\\x{%x}-\\x{%x}", range.first, range.last);
    out += text;
  }
  return out;
}

// The category as class content.
std::string category(std::string_view name) {
  return base::cat("\\p{", std::string(name), '}', young_characters(name));
}

const std::string& word_characters() {
  static const std::string kWord = category("L") + category("M") + category("Nd") + category("Pc");
  return kWord;
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (position_ < pattern_.size()) {
      if (pattern_[position_] == '\\') {
        escape();
      } else if (in_class_) {
        class_character();
      } else {
        plain_character();
      }
    }
    return out_;
  }

 private:
  char peek(size_t ahead) const { return position_ + ahead < pattern_.size() ? pattern_[position_ + ahead] : '\0'; }

  [[noreturn]] void refuse(const std::string& what) const {
    throw base::IoError(base::cat(where_, ": regular expression not supported: ", what, " at offset ", position_,
                                  " of '", std::string(pattern_), "'"));
  }

  void as_class(const std::string& content) { out_ += in_class_ ? std::string(content) : base::cat('[', content, ']'); }

  void as_negated_class(const std::string& content, const char* what) {
    if (in_class_) refuse(base::cat(what, " inside a character class"));
    out_ += base::cat("[^", content, ']');
  }

  void escape() {
    const char kind = peek(1);
    size_t used = 2;
    if (kind == 's') {
      as_class(kSpace);
    } else if (kind == 'S') {
      as_class(kNotSpace);
    } else if (kind == 'w') {
      as_class(word_characters());
    } else if (kind == 'W') {
      as_negated_class(word_characters(), "\\W");
    } else if (kind == 'h') {
      as_class(kHexDigit);
    } else if (kind == 'H') {
      as_negated_class(kHexDigit, "\\H");
    } else if (kind == 'd') {
      as_class(category("Nd"));
    } else if (kind == 'D') {
      as_category_complement("Nd");
    } else if (kind == 'u') {
      out_ += base::cat("\\x{", std::string(pattern_.substr(position_ + 2, 4)), '}');
      used = 6;
    } else if (!in_class_ && (kind == 'b' || kind == 'B')) {
      refuse("word boundary");
    } else {
      if (peek(2) == '{' && (kind == 'p' || kind == 'P' || kind == 'x'))
        used = std::min(pattern_.find('}', position_), pattern_.size()) - position_ + 1;
      if (peek(2) == '{' && (kind == 'p' || kind == 'P')) {
        property(pattern_.substr(position_ + 3, used - 4), kind == 'P');
      } else {
        out_ += pattern_.substr(position_, used);
      }
    }
    position_ += std::min(used, pattern_.size() - position_);
  }

  void property(std::string_view name, bool negated) {
    if (base::starts_with(name, "^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (negated) {
      as_category_complement(name);
    } else {
      as_class(category(name));
    }
  }

  // Inside a class young characters cannot be taken out again; they count as what is not in the category.
  void as_category_complement(std::string_view name) {
    if (in_class_) {
      out_ += base::cat("\\P{", std::string(name), '}');
    } else {
      out_ += base::cat("[^", category(name), ']');
    }
  }

  void class_character() {
    const char c = pattern_[position_];
    if (c == '[' && peek(1) == ':') {
      const size_t end = pattern_.find(":]", position_ + 2);
      if (end == std::string_view::npos) refuse("unclosed POSIX bracket");
      out_ += pattern_.substr(position_, end + 2 - position_);
      position_ = end + 2;
      return;
    }
    if (c == '[') refuse("character class inside a character class");
    if (c == '&' && peek(1) == '&') refuse("intersection of character classes");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void plain_character() {
    const char c = pattern_[position_];
    if (c == '[') {
      in_class_ = true;
      copy(peek(1) == '^' ? 2 : 1);
      if (peek(0) == ']') refuse("empty character class");
    } else if (c == '(' && peek(1) == '?') {
      flags();
    } else if (c == '}' && peek(1) == '+') {
      refuse("'+' after an interval");  // possessive for PCRE2, a second quantifier for Oniguruma
    } else {
      copy(1);
    }
  }

  // Oniguruma's m lets '.' match a newline, which is PCRE2's s.
  void flags() {
    const size_t end = pattern_.find_first_not_of("imx-", position_ + 2);
    const bool is_flags =
        end != std::string_view::npos && end > position_ + 2 && (pattern_[end] == ':' || pattern_[end] == ')');
    if (!is_flags) return copy(2);
    std::string text(pattern_.substr(position_, end - position_));
    std::replace(text.begin(), text.end(), 'm', 's');
    out_ += text;
    position_ = end;
  }

  void copy(size_t count) {
    out_ += pattern_.substr(position_, count);
    position_ += count;
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string out_;
  size_t position_ = 0;
  bool in_class_ = false;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// Match state is costly to make, so each thread keeps one.
struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr);

  MatchState() {
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchState() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : compiled(compiled) {}
  ~Code() { pcre2_code_free(compiled); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  pcre2_code* compiled;
};

std::string translate_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

Regex::Regex(std::string_view pattern, const std::string& where, uint32_t match_limit)
    : pattern_(pattern), match_limit_(match_limit) {
  const std::string translated = translate_oniguruma(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (compiled == nullptr) {
    throw base::IoError(
        base::cat(where, ": regular expression '", pattern_, "' does not compile: ", pcre2_message(error)));
  }
  code_ = std::make_shared<const Code>(compiled);
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without JIT support pcre2_match interprets
}

bool Regex::search(std::string_view text, size_t start, size_t& match_begin, size_t& match_end) const {
  thread_local MatchState state;
  const uint64_t limit = match_limit_ > 0 ? match_limit_ : kMatchLimit + uint64_t{kMatchLimitPerByte} * text.size();
  pcre2_set_match_limit(state.context, static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  const int result = pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                                 PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    throw base::DataError(base::cat("splitting a text of ", text.size(), " bytes at byte ", start,
                                    " with the pattern '", pattern_, "' failed: ", pcre2_message(result),
                                    "; split the text into smaller pieces"));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data);
  match_begin = bounds[0];
  match_end = bounds[1];
  return match_begin <= match_end;  // \K in a lookahead may put the begin after the end
}

std::vector<Regex::Span> Regex::spans(std::string_view text) const {
  std::vector<Span> spans;
  size_t covered = 0, start = 0, begin = 0, end = 0;
  bool after_match = false;
  while (start <= text.size() && search(text, start, begin, end)) {
    if (begin == end && after_match && begin == covered) {
      start = begin < text.size() ? begin + utf8_step(text, begin).length : text.size() + 1;
      after_match = false;
      continue;
    }
    if (covered != begin) spans.push_back({covered, begin, false});
    spans.push_back({begin, end, true});
    covered = start = end;
    after_match = true;
  }
  if (covered != text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

std::string escape_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\.+*?()|[]{}^$#-&~)").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace rqat::text
