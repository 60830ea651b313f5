#include <algorithm>
#include <array>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/jinja/syntax.h"
#include "text/utf8.h"

namespace rqat::text::jinja {
namespace {

constexpr std::string_view kWhite = " \t\n\r\f\v";
constexpr std::array<std::string_view, 27> kOperators = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                                         "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                                         "]",  "{",  "}",  ",",  ".",  ":",  "|", ";", "!"};

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool is_name_part(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where) : source_(source), where_(where) {
    if (!source_.empty() && source_.back() == '\n') source_.remove_suffix(1);
  }

  std::vector<Token> run() {
    while (position_ < source_.size()) {
      text();
      if (position_ < source_.size()) tag();
    }
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw base::IoError(base::cat(where_, ":", line_, ": ", what));
  }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool at(std::string_view what) const { return source_.substr(position_, what.size()) == what; }

  void advance(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + position_, source_.begin() + position_ + count, '\n'));
    position_ += count;
  }

  size_t next_tag() const {
    for (size_t i = position_; (i = source_.find('{', i)) != std::string_view::npos; ++i) {
      if (i + 1 < source_.size() && std::string_view("{%#").find(source_[i + 1]) != std::string_view::npos) return i;
    }
    return source_.size();
  }

  void text() {
    const size_t end = next_tag();
    const char kind = end + 1 < source_.size() ? source_[end + 1] : '\0';
    push_text(end, kind, end + 2 < source_.size() ? source_[end + 2] : '\0');
  }

  void tag() {
    const char kind = source_[position_ + 1];
    advance(2);
    if (kind == '#') {
      const size_t end = source_.find("#}", position_);
      if (end == std::string_view::npos) fail("comment '{#' is not closed");
      advance(end - position_);
      const char mark = source_[position_ - 1];
      return close(mark, true, 2);
    }
    if (at("-") || at("+")) advance(1);
    const bool statement = kind == '%';
    if (statement && raw_block()) return;
    push(statement ? TokenKind::kOpenStatement : TokenKind::kOpenExpression, "");
    const std::string_view end = statement ? "%}" : "}}";
    for (int depth = 0;;) {
      advance(std::min(source_.find_first_not_of(kWhite, position_), source_.size()) - position_);
      if (position_ >= source_.size()) fail(base::cat("tag is not closed with '", std::string(end), "'"));
      const bool marked = at("-") || at("+");
      if (depth == 0 && (at(end) || (marked && source_.substr(position_ + 1, 2) == end))) {
        push(statement ? TokenKind::kCloseStatement : TokenKind::kCloseExpression, "");
        return close(source_[position_], statement, marked ? 3 : 2);
      }
      token(depth);
    }
  }

  // "%}" with its mark and white space before it, at `position` or later; npos when something else stands there.
  size_t end_of_bare_tag(size_t position, size_t& mark_at) const {
    mark_at = std::min(source_.find_first_not_of(kWhite, position), source_.size());
    const size_t end =
        mark_at < source_.size() && (source_[mark_at] == '-' || source_[mark_at] == '+') ? mark_at + 1 : mark_at;
    return source_.substr(end, 2) == "%}" ? end : std::string_view::npos;
  }

  // {% raw %} text {% endraw %}: the text as it is.
  bool raw_block() {
    const size_t name = std::min(source_.find_first_not_of(kWhite, position_), source_.size());
    size_t mark_at = 0;
    if (source_.substr(name, 3) != "raw") return false;
    const size_t end = end_of_bare_tag(name + 3, mark_at);
    if (end == std::string_view::npos) return false;
    advance(mark_at - position_);
    close(source_[mark_at], true, end + 2 - mark_at);
    for (size_t open = source_.find("{%", position_); open != std::string_view::npos;
         open = source_.find("{%", open + 2)) {
      const bool marked = open + 2 < source_.size() && (source_[open + 2] == '-' || source_[open + 2] == '+');
      const size_t word = source_.find_first_not_of(kWhite, open + (marked ? 3 : 2));
      if (word == std::string_view::npos || source_.substr(word, 6) != "endraw") continue;
      const size_t closing = end_of_bare_tag(word + 6, mark_at);
      if (closing == std::string_view::npos) continue;
      push_text(open, '%', marked ? source_[open + 2] : '\0');
      advance(mark_at - position_);
      close(source_[mark_at], true, closing + 2 - mark_at);
      return true;
    }
    fail("'{% endraw %}' is missing");
  }

  // Text up to the tag at `end`, without the white space that the tag swallows.
  void push_text(size_t end, char kind, char mark) {
    std::string_view text = source_.substr(position_, end - position_);
    if (end < source_.size()) {
      if (mark == '-') {
        text = text.substr(0, text.find_last_not_of(kWhite) + 1);
      } else if (kind != '{' && mark != '+') {
        const size_t line_start = text.rfind('\n') + 1;
        const bool only_white = text.find_first_not_of(kWhite, line_start) == std::string_view::npos;
        if ((line_start > 0 || line_starting_) && only_white) text = text.substr(0, line_start);
      }
    }
    if (!text.empty()) push(TokenKind::kText, std::string(text));
    advance(end - position_);
  }

  // Skips the end of a tag and the white space it swallows.
  void close(char mark, bool trims_newline, size_t length) {
    advance(length);
    size_t end = position_;
    if (mark == '-') {
      end = std::min(source_.find_first_not_of(kWhite, position_), source_.size());
    } else if (trims_newline && mark != '+' && at("\n")) {
      end = position_ + 1;
    }
    advance(end - position_);
    line_starting_ = source_[position_ - 1] == '\n';
  }

  void token(int& depth) {
    const char c = source_[position_];
    if (c == '\'' || c == '"') return string_literal(c);
    size_t end = position_;
    if (is_name_start(c)) {
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      push(TokenKind::kName, std::string(source_.substr(position_, end - position_)));
    } else if (is_digit(c)) {
      while (end < source_.size() && is_digit(source_[end])) ++end;
      while (end < source_.size() && source_[end] == '_' && end + 1 < source_.size() && is_digit(source_[end + 1])) {
        for (++end; end < source_.size() && is_digit(source_[end]);) ++end;
      }
      const bool fraction = end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1]);
      if (fraction) {
        for (++end; end < source_.size() && is_digit(source_[end]);) ++end;
      }
      const size_t power = exponent_length(end);
      end += power;
      push(fraction || power > 0 ? TokenKind::kFloat : TokenKind::kInteger, without_underscores(end));
    } else {
      const auto* found =
          std::find_if(kOperators.begin(), kOperators.end(), [&](std::string_view op) { return at(op); });
      if (found == kOperators.end()) fail(base::cat("unexpected character '", c, "'"));
      if (std::string_view("([{").find(c) != std::string_view::npos) ++depth;
      if (std::string_view(")]}").find(c) != std::string_view::npos) --depth;
      push(TokenKind::kOperator, std::string(*found));
      end = position_ + found->size();
    }
    advance(end - position_);
  }

  // Length of "e-5" at `at`, 0 when there is none.
  size_t exponent_length(size_t at) const {
    if (at >= source_.size() || (source_[at] != 'e' && source_[at] != 'E')) return 0;
    size_t end = at + 1;
    if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) ++end;
    const size_t digits = end;
    while (end < source_.size() && is_digit(source_[end])) ++end;
    return end > digits ? end - at : 0;
  }

  std::string without_underscores(size_t end) const {
    std::string number(source_.substr(position_, end - position_));
    number.erase(std::remove(number.begin(), number.end(), '_'), number.end());
    return number;
  }

  void string_literal(char quote) {
    std::string value;
    size_t i = position_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 >= source_.size()) {
        value += source_[i];
        continue;
      }
      i += escape(i + 1, value);
    }
    if (i >= source_.size()) fail("string is not closed");
    push(TokenKind::kString, std::move(value));
    advance(i + 1 - position_);
  }

  // Appends the meaning of the escape whose kind is at `i`; returns the characters used.
  size_t escape(size_t i, std::string& value) const {
    const char kind = source_[i];
    static constexpr std::string_view kKinds = "nrtbfv0a\\'\"", kMeanings("\n\r\t\b\f\v\0\a\\'\"", 11);
    const size_t simple = kKinds.find(kind);
    if (simple != std::string_view::npos) {
      value += kMeanings[simple];
      return 1;
    }
    const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (digits > 0) {
      const std::string hex(source_.substr(i + 1, digits));
      if (hex.size() < digits || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
        fail("bad escape in a string");
      const auto code_point = static_cast<uint32_t>(std::stoul(hex, nullptr, 16));
      if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000))
        fail(base::cat("escape '\\", kind, hex, "' is no character"));
      append_utf8(value, code_point);
      return 1 + digits;
    }
    if (kind == '\n') return 1;
    value += '\\';
    value += kind;
    return 1;
  }

  std::string_view source_;
  const std::string& where_;
  std::vector<Token> tokens_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& where) { return Lexer(source, where).run(); }

}  // namespace rqat::text::jinja
