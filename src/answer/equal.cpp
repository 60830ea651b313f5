#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "rqat/answer/answer.h"
#include "rqat/base/strings.h"

namespace rqat::answer {
namespace {

__extension__ using Wide = __int128;

constexpr size_t kMaxDigits = 18;  // cross products of two such numbers stay below 2^127

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

struct Rational {
  Wide numerator = 0;
  Wide denominator = 1;  // > 0
};

bool same_value(const Rational& a, const Rational& b) {
  return a.numerator * b.denominator == b.numerator * a.denominator;
}

/// A number and what stands behind it.
struct Quantity {
  Rational value;
  std::string unit;
};

// LaTeX and Unicode spellings that carry no meaning of their own.
constexpr std::pair<std::string_view, std::string_view> kSpellings[] = {
    {"\u2212", "-"}, {"\u00a0", " "}, {"\u2009", " "}, {"\u202f", " "},   {"\\$", ""},     {"$", ""},    {"\\%", ""},
    {"%", ""},       {"{,}", ","},    {"\\!", ""},     {"\\,", " "},      {"\\;", " "},    {"\\ ", " "}, {"\\(", ""},
    {"\\)", ""},     {"\\[", ""},     {"\\]", ""},     {"^{\\circ}", ""}, {"^\\circ", ""},
};

// LaTeX commands, which end where their letters do: "\text" does not stand in "\textit".
constexpr std::pair<std::string_view, std::string_view> kCommands[] = {
    {"dfrac", "\\frac"}, {"tfrac", "\\frac"}, {"left", ""},   {"right", ""},  {"text", ""},
    {"textbf", ""},      {"textit", ""},      {"textrm", ""}, {"textsf", ""}, {"texttt", ""},
    {"textnormal", ""},  {"emph", ""},        {"mathrm", ""}, {"mathbf", ""}, {"mbox", ""},
};

// Words that change the number before them, so that they are no unit.
constexpr std::string_view kNotUnits[] = {
    "pi",       "hundred",   "hundreds", "thousand",   "thousands", "million", "millions",  "billion",  "billions",
    "trillion", "trillions", "dozen",    "dozens",     "and",       "or",      "to",        "plus",     "minus",
    "times",    "over",      "divided",  "multiplied", "squared",   "cubed",   "factorial", "choose",   "mod",
    "modulo",   "less",      "more",     "fewer",      "than",      "half",    "halves",    "third",    "thirds",
    "fourth",   "fourths",   "fifth",    "fifths",     "sixth",     "sixths",  "seventh",   "sevenths", "eighth",
    "eighths",  "ninth",     "ninths",   "tenth",      "tenths",    "sqrt",    "root",      "sin",      "cos",
    "tan",      "log",       "ln",       "exp",        "alpha",     "beta",    "theta",     "infinity"};

// Units that their two letters, or three consonants, do not tell from products of variables ("2 xy").
constexpr std::string_view kShortUnits[] = {"mm",  "cm",  "dm",  "km",  "nm",  "in",  "ft",  "yd",  "mi",  "kg",  "mg",
                                            "lb",  "oz",  "ml",  "dl",  "cl",  "cc",  "hr",  "am",  "pm",  "hz",  "kw",
                                            "kj",  "kb",  "mb",  "gb",  "tb",  "sq",  "cu",  "ms",  "lbs", "hrs", "yrs",
                                            "pts", "mph", "kph", "mpg", "rpm", "kwh", "kgs", "cms", "kms", "sec", "tsp",
                                            "pct", "pcs", "sqm", "of",  "by",  "at",  "on",  "is",  "up",  "us"};

std::string collapse_spaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (!is_space(c)) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string strip_outer_braces(std::string text) {
  while (text.size() >= 2 && text.front() == '{' && text.back() == '}' &&
         text.find_first_of("{}", 1) == text.size() - 1) {
    text = collapse_spaces(std::string_view(text).substr(1, text.size() - 2));
  }
  return text;
}

std::string replace_commands(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    while (text[i] == '\\' && end < text.size() && is_letter(text[end])) ++end;
    const std::string_view name = text.substr(i + 1, end - i - 1);
    const auto known = std::find_if(std::begin(kCommands), std::end(kCommands),
                                    [&](const auto& command) { return text[i] == '\\' && command.first == name; });
    out += known == std::end(kCommands) ? text.substr(i, end - i) : known->second;
    i = end;
  }
  return out;
}

size_t digits_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - at;
}

// "10 000" becomes "10000"; "2 3", "1 100/200" and "0.1 234" stay. Blanks are single.
std::string join_thousands(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t first = digits_at(text, i);
    const bool whole = out.empty() || out.back() != '.';
    size_t end = i + first;
    std::string joined(text.substr(i, first));
    while (first > 0 && first <= 3 && whole && end < text.size() && text[end] == ' ' && digits_at(text, end + 1) == 3) {
      joined += text.substr(end + 1, 3);
      end += 4;
    }
    if (end > i + first && end < text.size() && text[end] == '/') {
      end = i + first;
      joined = text.substr(i, first);
    }
    out += joined;
    if (first == 0) out += text[end++];
    i = end;
  }
  return out;
}

