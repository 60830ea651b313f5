#include "text/bpe_tokenizer.h"

#include <algorithm>

#include "rqat/base/error.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

constexpr int64_t kLargestId = (int64_t{1} << 22) - 1;  // ten times the largest vocabulary in use
constexpr size_t kLongestCachedWord = 128;
constexpr size_t kCachedWords = 1 << 16;

}  // namespace

// Words repeat (Zipf), so most of them are looked up instead of merged.
struct BpeTokenizer::WordCache {
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words;
  std::vector<int32_t> scratch;
  std::string buffer;
};

BpeTokenizer::BpeTokenizer(BpeParts parts) : source_(std::move(parts.source)), nfc_(parts.nfc) {
  if (parts.vocabulary.empty()) throw base::IoError(base::cat(source_, ": the vocabulary is empty"));
  ids_.reserve(parts.vocabulary.size() + parts.added_tokens.size());
  entries_.reserve(parts.vocabulary.size() + parts.added_tokens.size());
  for (const auto& [text, id] : parts.vocabulary) add_entry(text, id);
  bpe_ = std::make_unique<const Bpe>(make_bpe(parts));
  for (AddedToken& token : parts.added_tokens) add_added_token(std::move(token));
  pre_tokenizer_ = std::move(parts.pre_tokenizer);
  if (!parts.bos_token.empty()) bos_id_ = required_id(parts.bos_token, "bos_token");
  if (!parts.eos_token.empty()) eos_id_ = required_id(parts.eos_token, "eos_token");
}

BpeTokenizer::~BpeTokenizer() = default;

void BpeTokenizer::add_entry(const std::string& text, int64_t id) {
  if (id < 0 || id > kLargestId) {
    throw base::IoError(base::cat(source_, ": token '", text, "' has id ", id, "; allowed are 0 to ", kLargestId));
  }
  if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
  Entry& slot = entries_[static_cast<size_t>(id)];
  if (slot.exists) {
    throw base::IoError(base::cat(source_, ": tokens '", slot.text, "' and '", text, "' share the id ", id));
  }
  slot = {text, true, false};
  if (!ids_.emplace(text, id).second) {
    throw base::IoError(base::cat(source_, ": token '", text, "' has the ids ", ids_[text], " and ", id));
  }
}

void BpeTokenizer::add_added_token(AddedToken token) {
  if (token.content.empty()) throw base::IoError(base::cat(source_, ": added token ", token.id, " is empty"));
  const auto known = ids_.find(token.content);
  if (known == ids_.end()) {
    add_entry(token.content, token.id);
  } else if (known->second != token.id) {
    throw base::IoError(base::cat(source_, ": added token '", token.content, "' has id ", token.id,
                                  ", but its id in the vocabulary is ", known->second));
  }
  entries_[static_cast<size_t>(token.id)].special = token.special;
  if (token.normalized) {
    if (nfc_) token.content = to_nfc(token.content);
    normalized_tokens_.add(token);
  } else {
    raw_tokens_.add(token);
  }
}

int64_t BpeTokenizer::required_id(const std::string& token, const char* role) const {
  const auto found = ids_.find(token);
  if (found == ids_.end())
    throw base::IoError(base::cat(source_, ": ", role, " '", token, "' is not in the vocabulary"));
  return found->second;
}

