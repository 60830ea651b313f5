#include <algorithm>
#include <cctype>
#include <vector>

#include "rqat/answer/answer.h"
#include "rqat/base/strings.h"

namespace rqat::answer {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view trim_view(std::string_view text, std::string_view drop) {
  const size_t first = text.find_first_not_of(drop);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(drop) - first + 1);
}

std::string_view trimmed(std::string_view text) { return trim_view(text, " \t\r\n*`"); }

/// An answer and where it stands.
struct Found {
  std::string_view text;
  size_t at = 0;
};

std::optional<Found> last_of(const std::optional<Found>& a, const std::optional<Found>& b) {
  return !a || (b && b->at > a->at) ? b : a;
}

// "1. Setting up", "2) Then": the number of a heading, not an answer.
bool is_numbered_heading(std::string_view line) {
  size_t end = 0;
  while (end < line.size() && is_digit(line[end])) ++end;
  return end > 0 && end + 1 < line.size() && std::string_view(".):").find(line[end]) != std::string_view::npos &&
         is_space(line[end + 1]);
}

// Whether what stands behind "####" begins like a number or a formula; the rest may be a markdown heading.
bool begins_like_number(std::string_view line) {
  for (const std::string_view sign : {"\u2212", "\u221a", "\u03c0", "\u20ac", "\u00a3"}) {
    if (line.starts_with(sign)) return true;
  }
  if (is_digit(line.front())) return !is_numbered_heading(line);
  return std::string_view("+-.$\\([{|").find(line.front()) != std::string_view::npos;
}

struct Markers {
  std::optional<Found> number, words;  // the last of each kind
};

Markers find_markers(std::string_view response) {
  Markers markers;
  for (size_t start = 0, end = 0; start < response.size(); start = end + 1) {
    end = std::min(response.find('\n', start), response.size());
    // "#### 5 ####" is a heading closed as markdown allows.
    const size_t last = response.substr(0, end).find_last_not_of("# \t\r");
    if (last == std::string_view::npos || last < start) continue;
    const std::string_view line = response.substr(start, last + 1 - start);
    const size_t marker = line.rfind("####");
    if (marker == std::string_view::npos) continue;
    const std::string_view text = trimmed(line.substr(marker + 4));
    if (text.empty()) continue;
    (begins_like_number(text) ? markers.number : markers.words) = Found{text, start + marker};
  }
  return markers;
}

// Index of the brace that a box command at `position` opens, or npos.
size_t box_brace(std::string_view text, size_t position) {
  for (const std::string_view command : {"\\boxed", "\\fbox"}) {
    if (text.compare(position, command.size(), command) != 0) continue;
    const size_t brace = text.find_first_not_of(' ', position + command.size());
    return brace != std::string_view::npos && text[brace] == '{' ? brace : std::string_view::npos;
  }
  return std::string_view::npos;
}

// One pass with a stack of open braces: boxes that never close cannot make it quadratic, nor hide those inside them.
std::optional<Found> from_box(std::string_view text) {
  struct Open {
    size_t start;
    bool box;
  };
  std::vector<Open> open;
  std::optional<Found> last;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      const size_t brace = box_brace(text, i);
      if (brace == std::string_view::npos) {
        ++i;  // an escaped brace neither opens nor closes
      } else {
        open.push_back({brace + 1, true});
        i = brace;
      }
    } else if (text[i] == '{') {
      open.push_back({i + 1, false});
    } else if (text[i] == '}' && !open.empty()) {
      if (open.back().box) last = Found{trimmed(text.substr(open.back().start, i - open.back().start)), i};
      open.pop_back();
    }
  }
  return last && !last->text.empty() ? last : std::nullopt;
}

std::string_view sentence(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return text.substr(0, i);
    const bool stop = text[i] == '.' || text[i] == '!' || text[i] == '?' || text[i] == ';';
    if (stop && (i + 1 == text.size() || is_space(text[i + 1]))) return text.substr(0, i);
  }
  return text;
}

// Position just behind the last phrase that announces an answer, or npos.
size_t behind_phrase(std::string_view lowered) {
  size_t best = std::string_view::npos;
  for (const std::string_view phrase : {"answer is", "answer:", "answer =", "answer**:", "answer:**"}) {
    const size_t at = lowered.rfind(phrase);
    if (at == std::string_view::npos) continue;
    const size_t end = at + phrase.size();
    if (best == std::string_view::npos || end > best) best = end;
  }
  return best;
}

std::optional<Found> from_sentence(std::string_view response) {
  const size_t start = behind_phrase(lower(response));
  if (start == std::string_view::npos) return std::nullopt;
  std::string_view rest = response.substr(start);
  const size_t first = rest.find_first_not_of(" \t\r\n:*=`");
  if (first == std::string_view::npos) return std::nullopt;
  const std::string_view answer = trimmed(sentence(rest.substr(first)));
  if (answer.empty()) return std::nullopt;
  return Found{answer, start};
}

bool is_thousands(std::string_view text, size_t comma) {
  if (comma == 0 || !is_digit(text[comma - 1]) || comma + 3 >= text.size()) return false;
  for (size_t i = comma + 1; i <= comma + 3; ++i) {
    if (!is_digit(text[i])) return false;
  }
  return comma + 4 >= text.size() || !is_digit(text[comma + 4]);
}

}  // namespace

std::optional<std::string> extract(std::string_view response) {
  const Markers markers = find_markers(response);
  std::optional<Found> found = last_of(markers.number, from_box(response));
  if (!found) found = last_of(markers.words, from_sentence(response));
  if (!found) return std::nullopt;
  return std::string(found->text);
}

bool ends_inside_answer(std::string_view response) {
  const std::optional<std::string> answer = extract(response);
  // A digit would go on with a line or sentence, a brace would close a box: whichever the answer stands in.
  for (const char* more : {"0", "}"}) {
    if (extract(base::cat(response, more)) != answer) return true;
  }
  if (answer || response.empty()) return false;
  const bool mark = response.back() == '.' || response.back() == ',';
  const std::string_view before = mark ? response.substr(0, response.size() - 1) : response;
  return !before.empty() && is_digit(before.back());
}

std::optional<std::string> last_number(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return std::nullopt;
  size_t start = end;
  while (start > 0) {
    const size_t i = start - 1;
    const bool point = text[i] == '.' && i > 0 && is_digit(text[i - 1]);
    if (!is_digit(text[i]) && !point && !(text[i] == ',' && is_thousands(text, i))) break;
    --start;
  }
  const auto begins_number = [&](char sign) {
    if (start == 0 || text[start - 1] != sign) return false;
    const char before = start > 1 ? text[start - 2] : ' ';
    return !is_digit(before) && !is_letter(before) && before != ')';
  };
  if (begins_number('.')) --start;
  if (begins_number('-')) --start;
  return base::replace_all(std::string(text.substr(start, end - start)), ",", "");
}

}  // namespace rqat::answer
