#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Span {
  size_t begin, end;
  bool is_match;
};

// Matches and the stretches between them, in order. An empty match right after a match does not count.
std::vector<Span> regex_spans(const Regex& regex, std::string_view text) {
  std::vector<Span> spans;
  size_t covered = 0, start = 0, begin = 0, end = 0;
  bool after_match = false;
  while (start <= text.size() && regex.search(text, start, begin, end)) {
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

std::vector<Span> digit_spans(std::string_view text) {
  std::vector<Span> spans;
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text, i);
    if (is_numeric(step.code_point)) {
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

}  // namespace

void PreTokenizer::add_split(Regex regex, SplitBehavior behavior, bool invert) {
  steps_.push_back({{std::move(regex)}, behavior, invert});
}

void PreTokenizer::add_digits(bool individual) {
  steps_.push_back({{}, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false});
}

void PreTokenizer::set_byte_level(bool add_prefix_space, bool use_regex) {
  add_prefix_space_ = add_prefix_space;
  byte_level_.clear();
  if (use_regex) byte_level_.push_back({{Regex(kGpt2Pattern, "ByteLevel")}, SplitBehavior::kIsolated, false});
}

void PreTokenizer::apply(const Step& step, std::string_view piece, std::vector<std::string_view>& out) {
  std::vector<Span> spans = step.regex.empty() ? digit_spans(piece) : regex_spans(step.regex.front(), piece);
  if (step.invert) {
    for (Span& span : spans) span.is_match = !span.is_match;
  }
  treat(spans, step.behavior);
  for (const Span& span : spans) {
    if (span.begin < span.end) out.push_back(piece.substr(span.begin, span.end - span.begin));
  }
}

std::vector<std::string_view> PreTokenizer::apply(const Step& step, const std::vector<std::string_view>& pieces) {
  std::vector<std::string_view> out;
  out.reserve(pieces.size() * 2);
  for (const std::string_view piece : pieces) apply(step, piece, out);
  return out;
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text, std::string& buffer) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const Step& step : steps_) pieces = apply(step, pieces);
  if (add_prefix_space_) {
    buffer.clear();
    buffer.reserve(text.size() + pieces.size());  // the views below must not move
    for (std::string_view& piece : pieces) {
      const size_t begin = buffer.size();
      if (piece.front() != ' ') buffer += ' ';
      buffer += piece;
      piece = std::string_view(buffer).substr(begin);
    }
  }
  for (const Step& step : byte_level_) pieces = apply(step, pieces);
  return pieces;
}

}  // namespace rqat::text
