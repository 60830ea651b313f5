#include "text/pipeline_tokenizer.h"

#include <unordered_map>
#include <utility>

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

// Words repeat (Zipf), so most of them are looked up instead of encoded.
struct PipelineTokenizer::Workspace {
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words;
  std::vector<int32_t> scratch;
  Pieces pieces;
};

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : source_(std::move(parts.source)),
      normalizer_(std::move(parts.normalizer)),
      pre_tokenizer_(std::move(parts.pre_tokenizer)),
      decoder_(std::move(parts.decoder)),
      before_(std::move(parts.before)),
      after_(std::move(parts.after)) {
  ModelDescription& model = parts.model;
  if (model.vocabulary.empty()) throw base::IoError(base::cat(source_, ": the vocabulary is empty"));
  ids_.reserve(model.vocabulary.size() + parts.added_tokens.size());
  entries_.reserve(model.vocabulary.size() + parts.added_tokens.size());
  for (const auto& [text, id] : model.vocabulary) add_entry(text, id);
  model_ids_ = ids_;
  const bool plain = model.kind == ModelDescription::Kind::kBpe && !model.byte_fallback && model.word_end.empty() &&
                     model.continuation.empty();
  model.raw_bytes = plain && pre_tokenizer_.take_bytes();
  model_ = make_word_model(model, model_ids_, source_);
  for (AddedToken& token : parts.added_tokens) add_added_token(std::move(token));
  for (const std::vector<int64_t>* side : {&before_, &after_}) {
    for (const int64_t id : *side) {
      if (!exists(id)) throw base::IoError(base::cat(source_, ": post_processor: there is no token with id ", id));
    }
  }
  if (!parts.bos_token.empty()) bos_id_ = required_id(parts.bos_token, "bos_token");
  if (!parts.eos_token.empty()) eos_id_ = required_id(parts.eos_token, "eos_token");
}

PipelineTokenizer::~PipelineTokenizer() = default;

void PipelineTokenizer::add_entry(const std::string& text, int64_t id) {
  if (id < 0 || id > kLargestId) {
    throw base::IoError(base::cat(source_, ": token '", text, "' has id ", id, "; allowed are 0 to ", kLargestId));
  }
  if (exists(id)) {
    throw base::IoError(base::cat(source_, ": tokens '", entry(id).text, "' and '", text, "' share the id ", id));
  }
  if (id >= vocab_size()) entry_of_id_.resize(static_cast<size_t>(id) + 1, -1);
  entry_of_id_[static_cast<size_t>(id)] = static_cast<int32_t>(entries_.size());
  entries_.push_back({text, false, ""});
  if (!ids_.emplace(text, id).second) {
    throw base::IoError(base::cat(source_, ": token '", text, "' has the ids ", ids_[text], " and ", id));
  }
}

void PipelineTokenizer::add_added_token(AddedToken token) {
  if (token.content.empty()) throw base::IoError(base::cat(source_, ": added token ", token.id, " is empty"));
  const auto known = ids_.find(token.content);
  if (known == ids_.end()) {
    add_entry(token.content, token.id);
  } else if (known->second != token.id) {
    throw base::IoError(base::cat(source_, ": added token '", token.content, "' has id ", token.id,
                                  ", but its id in the vocabulary is ", known->second));
  }
  Entry& added = entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(token.id)])];
  added.special = token.special;
  if (token.normalized) {
    const std::string normalized = normalizer_.apply(token.content);
    if (normalized != token.content) added.decoded = normalized;
    token.content = normalized;
    if (!token.content.empty()) normalized_tokens_.add(token);
  } else {
    raw_tokens_.add(token);
  }
}

int64_t PipelineTokenizer::required_id(const std::string& token, const char* role) const {
  const auto found = ids_.find(token);
  if (found == ids_.end())
    throw base::IoError(base::cat(source_, ": ", role, " '", token, "' is not in the vocabulary"));
  return found->second;
}

std::unique_ptr<PipelineTokenizer::Workspace> PipelineTokenizer::borrow_workspace() const {
  const std::lock_guard lock(workspace_mutex_);
  if (idle_workspaces_.empty()) return std::make_unique<Workspace>();
  auto workspace = std::move(idle_workspaces_.back());
  idle_workspaces_.pop_back();
  return workspace;
}