Bpe BpeTokenizer::make_bpe(const BpeParts& parts) const {
  MergeTable table(parts.merges.size());
  for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
    const auto& [left, right] = parts.merges[rank];
    const auto a = ids_.find(left), b = ids_.find(right), joined = ids_.find(left + right);
    if (a == ids_.end() || b == ids_.end() || joined == ids_.end()) {
      const std::string& missing = a == ids_.end() ? left : b == ids_.end() ? right : left + right;
      throw base::IoError(base::cat(source_, ": merge ", rank, " ('", left, "' + '", right, "') needs the token '",
                                    missing, "', which is not in the vocabulary"));
    }
    table.set(static_cast<int32_t>(a->second), static_cast<int32_t>(b->second),
              {static_cast<int32_t>(rank), static_cast<int32_t>(joined->second)});
  }
  std::array<int32_t, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids_.find(byte_character(static_cast<uint8_t>(byte)));
    byte_ids[static_cast<size_t>(byte)] = found == ids_.end() ? -1 : static_cast<int32_t>(found->second);
  }
  std::unordered_map<std::string, int32_t> whole_words;
  if (parts.ignore_merges) {
    for (const auto& [text, id] : parts.vocabulary) {
      if (auto bytes = alphabet_to_bytes(text)) whole_words.emplace(std::move(*bytes), static_cast<int32_t>(id));
    }
  }
  Bpe::Options options{parts.ignore_merges, parts.fuse_unknown, -1};
  if (!parts.unknown_token.empty())
    options.unknown_id = static_cast<int32_t>(required_id(parts.unknown_token, "unk_token"));
  return Bpe(byte_ids, std::move(table), std::move(whole_words), options);
}

std::unique_ptr<BpeTokenizer::WordCache> BpeTokenizer::borrow_cache() const {
  const std::lock_guard lock(cache_mutex_);
  if (idle_caches_.empty()) return std::make_unique<WordCache>();
  auto cache = std::move(idle_caches_.back());
  idle_caches_.pop_back();
  return cache;
}

void BpeTokenizer::return_cache(std::unique_ptr<WordCache> cache) const {
  const std::lock_guard lock(cache_mutex_);
  idle_caches_.push_back(std::move(cache));
}

std::vector<int64_t> BpeTokenizer::encode(std::string_view text, bool parse_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  auto cache = borrow_cache();
  std::vector<int64_t> ids;
  ids.reserve(text.size() / 3 + 1);
  for (const Segment& raw : raw_tokens_.split(text, parse_special)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    std::string composed;
    std::string_view piece = raw.text;
    if (nfc_ && !is_ascii(piece)) piece = composed = to_nfc(piece);
    for (const Segment& segment : normalized_tokens_.split(piece, parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else {
        encode_plain(segment.text, *cache, ids);
      }
    }
  }
  return_cache(std::move(cache));
  return ids;
}

void BpeTokenizer::encode_plain(std::string_view text, WordCache& cache, std::vector<int64_t>& out) const {
  size_t missing = 0;
  for (const std::string_view word : pre_tokenizer_.split(text, cache.buffer)) {
    const auto known = cache.words.find(word);
    if (known != cache.words.end()) {
      out.insert(out.end(), known->second.begin(), known->second.end());
      continue;
    }
    cache.scratch.clear();
    missing += bpe_->encode_word(word, cache.scratch);
    out.insert(out.end(), cache.scratch.begin(), cache.scratch.end());
    if (word.size() > kLongestCachedWord) continue;
    if (cache.words.size() >= kCachedWords) cache.words.clear();
    cache.words.emplace(word, cache.scratch);
  }
  if (missing > 0 && !warned_.exchange(true)) {
    base::log_warning(
        base::cat(source_,
                  ": the vocabulary lacks tokens for some bytes; characters with them are lost in encoding "
                  "(told once)"));
  }
}

const BpeTokenizer::Entry& BpeTokenizer::entry(int64_t id) const {
  if (id < 0 || id >= vocab_size() || !entries_[static_cast<size_t>(id)].exists) {
    throw base::DataError(
        base::cat(source_, ": there is no token with id ", id, "; the vocabulary has the ids 0 to ", vocab_size() - 1));
  }
  return entries_[static_cast<size_t>(id)];
}

std::string BpeTokenizer::token_bytes(int64_t id) const {
  const std::string& text = entry(id).text;
  return alphabet_to_bytes(text).value_or(text);
}

bool BpeTokenizer::is_special(int64_t id) const { return entry(id).special; }

std::string BpeTokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (!(skip_special && is_special(id))) bytes += token_bytes(id);
  }
  return is_valid_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

int64_t BpeTokenizer::token_id(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? -1 : found->second;
}

std::string BpeTokenizer::token_text(int64_t id) const { return entry(id).text; }

}  // namespace rqat::text
