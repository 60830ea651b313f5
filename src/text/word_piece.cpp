#include "text/word_piece.h"

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

size_t total_size(const std::vector<std::pair<std::string, int64_t>>& vocabulary) {
  size_t bytes = 0;
  for (const auto& [token, id] : vocabulary) bytes += 2 * token.size();
  return bytes;
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return count;
}

}  // namespace

WordPiece::WordPiece(const std::vector<std::pair<std::string, int64_t>>& vocabulary, const std::string& continuation,
                     int32_t unknown_id, size_t longest_word, bool whole, const std::string& source)
    : trie_(total_size(vocabulary)),
      id_of_node_{-1, -1},
      unknown_id_(unknown_id),
      longest_word_(longest_word),
      whole_(whole) {
  if (unknown_id < 0) throw base::IoError(base::cat(source, ": the model needs an unk_token"));
  for (const auto& [token, id] : vocabulary) {
    add(0, token, static_cast<int32_t>(id));
    if (!whole && base::starts_with(token, continuation) && token.size() > continuation.size())
      add(1, std::string_view(token).substr(continuation.size()), static_cast<int32_t>(id));
  }
}

void WordPiece::add(int32_t root, std::string_view token, int32_t id) {
  int32_t node = root;
  for (const char c : token) {
    const int32_t byte = static_cast<uint8_t>(c);
    const MergeTable::Merge next = trie_.find(node, byte);
    if (next.rank < 0) {
      trie_.set(node, byte, {0, static_cast<int32_t>(id_of_node_.size())});
      node = static_cast<int32_t>(id_of_node_.size());
      id_of_node_.push_back(-1);
    } else {
      node = next.id;
    }
  }
  id_of_node_[static_cast<size_t>(node)] = id;
}

size_t WordPiece::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  const size_t before = out.size();
  const bool fits = whole_ || count_characters(word) <= longest_word_;
  for (size_t begin = 0; fits && begin < word.size();) {
    int32_t node = begin > 0 ? 1 : 0, id = -1;
    size_t end = begin;
    for (size_t i = begin; i < word.size(); ++i) {
      const MergeTable::Merge next = trie_.find(node, static_cast<uint8_t>(word[i]));
      if (next.rank < 0) break;
      node = next.id;
      if (id_of_node_[static_cast<size_t>(node)] < 0) continue;
      id = id_of_node_[static_cast<size_t>(node)];
      end = i + 1;
    }
    if (id < 0 || (whole_ && end < word.size())) {
      out.resize(before);
      break;
    }
    out.push_back(id);
    begin = end;
  }
  if (out.size() > before) return 0;
  out.push_back(unknown_id_);
  return word.size();
}

}  // namespace rqat::text
