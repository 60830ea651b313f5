#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

using Span = Regex::Span;

template <class Predicate>
std::vector<Span> character_spans(std::string_view text, const Predicate& is_separator) {
  std::vector<Span> spans;
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    if (is_separator(step.code_point)) {
      if (covered != i) spans.push_back({covered, i, false});
      spans.push_back({i, i + step.length, true});
      covered = i + step.length;
    }
    i += step.length;
  }
  if (covered != text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

void merge_with_previous(std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool previous_match = false;
  for (const Span& span : spans) {
    if (span.is_match && !previous_match && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    previous_match = span.is_match;
  }
  spans = std::move(merged);
}

void merge_with_next(std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool previous_match = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->is_match && !previous_match && !merged.empty()) {
      merged.back().begin = span->begin;
    } else {
      merged.push_back(*span);
    }
    previous_match = span->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  spans = std::move(merged);
}

void merge_runs(std::vector<Span>& spans) {
  std::vector<Span> merged;
  for (const Span& span : spans) {
    if (!merged.empty() && merged.back().is_match == span.is_match) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
  }
  spans = std::move(merged);
}

void treat(std::vector<Span>& spans, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(spans, [](const Span& span) { return span.is_match; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      merge_with_previous(spans);
      break;
    case SplitBehavior::kMergedWithNext:
      merge_with_next(spans);
      break;
    case SplitBehavior::kContiguous:
      merge_runs(spans);
      break;
  }
}

// Cuts each piece into the spans that `cut` finds in it.
template <class Cut>
void cut_pieces(Pieces& pieces, const Cut& cut) {
  std::vector<Piece> out;
  out.reserve(pieces.list.size() * 2);
  for (const Piece& piece : pieces.list) {
    for (const Span& span : cut(piece.text)) {
      if (span.begin < span.end)
        out.push_back({piece.text.substr(span.begin, span.end - span.begin), piece.first && span.begin == 0});
    }
  }
  pieces.list = std::move(out);
}

std::string_view stored(Pieces& pieces, std::string text) {
  pieces.storage.push_back(std::move(text));
  return pieces.storage.back();
}

void prefix_space(Pieces& pieces) {
  for (Piece& piece : pieces.list) {
    if (piece.text.front() != ' ') piece.text = stored(pieces, ' ' + std::string(piece.text));
  }
}

void map_bytes(Pieces& pieces) {
  for (Piece& piece : pieces.list) piece.text = stored(pieces, bytes_to_alphabet(piece.text));
}

// What precedes the first character with a script is dropped, as the `tokenizers` library does.
std::vector<Span> script_spans(std::string_view text) {
  std::vector<Span> spans;
  int script = kAnyScript;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    const int next = splitting_script(step.code_point);
    if (next != kAnyScript && next != script) spans.push_back({i, text.size(), false});
    if (next != kAnyScript) script = next;
    if (spans.size() > 1 && spans.back().begin == i) spans[spans.size() - 2].end = i;
    i += step.length;
  }
  return spans;
}

std::vector<Span> word_spans(std::string_view text) {
  std::vector<Span> spans;
  int kind = 0;  // 0 white space, 1 word, 2 other
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    const int next = is_word_character(step.code_point) ? 1 : is_space(step.code_point) ? 0 : 2;
    if (next != 0 && next == kind) {
      spans.back().end = i + step.length;
    } else if (next != 0) {
      spans.push_back({i, i + step.length, false});
    }
    kind = next;
    i += step.length;
  }
  return spans;
}

std::vector<Span> fixed_spans(std::string_view text, size_t length) {
  std::vector<Span> spans;
  size_t begin = 0, count = 0;
  for (size_t i = 0; i < text.size();) {
    i += utf8_step(text, i).length;
    if (++count % length == 0 || i == text.size()) {
      spans.push_back({begin, i, false});
      begin = i;
    }
  }
  return spans;
}

}  // namespace

void PreTokenizer::add_split(Regex regex, SplitBehavior behavior, bool invert) {
  ends_in_bytes_ = false;
  steps_.push_back([regex = std::move(regex), behavior, invert](Pieces& pieces) {
    cut_pieces(pieces, [&](std::string_view text) {
      std::vector<Span> spans = regex.spans(text);
      if (invert) {
        for (Span& span : spans) span.is_match = !span.is_match;
      }
      treat(spans, behavior);
      return spans;
    });
  });
}

void PreTokenizer::add_character_split(std::function<bool(uint32_t)> is_separator, SplitBehavior behavior) {
  ends_in_bytes_ = false;
  steps_.push_back([is_separator = std::move(is_separator), behavior](Pieces& pieces) {
    cut_pieces(pieces, [&](std::string_view text) {
      std::vector<Span> spans = character_spans(text, is_separator);
      treat(spans, behavior);
      return spans;
    });
  });
}

void PreTokenizer::add_digits(bool individual) {
  add_character_split(is_numeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

void PreTokenizer::add_words() {
  ends_in_bytes_ = false;
  steps_.push_back([](Pieces& pieces) { cut_pieces(pieces, word_spans); });
}

void PreTokenizer::add_metaspace(const std::string& replacement, PrependScheme scheme, bool split) {
  ends_in_bytes_ = false;
  minds_first_ = minds_first_ || scheme == PrependScheme::kFirst;
  steps_.push_back([replacement, scheme](Pieces& pieces) {
    for (Piece& piece : pieces.list) {
      std::string text;
      text.reserve(piece.text.size() * 3 / 2 + replacement.size());
      const bool starts = piece.text.front() == ' ' || piece.text.substr(0, replacement.size()) == replacement;
      const bool wanted = scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && piece.first);
      if (wanted && !starts) text = replacement;
      for (const char c : piece.text) {
        if (c == ' ') {
          text += replacement;
        } else {
          text += c;
        }
      }
      piece.text = stored(pieces, std::move(text));
    }
  });
  if (split) {
    const uint32_t mark = utf8_step(replacement, 0).code_point;
    add_character_split([mark](uint32_t c) { return c == mark; }, SplitBehavior::kMergedWithNext);
  }
}

void PreTokenizer::add_unicode_scripts() {
  ends_in_bytes_ = false;
  steps_.push_back([](Pieces& pieces) { cut_pieces(pieces, script_spans); });
}

void PreTokenizer::add_fixed_length(size_t length) {
  ends_in_bytes_ = false;
  steps_.push_back([length](Pieces& pieces) {
    cut_pieces(pieces, [length](std::string_view text) { return fixed_spans(text, length); });
  });
}

void PreTokenizer::add_byte_level(bool add_prefix_space, bool use_regex) {
  if (add_prefix_space) steps_.emplace_back(prefix_space);
  if (use_regex) add_split(Regex(kGpt2Pattern, "ByteLevel"), SplitBehavior::kIsolated, false);
  steps_.emplace_back(map_bytes);
  ends_in_bytes_ = true;
}

bool PreTokenizer::take_bytes() {
  if (ends_in_bytes_) steps_.pop_back();
  return std::exchange(ends_in_bytes_, false);
}

void PreTokenizer::split(std::string_view text, bool first, Pieces& pieces) const {
  pieces.storage.clear();
  pieces.list.clear();
  if (!text.empty()) pieces.list.push_back({text, first});
  for (const Step& step : steps_) step(pieces);
}

}  // namespace rqat::text
