#include <map>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "text/gunzip.h"
#include "text/json_fields.h"
#include "text/presets.h"
#include "text/read_components.h"
#include "text/readers.h"
#include "text/sentencepiece_tokenizer.h"

namespace rqat::text {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& allowed) {
  throw base::IoError(base::cat(where, ": ", what, " is not supported; ", allowed));
}

std::pair<std::string, std::string> parse_merge(const json& item, const std::string& where) {
  if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
    return {item[0].get<std::string>(), item[1].get<std::string>()};
  }
  if (item.is_string()) {
    const std::vector<std::string> sides = base::split(item.get<std::string>(), ' ');
    if (sides.size() == 2 && !sides[0].empty() && !sides[1].empty()) return {sides[0], sides[1]};
  }
  throw base::IoError(base::cat(where, ": ", item.dump(), " is not a merge; allowed are \"a b\" and [\"a\", \"b\"]"));
}

void read_vocabulary(const json& vocabulary, const std::string& where, ModelDescription& model) {
  require_object(vocabulary, base::cat(where, ": 'vocab'"));
  model.vocabulary.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    model.vocabulary.emplace_back(token, integer(id, base::cat(where, ": id of token '", token, "'")));
  }
}

void read_bpe(const json& section, const std::string& where, ModelDescription& model) {
  if (given(section, "dropout") && section.at("dropout") != 0) {
    refuse(where, base::cat("dropout ", section.at("dropout").dump()),
           "encoding must be deterministic: set it to null");
  }
  read_vocabulary(required(section, "vocab", where), where, model);
  const json& merges = required(section, "merges", where);
  require_array(merges, base::cat(where, ": 'merges'"));
  model.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    if (merges[i].is_string() && base::starts_with(merges[i].get_ref<const std::string&>(), "#version")) continue;
    model.merges.push_back(parse_merge(merges[i], base::cat(where, ": merges[", i, "]")));
  }
  model.unknown_token = optional_text(section, "unk_token", where);
  model.fuse_unknown = flag(section, "fuse_unk", false, where);
  model.ignore_merges = flag(section, "ignore_merges", false, where);
  model.byte_fallback = flag(section, "byte_fallback", false, where);
  model.continuation = optional_text(section, "continuing_subword_prefix", where);
  model.word_end = optional_text(section, "end_of_word_suffix", where);
}

void read_unigram(const json& section, const std::string& where, ModelDescription& model) {
  const json& vocabulary = required(section, "vocab", where);
  require_array(vocabulary, base::cat(where, ": 'vocab'"));
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const json& item = vocabulary[i];
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
      throw base::IoError(base::cat(where, ": vocab[", i, "] is ", item.dump(), ", expected [token, score]"));
    }
    model.vocabulary.emplace_back(item[0].get<std::string>(), static_cast<int64_t>(i));
    model.scores.push_back(item[1].get<double>());
  }
  model.byte_fallback = flag(section, "byte_fallback", false, where);
  if (!given(section, "unk_id")) return;
  const int64_t unknown = integer(section.at("unk_id"), base::cat(where, ": 'unk_id'"));
  if (unknown < 0 || unknown >= static_cast<int64_t>(model.vocabulary.size())) {
    throw base::IoError(
        base::cat(where, ": unk_id is ", unknown, ", but there are ", model.vocabulary.size(), " tokens"));
  }
  model.unknown_token = model.vocabulary[static_cast<size_t>(unknown)].first;
}

void read_word_piece(const json& section, const std::string& where, ModelDescription& model) {
  read_vocabulary(required(section, "vocab", where), where, model);
  model.unknown_token = required_text(section, "unk_token", where);
  if (model.kind == ModelDescription::Kind::kWordLevel) return;
  model.continuation = required_text(section, "continuing_subword_prefix", where);
  const int64_t longest =
      integer(required(section, "max_input_chars_per_word", where), base::cat(where, ": 'max_input_chars_per_word'"));
  if (longest < 0) throw base::IoError(base::cat(where, ": max_input_chars_per_word is ", longest, ", expected >= 0"));
  model.longest_word = static_cast<size_t>(longest);
}

// Old files do not name the type: Unigram has scores, BPE merges, WordPiece a prefix.
std::string model_type(const json& section, const std::string& where) {
  require_object(section, where);
  if (given(section, "type")) return required_text(section, "type", where);
  if (given(section, "vocab") && section.at("vocab").is_array()) return "Unigram";
  if (given(section, "max_input_chars_per_word")) return "WordPiece";
  return section.contains("merges") || !given(section, "unk_token") ? "BPE" : "WordLevel";
}

void read_model(const json& root, TokenizerParts& parts) {
  using Kind = ModelDescription::Kind;
  const std::string where = base::cat(parts.source, ": model");
  const json& section = required(root, "model", parts.source);
  const std::string type = model_type(section, where);
  if (type == "BPE") return read_bpe(section, where, parts.model);
  if (type == "Unigram") {
    parts.model.kind = Kind::kUnigram;
    return read_unigram(section, where, parts.model);
  }
  if (type != "WordPiece" && type != "WordLevel")
    refuse(where, base::cat("type '", type, "'"), "allowed are BPE, Unigram, WordPiece, WordLevel");
  parts.model.kind = type == "WordPiece" ? Kind::kWordPiece : Kind::kWordLevel;
  read_word_piece(section, where, parts.model);
}

AddedToken read_added_token(const json& item, int64_t id, const std::string& where) {
  AddedToken token;
  token.content = required_text(item, "content", where);
  token.id = id;
  token.special = flag(item, "special", false, where);
  token.single_word = flag(item, "single_word", false, where);
  token.lstrip = flag(item, "lstrip", false, where);
  token.rstrip = flag(item, "rstrip", false, where);
  token.normalized = flag(item, "normalized", !token.special, where);
  return token;
}

