// The byte-level BPE tokenizer, whatever file it came from.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rqat/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"

namespace rqat::text {

/// What a reader of some file format gathers.
struct BpeParts {
  std::string source;                                       ///< file, for messages
  std::vector<std::pair<std::string, int64_t>> vocabulary;  ///< token in the byte alphabet, id
  std::vector<std::pair<std::string, std::string>> merges;  ///< by falling priority
  std::vector<AddedToken> added_tokens;
  PreTokenizer pre_tokenizer;
  bool nfc = false;
  bool ignore_merges = false;
  bool fuse_unknown = false;
  std::string unknown_token;  ///< "" for none
  std::string bos_token, eos_token;
};

class BpeTokenizer : public Tokenizer {
 public:
  /// Throws IoError that names `parts.source` when the parts contradict each other.
  explicit BpeTokenizer(BpeParts parts);
  ~BpeTokenizer() override;

  std::vector<int64_t> encode(std::string_view text, bool parse_special) const override;
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override;
  std::string token_bytes(int64_t id) const override;
  bool is_special(int64_t id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(entries_.size()); }
  int64_t token_id(std::string_view token) const override;
  std::string token_text(int64_t id) const override;
  int64_t bos_id() const override { return bos_id_; }
  int64_t eos_id() const override { return eos_id_; }

 private:
  struct Entry {
    std::string text;
    bool exists = false;
    bool special = false;
  };
  struct WordCache;

  void add_entry(const std::string& text, int64_t id);
  void add_added_token(AddedToken token);
  int64_t required_id(const std::string& token, const char* role) const;
  Bpe make_bpe(const BpeParts& parts) const;
  const Entry& entry(int64_t id) const;
  void encode_plain(std::string_view text, WordCache& cache, std::vector<int64_t>& out) const;
  std::unique_ptr<WordCache> borrow_cache() const;
  void return_cache(std::unique_ptr<WordCache> cache) const;

  std::string source_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, int64_t> ids_;
  AddedTokenMatcher raw_tokens_, normalized_tokens_;
  PreTokenizer pre_tokenizer_;
  bool nfc_ = false;
  int64_t bos_id_ = -1, eos_id_ = -1;
  std::unique_ptr<const Bpe> bpe_;
  mutable std::mutex cache_mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> idle_caches_;  ///< one for each encode() that ran at the same time
  mutable std::atomic<bool> warned_ = false;
};

}  // namespace rqat::text
