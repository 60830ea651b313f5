#include "text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <map>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "text/utf8.h"

namespace rqat::text {
namespace {

/// What the library throws as well: on some damaged models it does so instead of returning a status.
template <class Call>
std::string fault_of(const Call& call) {
  try {
    const auto status = call();
    return status.ok() ? "" : status.ToString();
  } catch (const std::exception& error) {
    return error.what();
  }
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::filesystem::path& path, SentencePieceOptions options)
      : source_(path.string()), add_bos_(options.add_bos), add_eos_(options.add_eos) {
    const std::string bytes = base::read_file(path);
    const std::string fault =
        bytes.empty() ? "the file is empty" : fault_of([&] { return processor_.LoadFromSerializedProto(bytes); });
    if (!fault.empty()) throw base::IoError(base::cat(source_, ": not a sentencepiece model: ", fault));
    if (processor_.GetPieceSize() == 0)
      throw base::IoError(base::cat(source_, ": a sentencepiece model without pieces"));
    size_ = processor_.GetPieceSize();
    for (AddedToken& token : options.added_tokens) add_token(std::move(token));
    bos_id_ = role(options.bos_token, processor_.bos_id());
    eos_id_ = role(options.eos_token, processor_.eos_id());
  }

  std::vector<int64_t> encode(std::string_view text, bool parse_special) const override {
    const std::string valid = replace_invalid_utf8(text);
    std::vector<int64_t> ids;
    for (const Segment& segment : matcher_.split(valid, parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
        continue;
      }
      std::vector<int> part;
      const std::string fault = fault_of([&] { return processor_.Encode(segment.text, &part); });
      if (!fault.empty()) throw base::DataError(base::cat(source_, ": encoding failed: ", fault));
      ids.insert(ids.end(), part.begin(), part.end());
    }
    return ids;
  }

  std::vector<int64_t> with_special(std::vector<int64_t> ids) const override {
    if (add_bos_ && bos_id_ >= 0) ids.insert(ids.begin(), bos_id_);
    if (add_eos_ && eos_id_ >= 0) ids.push_back(eos_id_);
    return ids;
  }

  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string text;
    std::vector<int> run;
    for (const int64_t id : ids) {
      check(id);
      if (skip_special && is_special(id)) continue;
      const auto added = added_.find(id);
      if (added == added_.end()) {
        run.push_back(static_cast<int>(id));
        continue;
      }
      text += decode_run(std::exchange(run, {})) + added->second.content;
    }
    return text + decode_run(run);
  }

  std::string token_bytes(int64_t id) const override { return decode({id}, false); }
  bool decodes_by_token() const override { return false; }

  bool is_special(int64_t id) const override {
    check(id);
    const auto added = added_.find(id);
    if (added != added_.end()) return added->second.special;
    return processor_.IsControl(static_cast<int>(id)) || processor_.IsUnknown(static_cast<int>(id));
  }

  int64_t vocab_size() const override { return size_; }

  int64_t token_id(std::string_view token) const override {
    for (const auto& [id, added] : added_) {
      if (added.content == token) return id;
    }
    const int id = processor_.PieceToId(token);
    const bool known = id >= 0 && id < processor_.GetPieceSize() && processor_.IdToPiece(id) == token;
    return known ? id : -1;
  }

  std::string token_text(int64_t id) const override {
    check(id);
    const auto added = added_.find(id);
    return added != added_.end() ? added->second.content : processor_.IdToPiece(static_cast<int>(id));
  }

  int64_t bos_id() const override { return bos_id_; }
  int64_t eos_id() const override { return eos_id_; }

 private:
  void add_token(AddedToken token) {
    const bool own = token.id >= 0 && token.id < processor_.GetPieceSize();
    if (token.id < 0 || token.content.empty() ||
        (own && processor_.IdToPiece(static_cast<int>(token.id)) != token.content)) {
      throw base::IoError(base::cat(source_, ": added token '", token.content, "' cannot have the id ", token.id));
    }
    size_ = std::max(size_, token.id + 1);
    matcher_.add(token);
    added_.emplace(token.id, std::move(token));
  }

  int64_t role(const std::string& token, int own) const {
    if (token.empty()) return own;
    const int64_t id = token_id(token);
    if (id < 0) throw base::IoError(base::cat(source_, ": '", token, "' is not in the vocabulary"));
    return id;
  }

  void check(int64_t id) const {
    const bool known = id >= 0 && (id < processor_.GetPieceSize() || added_.count(id) > 0);
    if (!known) {
      throw base::DataError(
          base::cat(source_, ": there is no token with id ", id, "; the vocabulary has the ids 0 to ", size_ - 1));
    }
  }

  std::string decode_run(const std::vector<int>& ids) const {
    std::string text;
    if (ids.empty()) return text;
    const std::string fault = fault_of([&] { return processor_.Decode(ids, &text); });
    if (!fault.empty()) throw base::DataError(base::cat(source_, ": decoding failed: ", fault));
    return text;
  }

  std::string source_;
  sentencepiece::SentencePieceProcessor processor_;
  AddedTokenMatcher matcher_;
  std::map<int64_t, AddedToken> added_;
  int64_t size_ = 0, bos_id_ = -1, eos_id_ = -1;
  bool add_bos_, add_eos_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path, SentencePieceOptions options) {
  return std::make_unique<SentencePieceTokenizer>(path, std::move(options));
}

}  // namespace rqat::text
