#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

namespace rqat::text {
namespace {

constexpr int32_t kMergedAway = -2;

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

struct Candidate {
  int32_t rank, position, id;
};

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
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const size_t missing = split_bytes(word, symbols);
  merge(symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kMergedAway) out.push_back(symbol.id);
  }
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
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return missing;
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue;
  const auto offer = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const MergeTable::Merge found = merges_.find(symbols[left].id, symbols[symbols[left].next].id);
    if (found.rank >= 0) queue.push({found.rank, left, found.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.id == kMergedAway || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const MergeTable::Merge current = merges_.find(left.id, right.id);
    if (current.rank != top.rank || current.id != top.id) continue;  // a neighbor has changed since
    left.id = top.id;
    right.id = kMergedAway;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    offer(left.previous);
    offer(top.position);
  }
}

}  // namespace rqat::text
