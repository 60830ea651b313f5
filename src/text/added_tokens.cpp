#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace rqat::text {
namespace {

uint64_t edge(uint32_t node, char byte) { return (uint64_t{node} << 8) | static_cast<uint8_t>(byte); }

// Start of the character that ends before `end` (> 0) of valid UTF-8.
size_t previous_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  const bool before = begin > 0 && is_word_character(utf8_step(text, previous_character(text, begin)).code_point);
  const bool after = end < text.size() && is_word_character(utf8_step(text, end).code_point);
  return before || after;
}

size_t skip_space_left(std::string_view text, size_t begin) {
  while (begin > 0) {
    const size_t previous = previous_character(text, begin);
    if (!is_space(utf8_step(text, previous).code_point)) break;
    begin = previous;
  }
  return begin;
}

size_t skip_space_right(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Step step = utf8_step(text, end);
    if (!is_space(step.code_point)) break;
    end += step.length;
  }
  return end;
}

}  // namespace

void AddedTokenMatcher::add(const AddedToken& token) {
  uint32_t node = 0;
  for (const char byte : token.content) {
    const auto [entry, is_new] = child_.try_emplace(edge(node, byte), static_cast<uint32_t>(token_of_node_.size()));
    if (is_new) token_of_node_.push_back(-1);
    node = entry->second;
  }
  token_of_node_[node] = static_cast<int64_t>(tokens_.size());
  starts_[static_cast<uint8_t>(token.content.front())] = true;
  tokens_.push_back(token);
}

int64_t AddedTokenMatcher::longest_at(std::string_view text, size_t position) const {
  if (!starts_[static_cast<uint8_t>(text[position])]) return -1;
  int64_t longest = -1;
  uint32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    const auto next = child_.find(edge(node, text[i]));
    if (next == child_.end()) break;
    node = next->second;
    if (token_of_node_[node] >= 0) longest = token_of_node_[node];
  }
  return longest;
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text, bool parse_special) const {
  std::vector<Segment> segments;
  if (tokens_.empty()) {
    if (!text.empty()) segments.push_back({text, -1});
    return segments;
  }
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    const int64_t index = longest_at(text, i);
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = i, end = i + token.content.size();
    i = end;  // a match that is not used below still hides what it overlaps
    if (token.special && !parse_special) continue;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = skip_space_left(text, begin);
    begin = std::max(begin, covered);
    if (token.rstrip) end = skip_space_right(text, end);
    if (covered < begin) segments.push_back({text.substr(covered, begin - covered), -1});
    segments.push_back({text.substr(begin, end - std::min(begin, end)), token.id});
    covered = std::max(covered, end);
  }
  if (covered < text.size()) segments.push_back({text.substr(covered), -1});
  return segments;
}

}  // namespace rqat::text