void PipelineTokenizer::return_workspace(std::unique_ptr<Workspace> workspace) const {
  const std::lock_guard lock(workspace_mutex_);
  idle_workspaces_.push_back(std::move(workspace));
}

std::vector<int64_t> PipelineTokenizer::encode(std::string_view text, bool parse_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  auto workspace = borrow_workspace();
  std::vector<int64_t> ids;
  ids.reserve(text.size() / 3 + 1);
  for (const Segment& raw : raw_tokens_.split(text, parse_special)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
    } else {
      encode_segment(raw, raw.text.data() == text.data(), parse_special, *workspace, ids);
    }
  }
  return_workspace(std::move(workspace));
  return ids;
}

void PipelineTokenizer::encode_segment(const Segment& raw, bool first, bool parse_special, Workspace& workspace,
                                       std::vector<int64_t>& out) const {
  if (normalizer_.empty() && normalized_tokens_.empty()) return encode_plain(raw.text, first, workspace, out);
  const std::string normalized = normalizer_.apply(std::string(raw.text));
  // A text whose first character the normalizer drops does not begin at its beginning.
  if (first && pre_tokenizer_.minds_first() && !raw.text.empty())
    first = !normalizer_.apply(std::string(raw.text.substr(0, utf8_step(raw.text, 0).length))).empty();
  for (const Segment& segment : normalized_tokens_.split(normalized, parse_special)) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_plain(segment.text, first && segment.text.data() == normalized.data(), workspace, out);
    }
  }
}

void PipelineTokenizer::encode_plain(std::string_view text, bool first, Workspace& workspace,
                                     std::vector<int64_t>& out) const {
  size_t missing = 0;
  pre_tokenizer_.split(text, first, workspace.pieces);
  for (const Piece& piece : workspace.pieces.list) {
    const std::string_view word = piece.text;
    const bool cached = word.size() <= kLongestCachedWord;
    if (cached) {
      const auto known = workspace.words.find(word);
      if (known != workspace.words.end()) {
        out.insert(out.end(), known->second.begin(), known->second.end());
        continue;
      }
    }
    workspace.scratch.clear();
    missing += model_->encode_word(word, workspace.scratch);
    out.insert(out.end(), workspace.scratch.begin(), workspace.scratch.end());
    if (!cached) continue;
    if (workspace.words.size() >= kCachedWords) workspace.words.clear();
    workspace.words.emplace(word, workspace.scratch);
  }
  if (missing > 0 && !warned_.exchange(true)) {
    base::log_warning(
        base::cat(source_,
                  ": the vocabulary lacks tokens for some bytes; characters with them are lost in encoding "
                  "(told once)"));
  }
}

std::vector<int64_t> PipelineTokenizer::with_special(std::vector<int64_t> ids) const {
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

bool PipelineTokenizer::exists(int64_t id) const {
  return id >= 0 && id < vocab_size() && entry_of_id_[static_cast<size_t>(id)] >= 0;
}

const PipelineTokenizer::Entry& PipelineTokenizer::entry(int64_t id) const {
  if (!exists(id)) {
    throw base::DataError(
        base::cat(source_, ": there is no token with id ", id, "; the vocabulary has the ids 0 to ", vocab_size() - 1));
  }
  return entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])];
}

std::string PipelineTokenizer::token_bytes(int64_t id) const {
  const Entry& token = entry(id);
  const std::string& text = token.decoded.empty() ? token.text : token.decoded;
  if (decoder_.is_byte_level()) return alphabet_to_bytes(text).value_or(text);
  return decode({id}, false);
}

bool PipelineTokenizer::is_special(int64_t id) const { return entry(id).special; }

std::string PipelineTokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  if (decoder_.is_byte_level()) return decode_bytes(ids, skip_special);
  Decoder::Tokens tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    if (skip_special && is_special(id)) continue;
    const Entry& token = entry(id);
    tokens.push_back(token.decoded.empty() ? token.text : token.decoded);
  }
  return decoder_.decode(std::move(tokens));
}

std::string PipelineTokenizer::decode_bytes(const std::vector<int64_t>& ids, bool skip_special) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (!(skip_special && is_special(id))) bytes += token_bytes(id);
  }
  return is_valid_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

int64_t PipelineTokenizer::token_id(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? -1 : found->second;
}

std::string PipelineTokenizer::token_text(int64_t id) const { return entry(id).text; }

}  // namespace rqat::text