std::string normalize(std::string_view text) {
  std::string out = replace_commands(text);
  for (const auto& [from, to] : kSpellings) out = base::replace_all(std::move(out), from, to);
  out = join_thousands(collapse_spaces(out));
  while (!out.empty() && (out.back() == '.' || out.back() == ' ')) out.pop_back();
  return strip_outer_braces(std::move(out));
}

/// Reads a number from the front of a text; every read_* either consumes what it read or leaves the reader as it was.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<Rational> number() {
    const size_t start = at_;
    const bool negative = read_sign();
    std::optional<Rational> value = fraction_command();
    if (!value) value = mixed();
    if (!value) value = decimal_or_ratio();
    if (!value) {
      at_ = start;
      return std::nullopt;
    }
    if (negative) value->numerator = -value->numerator;
    return value;
  }

  std::string_view rest() const { return text_.substr(at_); }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  void skip_spaces() {
    while (peek() == ' ') ++at_;
  }
  bool read_sign() {
    const bool negative = peek() == '-';
    if (negative || peek() == '+') ++at_;
    skip_spaces();
    return negative;
  }

  bool thousands_follow() const {
    if (peek() != ',') return false;
    for (size_t i = 1; i <= 3; ++i) {
      if (!is_digit(peek(i))) return false;
    }
    return !is_digit(peek(4));
  }

  // Digits with or without thousands commas, and a decimal part.
  std::optional<Rational> decimal() {
    Rational value;
    size_t digits = 0, significant = 0;
    const auto take = [&] {
      value.numerator = value.numerator * 10 + (text_[at_++] - '0');
      ++digits;
      if (value.numerator != 0) ++significant;
      return significant <= kMaxDigits;
    };
    bool grouped = false;
    while (is_digit(peek()) || (digits > 0 && (digits <= 3 || grouped) && thousands_follow())) {
      if (peek() == ',') {
        grouped = true;
        ++at_;
      }
      if (!take()) return std::nullopt;
    }
    if (peek() == '.' && is_digit(peek(1))) {
      ++at_;
      for (size_t places = 1; is_digit(peek()); ++places) {
        if (!take() || places > kMaxDigits) return std::nullopt;
        value.denominator *= 10;
      }
    }
    if (digits == 0) return std::nullopt;
    return reduced(value);
  }

  // "1 1/2", "1\frac{1}{2}": an integer and a proper fraction behind it.
  std::optional<Rational> mixed() {
    const size_t start = at_;
    const auto whole = decimal();
    const size_t behind_whole = at_;
    skip_spaces();
    std::optional<Rational> part;
    if (whole && whole->denominator == 1) {
      part = at_ > behind_whole && is_digit(peek()) ? decimal_or_ratio() : fraction_command();
    }
    const bool proper = part && part->numerator > 0 && part->numerator < part->denominator;
    const auto value = proper ? sum(*whole, *part) : std::nullopt;
    if (!value) at_ = start;
    return value;
  }

  std::optional<Rational> decimal_or_ratio() {
    const auto top = decimal();
    if (!top) return std::nullopt;
    const size_t behind_top = at_;
    skip_spaces();
    if (peek() == '/') {
      ++at_;
      skip_spaces();
      const bool negative = read_sign();
      const auto bottom = decimal();
      return bottom ? ratio(*top, *bottom, negative) : std::nullopt;
    }
    at_ = behind_top;
    return top;
  }

  // \frac{a}{b}, and \frac12 with one digit each.
  std::optional<Rational> fraction_command() {
    constexpr std::string_view kCommand = "\\frac";
    if (text_.compare(at_, kCommand.size(), kCommand) != 0) return std::nullopt;
    at_ += kCommand.size();
    bool top_negative = false, bottom_negative = false;
    const auto top = argument(top_negative);
    const auto bottom = argument(bottom_negative);
    if (!top || !bottom) return std::nullopt;
    return ratio(*top, *bottom, top_negative != bottom_negative);
  }

  std::optional<Rational> argument(bool& negative) {
    skip_spaces();
    if (is_digit(peek())) return Rational{text_[at_++] - '0', 1};
    if (peek() != '{') return std::nullopt;
    ++at_;
    skip_spaces();
    negative = read_sign();
    const auto value = decimal();
    skip_spaces();
    if (!value || peek() != '}') return std::nullopt;
    ++at_;
    return value;
  }

  static Rational reduced(Rational value) {
    Wide a = value.numerator, b = value.denominator;
    while (b != 0) std::swap(a %= b, b);
    return {value.numerator / a, value.denominator / a};
  }

  static std::optional<Rational> sum(const Rational& whole, const Rational& part) {
    const Rational top{whole.numerator * part.denominator + part.numerator, 1};
    return ratio(top, {part.denominator, 1}, false);
  }

  static std::optional<Rational> ratio(const Rational& top, const Rational& bottom, bool negative) {
    if (bottom.numerator == 0) return std::nullopt;
    const Rational value = reduced({top.numerator * bottom.denominator, top.denominator * bottom.numerator});
    constexpr Wide kLimit = 1'000'000'000'000'000'000;
    if (value.numerator >= kLimit || value.denominator > kLimit) return std::nullopt;
    return Rational{negative ? -value.numerator : value.numerator, value.denominator};
  }

  std::string_view text_;
  size_t at_ = 0;
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_words(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || c == ' ' || c == '-' || c == '\'' || c == '_'; });
}

