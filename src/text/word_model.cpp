#include "text/word_model.h"

#include <array>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace rqat::text {
namespace {

int32_t id_of(const TokenIds& ids, const std::string& token, const char* role, const std::string& source) {
  const auto found = ids.find(token);
  if (found == ids.end()) throw base::IoError(base::cat(source, ": ", role, " '", token, "' is not in the vocabulary"));
  return static_cast<int32_t>(found->second);
}

int32_t id_or_none(const TokenIds& ids, const std::string& token) {
  const auto found = ids.find(token);
  return found == ids.end() ? -1 : static_cast<int32_t>(found->second);
}

// Ids of the tokens "<0x00>" to "<0xFF>", -1 where there is none.
std::array<int32_t, 256> byte_token_ids(const TokenIds& ids) {
  std::array<int32_t, 256> out;
  for (int byte = 0; byte < 256; ++byte)
    out[static_cast<size_t>(byte)] = id_or_none(ids, byte_token(static_cast<uint8_t>(byte)));
  return out;
}

MergeTable make_merges(const ModelDescription& model, const TokenIds& ids, const std::string& source) {
  MergeTable table(model.merges.size());
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const auto& [left, right] = model.merges[rank];
    if (right.size() < model.continuation.size()) {
      throw base::IoError(base::cat(source, ": merge ", rank, " ('", left, "' + '", right, "'): '", right,
                                    "' is shorter than the prefix '", model.continuation, "'"));
    }
    const std::string joined = left + right.substr(model.continuation.size());
    const int32_t a = id_or_none(ids, left), b = id_or_none(ids, right), c = id_or_none(ids, joined);
    if (a < 0 || b < 0 || c < 0) {
      const std::string& missing = a < 0 ? left : b < 0 ? right : joined;
      throw base::IoError(base::cat(source, ": merge ", rank, " ('", left, "' + '", right, "') needs the token '",
                                    missing, "', which is not in the vocabulary"));
    }
    table.set(a, b, {static_cast<int32_t>(rank), c});
  }
  return table;
}

std::unique_ptr<const WordModel> make_byte_bpe(const ModelDescription& model, const TokenIds& ids, int32_t unknown,
                                               const std::string& source) {
  std::array<int32_t, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte)
    byte_ids[static_cast<size_t>(byte)] = id_or_none(ids, byte_character(static_cast<uint8_t>(byte)));
  std::unordered_map<std::string, int32_t> whole_words;
  if (model.ignore_merges) {
    for (const auto& [text, id] : model.vocabulary) {
      if (auto bytes = alphabet_to_bytes(text)) whole_words.emplace(std::move(*bytes), static_cast<int32_t>(id));
    }
  }
  return std::make_unique<Bpe>(byte_ids, make_merges(model, ids, source), std::move(whole_words),
                               Bpe::Options{model.ignore_merges, model.fuse_unknown, unknown});
}

}  // namespace

std::string byte_token(uint8_t byte) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + '>';
}

std::unique_ptr<const WordModel> make_word_model(const ModelDescription& model, const TokenIds& ids,
                                                 const std::string& source) {
  using Kind = ModelDescription::Kind;
  const int32_t unknown = model.unknown_token.empty() ? -1 : id_of(ids, model.unknown_token, "unk_token", source);
  if (model.kind == Kind::kUnigram) {
    return std::make_unique<Unigram>(model.vocabulary, model.scores, unknown,
                                     model.byte_fallback ? byte_token_ids(ids) : Unigram::no_bytes(), source);
  }
  if (model.kind == Kind::kWordPiece || model.kind == Kind::kWordLevel) {
    const bool whole = model.kind == Kind::kWordLevel;
    return std::make_unique<WordPiece>(model.vocabulary, model.continuation, unknown, model.longest_word, whole,
                                       source);
  }
  if (model.raw_bytes) return make_byte_bpe(model, ids, unknown, source);
  CharacterBpe::Options options{model.ignore_merges, model.fuse_unknown, unknown,
                                model.continuation,  model.word_end,     {}};
  if (model.byte_fallback) options.byte_ids = byte_token_ids(ids);
  return std::make_unique<CharacterBpe>(ids, make_merges(model, ids, source), std::move(options));
}

}  // namespace rqat::text
