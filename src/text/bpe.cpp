#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr size_t kFewSymbols = 32;

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

struct Candidate {
  int32_t rank, position, id;
};

void append_ids(const std::vector<Symbol>& symbols, std::vector<int32_t>& out) {
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kMergedAway) out.push_back(symbol.id);
  }
}

void append_symbol(int32_t id, std::vector<Symbol>& symbols) {
  const auto index = static_cast<int32_t>(symbols.size());
  symbols.push_back({id, index - 1, index + 1});
}

// Lowest rank first, then leftmost.
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

MergeTable::MergeTable(size_t expected)
    : slots_(std::bit_ceil(std::max<size_t>(16, expected * 2))), mask_(slots_.size() - 1) {}

size_t MergeTable::slot_of(uint64_t key) const {
  uint64_t hash = key * 0x9E3779B97F4A7C15ull;
  hash ^= hash >> 32;
  size_t slot = hash & mask_;
  while (slots_[slot].key != key && slots_[slot].merge.rank >= 0) slot = (slot + 1) & mask_;
  return slot;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = pair_key(left, right);
  slots_[slot_of(key)] = {key, merge};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  return slots_[slot_of(pair_key(left, right))].merge;
}

Bpe::Bpe(std::array<int32_t, 256> byte_ids, MergeTable merges, std::unordered_map<std::string, int32_t> whole_words,
         Options options)
    : byte_ids_(byte_ids), merges_(std::move(merges)), whole_words_(std::move(whole_words)), options_(options) {}

size_t Bpe::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    const auto whole = whole_words_.find(std::string(word));
    if (whole != whole_words_.end()) {
      out.push_back(whole->second);
      return 0;
    }
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  const size_t missing = split_bytes(word, symbols);
  merge_symbols(merges_, symbols);
  append_ids(symbols, out);
  return missing;
}

size_t Bpe::split_bytes(std::string_view word, std::vector<Symbol>& symbols) const {
  size_t missing = 0;
  bool after_unknown = false;
  for (const char c : word) {
    int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (unknown) {
      ++missing;
      const bool fused = options_.fuse_unknown && after_unknown;
      id = fused ? -1 : options_.unknown_id;
    }
    after_unknown = unknown;
    if (id < 0) continue;
    append_symbol(id, symbols);
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return missing;
}

// Short words: looking at all neighbors is faster than a queue.
void merge_few(const MergeTable& merges, std::vector<Symbol>& symbols) {
  MergeTable::Merge found[kFewSymbols];
  for (size_t i = 0; i + 1 < symbols.size(); ++i) found[i] = merges.find(symbols[i].id, symbols[i + 1].id);
  size_t count = symbols.size();
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (found[i].rank >= 0 && (best == count || found[i].rank < found[best].rank)) best = i;
    }
    if (best == count) break;
    symbols[best].id = found[best].id;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      symbols[i].id = symbols[i + 1].id;
      found[i - 1] = found[i];
    }
    if (best > 0) found[best - 1] = merges.find(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < count) found[best] = merges.find(symbols[best].id, symbols[best + 1].id);
  }
  symbols.resize(count);
}

void merge_symbols(const MergeTable& merges, std::vector<Symbol>& symbols) {
  if (symbols.size() <= kFewSymbols) return merge_few(merges, symbols);
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue;
  const auto offer = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const MergeTable::Merge found = merges.find(symbols[left].id, symbols[symbols[left].next].id);
    if (found.rank >= 0) queue.push({found.rank, left, found.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.id == kMergedAway || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const MergeTable::Merge current = merges.find(left.id, right.id);
    if (current.rank != top.rank || current.id != top.id) continue;  // a neighbor has changed since
    left.id = top.id;
    right.id = kMergedAway;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    offer(left.previous);
    offer(top.position);
  }
}

CharacterBpe::CharacterBpe(const TokenIds& ids, MergeTable merges, Options options)
    : ids_(ids), merges_(std::move(merges)), options_(std::move(options)) {
  if (!options_.continuation.empty() || !options_.word_end.empty()) return;
  for (const auto& [token, id] : ids) {
    if (token.empty()) continue;
    const Utf8Step step = utf8_step(token, 0);
    if (!step.valid || step.length != token.size()) continue;
    if (step.code_point >= by_code_point_.size()) by_code_point_.resize(step.code_point + 1, -1);
    by_code_point_[step.code_point] = static_cast<int32_t>(id);
  }
}

int32_t CharacterBpe::character_id(std::string_view word, size_t begin, size_t length, uint32_t code_point) const {
  if (options_.continuation.empty() && options_.word_end.empty())
    return code_point < by_code_point_.size() ? by_code_point_[code_point] : -1;
  std::string token = begin > 0 ? options_.continuation : "";
  token += word.substr(begin, length);
  if (begin + length == word.size()) token += options_.word_end;
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : static_cast<int32_t>(found->second);
}

bool CharacterBpe::split_to_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
  if (!options_.byte_ids) return false;
  const auto id = [&](char c) { return (*options_.byte_ids)[static_cast<uint8_t>(c)]; };
  if (std::any_of(character.begin(), character.end(), [&](char c) { return id(c) < 0; })) return false;
  for (const char c : character) append_symbol(id(c), symbols);
  return true;
}

// An unknown character is written when the next known one comes, so that neighbors can be fused; bytes do not count as
// known. This is the order of the `tokenizers` library.
size_t CharacterBpe::split_characters(std::string_view word, std::vector<Symbol>& symbols) const {
  size_t missing = 0;
  bool pending = false;
  for (size_t i = 0; i < word.size();) {
    const Utf8Step step = utf8_step(word, i);
    const size_t begin = i;
    i += step.length;
    const int32_t id = character_id(word, begin, step.length, step.code_point);
    if (id >= 0) {
      if (std::exchange(pending, false)) append_symbol(options_.unknown_id, symbols);
      append_symbol(id, symbols);
    } else if (!split_to_bytes(word.substr(begin, step.length), symbols)) {
      missing += step.length;
      if (pending && !options_.fuse_unknown) append_symbol(options_.unknown_id, symbols);
      pending = options_.unknown_id >= 0;
    }
  }
  if (pending) append_symbol(options_.unknown_id, symbols);
  if (!symbols.empty()) symbols.back().next = -1;
  return missing;
}

size_t CharacterBpe::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  if (options_.ignore_merges) {
    const auto whole = ids_.find(std::string(word));
    if (whole != ids_.end()) {
      out.push_back(static_cast<int32_t>(whole->second));
      return 0;
    }
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  const size_t missing = split_characters(word, symbols);
  merge_symbols(merges_, symbols);
  append_ids(symbols, out);
  return missing;
}

}  // namespace rqat::text