// "{ Apples}" and " apples" become "apples".
std::string plain_unit(std::string_view rest) {
  std::string unit(rest);
  std::replace_if(
      unit.begin(), unit.end(), [](char c) { return c == '{' || c == '}'; }, ' ');
  return lower(base::trim(collapse_spaces(unit)));
}

template <size_t N>
bool is_one_of(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

// "xy", "abc", "mn": letters that stand for variables rather than a word.
bool is_product(std::string_view word) {
  if (word.size() > 3 || is_one_of(kShortUnits, word)) return false;
  const bool in_order = std::adjacent_find(word.begin(), word.end(), [](char a, char b) { return b != a + 1; }) ==
                        word.end();  // also of a single letter
  return in_order || word.size() == 2 || word.find_first_of("aeiou") == std::string_view::npos;
}

bool is_unit(const std::string& unit) {
  if (unit.empty() || !is_letter(unit.front()) || !is_words(unit)) return false;
  const std::vector<std::string> words = base::split(unit, ' ');
  const std::string& first = words[0];
  const std::string second = words.size() > 1 ? words[1] : "";
  if (is_one_of(kNotUnits, first) || (first == "percent" && second == "of")) return false;
  const bool per = first == "a" && !second.empty();  // "12 a day"
  if (is_product(first) && !per) return false;
  return std::none_of(words.begin() + 1, words.end(),
                      [](const std::string& word) { return word.size() == 1 && word != "a"; });
}

// A number alone or with a unit in words; "2x", "2 x" and "3 + 4" are not quantities.
std::optional<Quantity> read_quantity(std::string_view text) {
  Reader reader(text);
  const auto value = reader.number();
  if (!value) return std::nullopt;
  const std::string_view rest = reader.rest();
  if (rest.empty()) return Quantity{*value, ""};
  const std::string unit = plain_unit(rest);
  if (is_letter(rest.front()) || !is_unit(unit)) return std::nullopt;
  return Quantity{*value, unit.ends_with('s') ? unit.substr(0, unit.size() - 1) : unit};
}

// Two numbers side by side stay two.
std::string without_blanks(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between_digits =
        i > 0 && i + 1 < text.size() && is_digit(text[i - 1]) && is_digit(text[i + 1]);  // blanks are single
    if (text[i] != ' ' || between_digits) out += text[i];
  }
  return out;
}

bool same_text(std::string_view a, std::string_view b) {
  if (is_words(a) && is_words(b)) {
    const auto without_article = [](std::string text) { return text.starts_with("the ") ? text.substr(4) : text; };
    return without_article(lower(a)) == without_article(lower(b));
  }
  return without_blanks(a) == without_blanks(b);
}

bool same_item(const std::string& a, const std::string& b) {
  const auto left = read_quantity(a);
  const auto right = read_quantity(b);
  if (!left || !right) return same_text(a, b);
  const bool same_unit = left->unit.empty() || right->unit.empty() || left->unit == right->unit;
  return same_unit && same_value(left->value, right->value);
}

bool is_open(char c) { return c == '(' || c == '[' || c == '{'; }
bool is_close(char c) { return c == ')' || c == ']' || c == '}'; }

// Items between commas outside brackets.
std::vector<std::string> split_items(std::string_view text) {
  std::vector<std::string> items;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_open(text[i])) ++depth;
    if (is_close(text[i])) --depth;
    if (text[i] != ',' || depth != 0) continue;
    items.push_back(base::trim(text.substr(start, i - start)));
    start = i + 1;
  }
  items.push_back(base::trim(text.substr(start)));
  return items;
}

// Takes "(...)" or "[...]" off a text; returns the two brackets.
std::string take_brackets(std::string& text) {
  const bool bracketed = text.size() >= 2 && (text.front() == '(' || text.front() == '[') &&
                         (text.back() == ')' || text.back() == ']') && text.find_first_of("()[]", 1) == text.size() - 1;
  if (!bracketed) return "";
  std::string brackets{text.front(), text.back()};
  text = base::trim(std::string_view(text).substr(1, text.size() - 2));
  return brackets;
}

bool same_list(std::string a, std::string b) {
  if (take_brackets(a) != take_brackets(b)) return false;
  const auto left = split_items(a);
  const auto right = split_items(b);
  return left.size() == right.size() && std::equal(left.begin(), left.end(), right.begin(), same_item);
}

}  // namespace

bool equal(std::string_view a, std::string_view b) {
  if (a.size() > kMaxLength || b.size() > kMaxLength) return base::trim(a) == base::trim(b);
  const std::string left = normalize(a);
  const std::string right = normalize(b);
  if (left.empty() || right.empty()) return left == right;
  return same_item(left, right) || same_list(left, right);
}

}  // namespace rqat::answer