void read_added_tokens(const json& root, TokenizerParts& parts) {
  if (!given(root, "added_tokens")) return;
  const json& list = root.at("added_tokens");
  require_array(list, base::cat(parts.source, ": 'added_tokens'"));
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = base::cat(parts.source, ": added_tokens[", i, "]");
    parts.added_tokens.push_back(
        read_added_token(list[i], integer(required(list[i], "id", where), base::cat(where, ": 'id'")), where));
    const auto [first, is_new] = seen.emplace(parts.added_tokens.back().content, i);
    if (!is_new)
      throw base::IoError(base::cat(where, " repeats '", first->first, "' of added_tokens[", first->second, "]"));
  }
}

// Tokens that tokenizer_config.json adds to a slow tokenizer, by id.
std::vector<AddedToken> read_added_tokens_decoder(const json& config, const std::string& where) {
  std::vector<AddedToken> found;
  if (!given(config, "added_tokens_decoder")) return found;
  const json& tokens = config.at("added_tokens_decoder");
  require_object(tokens, base::cat(where, ": 'added_tokens_decoder'"));
  for (const auto& [key, item] : tokens.items()) {
    const bool digits = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) throw base::IoError(base::cat(where, ": added_tokens_decoder: '", key, "' is not a token id"));
    found.push_back(read_added_token(item, std::stoll(key), base::cat(where, ": added token ", key)));
  }
  return found;
}

Preset preset_of_class(const std::string& name, const std::string& where) {
  static const std::map<std::string, Preset> kPresets = {{"Qwen2Tokenizer", Preset::kQwen2},
                                                         {"Qwen2TokenizerFast", Preset::kQwen2},
                                                         {"GPT2Tokenizer", Preset::kGpt2},
                                                         {"GPT2TokenizerFast", Preset::kGpt2}};
  const auto found = kPresets.find(name);
  if (found == kPresets.end()) {
    refuse(where, base::cat("tokenizer_class '", name, "' without a tokenizer.json"),
           "allowed are Qwen2Tokenizer and GPT2Tokenizer; save the tokenizer as tokenizer.json");
  }
  return found->second;
}

void read_merges_file(const std::filesystem::path& path, TokenizerParts& parts) {
  size_t number = 0;
  for (std::string& line : base::split(base::read_file(path), '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || base::starts_with(line, "#version")) continue;
    parts.model.merges.push_back(parse_merge(line, base::cat(path.string(), ":", number)));
  }
}

}  // namespace

TokenizerParts parse_tokenizer_json(const json& root, const std::string& source) {
  TokenizerParts parts;
  parts.source = source;
  require_object(root, source);
  const auto section = [&](const char* key) { return given(root, key) ? root.at(key) : json(); };
  read_normalizer(section("normalizer"), base::cat(source, ": normalizer"), parts.normalizer);
  read_model(root, parts);
  read_pre_tokenizer(section("pre_tokenizer"), base::cat(source, ": pre_tokenizer"), parts.pre_tokenizer);
  read_decoder(section("decoder"), base::cat(source, ": decoder"), parts.decoder);
  read_post_processor(section("post_processor"), base::cat(source, ": post_processor"), parts);
  read_added_tokens(root, parts);
  return parts;
}

TokenizerParts read_tokenizer_json(const std::filesystem::path& path) {
  const std::string source = path.string();
  if (path.extension() != ".gz") return parse_tokenizer_json(io::read_json(path), source);
  return parse_tokenizer_json(io::parse_json(gunzip(base::read_file(path), source), source), source);
}

TokenizerParts read_vocab_and_merges(const std::filesystem::path& folder) {
  TokenizerParts parts;
  const std::filesystem::path vocabulary_path = folder / "vocab.json", config_path = folder / "tokenizer_config.json";
  parts.source = vocabulary_path.string();
  read_vocabulary(io::read_json(vocabulary_path), parts.source, parts.model);
  read_merges_file(folder / "merges.txt", parts);
  if (!std::filesystem::exists(config_path)) {  // the two files alone are GPT-2's format
    apply_preset(Preset::kGpt2, parts);
    return parts;
  }
  const json config = io::read_json(config_path);
  apply_preset(preset_of_class(required_text(config, "tokenizer_class", config_path.string()), config_path.string()),
               parts);
  parts.added_tokens = read_added_tokens_decoder(config, config_path.string());
  return parts;
}

std::unique_ptr<Tokenizer> read_sentencepiece_folder(const std::filesystem::path& folder) {
  SentencePieceOptions options;
  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  if (std::filesystem::exists(config_path)) {
    const json config = io::read_json(config_path);
    const std::string where = config_path.string();
    options.added_tokens = read_added_tokens_decoder(config, where);
    options.bos_token = optional_text(config, "bos_token", where);
    options.eos_token = optional_text(config, "eos_token", where);
    options.add_bos = flag(config, "add_bos_token", false, where);
    options.add_eos = flag(config, "add_eos_token", false, where);
  }
  return load_sentencepiece(folder / "tokenizer.model", std::move(options));
}

void read_special_roles(const std::filesystem::path& config_path, TokenizerParts& parts) {
  if (!std::filesystem::exists(config_path)) return;
  const json config = io::read_json(config_path);
  parts.bos_token = optional_text(config, "bos_token", config_path.string());
  parts.eos_token = optional_text(config, "eos_token", config_path.string());
}

}  // namespace rqat::text
