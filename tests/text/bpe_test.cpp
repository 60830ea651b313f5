#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace rqat::text {
namespace {

using Ids = std::vector<int32_t>;

std::array<int32_t, 256> identity() {
  std::array<int32_t, 256> ids;
  for (int i = 0; i < 256; ++i) ids[static_cast<size_t>(i)] = i;
  return ids;
}

Ids encode(const Bpe& bpe, const std::string& word) {
  Ids out;
  bpe.encode_word(word, out);
  return out;
}

// ab = 256 (rank 0), bc = 257 (rank 1), abc = 258 (rank 2: ab + c), aa = 259 (rank 3)
MergeTable toy_merges() {
  MergeTable merges(4);
  merges.set('a', 'b', {0, 256});
  merges.set('b', 'c', {1, 257});
  merges.set(256, 'c', {2, 258});
  merges.set('a', 'a', {3, 259});
  return merges;
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const Bpe bpe(identity(), toy_merges(), {}, {});
  EXPECT_EQ(encode(bpe, "abc"), (Ids{258}));
  EXPECT_EQ(encode(bpe, "bcab"), (Ids{257, 256}));
  EXPECT_EQ(encode(bpe, "aaab"), (Ids{259, 256}));  // ab first, then the a's left over
  EXPECT_EQ(encode(bpe, "aaa"), (Ids{259, 'a'}));
  EXPECT_EQ(encode(bpe, "x"), (Ids{'x'}));
  EXPECT_EQ(encode(bpe, ""), Ids{});
}

TEST(Bpe, WholeWordsWhenMergesAreIgnored) {
  const std::unordered_map<std::string, int32_t> words = {{"bcab", 300}};
  EXPECT_EQ(encode(Bpe(identity(), toy_merges(), words, {true, false, -1}), "bcab"), (Ids{300}));
  EXPECT_EQ(encode(Bpe(identity(), toy_merges(), words, {false, false, -1}), "bcab"), (Ids{257, 256}));
}

TEST(Bpe, MissingBytesAreDroppedOrUnknown) {
  auto ids = identity();
  ids['x'] = -1;
  Ids out;
  EXPECT_EQ(Bpe(ids, toy_merges(), {}, {}).encode_word("axxb", out), 2u);
  EXPECT_EQ(out, (Ids{256}));  // the neighbors meet
  EXPECT_EQ(encode(Bpe(ids, toy_merges(), {}, {false, false, 7}), "axxb"), (Ids{'a', 7, 7, 'b'}));
  EXPECT_EQ(encode(Bpe(ids, toy_merges(), {}, {false, true, 7}), "axxb"), (Ids{'a', 7, 'b'}));
}

// The definition, literally: again and again join the leftmost pair of lowest rank.
Ids naive(const std::map<std::pair<int32_t, int32_t>, MergeTable::Merge>& merges, const std::string& word) {
  Ids ids;
  for (const char c : word) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    int32_t best = INT32_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merges.find({ids[i], ids[i + 1]});
      if (found != merges.end() && found->second.rank < best) {
        best = found->second.rank;
        at = i;
      }
    }
    if (best == INT32_MAX) return ids;
    ids[at] = merges.at({ids[at], ids[at + 1]}).id;
    ids.erase(ids.begin() + static_cast<int64_t>(at) + 1);
  }
}

TEST(Bpe, EqualsTheDefinitionOnRandomMergesAndWords) {
  std::mt19937 random(3);
  std::map<std::pair<int32_t, int32_t>, MergeTable::Merge> merges;
  MergeTable table(400);
  std::vector<int32_t> known = {'a', 'b', 'c'};
  for (int32_t rank = 0; rank < 400; ++rank) {
    const std::pair<int32_t, int32_t> pair = {known[random() % known.size()], known[random() % known.size()]};
    if (merges.count(pair) > 0) continue;
    const MergeTable::Merge merge{rank, 256 + rank};
    merges[pair] = merge;
    table.set(pair.first, pair.second, merge);
    known.push_back(merge.id);
  }
  const Bpe bpe(identity(), table, {}, {});
  for (int trial = 0; trial < 500; ++trial) {
    std::string word;
    for (size_t i = random() % 60; i > 0; --i) word += static_cast<char>('a' + random() % 3);
    ASSERT_EQ(encode(bpe, word), naive(merges, word)) << word;
  }
}

TEST(Bpe, LongWordsAreNotQuadratic) {
  const Bpe bpe(identity(), toy_merges(), {}, {});
  EXPECT_EQ(encode(bpe, std::string(2'000'000, 'a')).size(), 1'000'000u);
}

}  // namespace
}  // namespace rqat::text
