// The tokenizer of the `tokenizers` library, whatever file it came from: added tokens, normalizer, pre-tokenizer,
// model, post-processor, decoder.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "rqat/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/word_model.h"

namespace rqat::text {

/// What a reader of some file format gathers.
struct TokenizerParts {
  std::string source;  ///< file, for messages
  ModelDescription model;
  std::vector<AddedToken> added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  std::vector<int64_t> before, after;  ///< tokens that the post-processor puts around a text
  std::string bos_token, eos_token;
};

class PipelineTokenizer : public Tokenizer {
 public:
  /// Throws IoError that names `parts.source` when the parts contradict each other.
  explicit PipelineTokenizer(TokenizerParts parts);
  ~PipelineTokenizer() override;

  std::vector<int64_t> encode(std::string_view text, bool parse_special) const override;
  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override;
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override;
  std::string token_bytes(int64_t id) const override;
  bool decodes_by_token() const override { return decoder_.is_byte_level(); }
  bool is_special(int64_t id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(entry_of_id_.size()); }
  int64_t token_id(std::string_view token) const override;
  std::string token_text(int64_t id) const override;
  int64_t bos_id() const override { return bos_id_; }
  int64_t eos_id() const override { return eos_id_; }

 private:
  struct Entry {
    std::string text;
    bool special = false;
    std::string decoded;  ///< what the decoder gets instead of `text`: normalized added tokens as normalized; often ""
  };
  struct Workspace;

  void add_entry(const std::string& text, int64_t id);
  void add_added_token(AddedToken token);
  int64_t required_id(const std::string& token, const char* role) const;
  bool exists(int64_t id) const;
  const Entry& entry(int64_t id) const;
  void encode_plain(std::string_view text, bool first, Workspace& workspace, std::vector<int64_t>& out) const;
  void encode_segment(const Segment& raw, bool first, bool parse_special, Workspace& workspace,
                      std::vector<int64_t>& out) const;
  std::unique_ptr<Workspace> borrow_workspace() const;
  void return_workspace(std::unique_ptr<Workspace> workspace) const;
  std::string decode_bytes(const std::vector<int64_t>& ids, bool skip_special) const;

  std::string source_;
  std::vector<Entry> entries_;
  std::vector<int32_t> entry_of_id_;  ///< -1: no such token. Ids may be far apart, entries are large
  TokenIds ids_;                      ///< all tokens
  TokenIds model_ids_;                ///< those of the model's vocabulary
  AddedTokenMatcher raw_tokens_, normalized_tokens_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  std::vector<int64_t> before_, after_;
  int64_t bos_id_ = -1, eos_id_ = -1;
  std::unique_ptr<const WordModel> model_;
  mutable std::mutex workspace_mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_workspaces_;  ///< one for each encode() at the same time
  mutable std::atomic<bool> warned_ = false;
};

}  // namespace rqat::text
