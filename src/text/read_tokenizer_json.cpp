#include <map>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "text/json_fields.h"
#include "text/presets.h"
#include "text/readers.h"

namespace rqat::text {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& allowed) {
  throw base::IoError(base::cat(where, ": ", what, " is not supported; ", allowed));
}

// One step, or the list inside a Sequence.
std::vector<json> flatten(const json& section, const char* list_key, const std::string& where) {
  if (section.is_null()) return {};
  if (required_text(section, "type", where) != "Sequence") return {section};
  const json& list = required(section, list_key, where);
  require_array(list, base::cat(where, ": '", list_key, "'"));
  std::vector<json> steps;
  for (const json& item : list) {
    for (json& step : flatten(item, list_key, where)) steps.push_back(std::move(step));
  }
  return steps;
}

void read_normalizer(const json& root, BpeParts& parts) {
  const std::string where = base::cat(parts.source, ": normalizer");
  if (!given(root, "normalizer")) return;
  for (const json& step : flatten(root.at("normalizer"), "normalizers", where)) {
    const std::string type = required_text(step, "type", where);
    if (type != "NFC") refuse(where, base::cat("'", type, "'"), "allowed are NFC, a Sequence of it, and null");
    parts.nfc = true;
  }
}

SplitBehavior behavior_named(const std::string& name, const std::string& where) {
  static const std::map<std::string, SplitBehavior> kNames = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  const auto found = kNames.find(name);
  if (found == kNames.end()) {
    refuse(where, base::cat("behavior '", name, "'"),
           "allowed are Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
  }
  return found->second;
}

void read_split(const json& step, const std::string& where, PreTokenizer& out) {
  const json& pattern = required(step, "pattern", where);
  const bool literal = pattern.is_object() && pattern.contains("String");
  std::string source = required_text(pattern, literal ? "String" : "Regex", base::cat(where, " Split pattern"));
  if (literal) {
    if (source.empty()) refuse(where, "an empty Split pattern", "give the text to split at");
    source = escape_regex(source);
  }
  const SplitBehavior behavior = behavior_named(required_text(step, "behavior", where), where);
  out.add_split(Regex(source, where), behavior, flag(step, "invert", false, where));
}

void read_pre_tokenizer(const json& root, BpeParts& parts) {
  const std::string where = base::cat(parts.source, ": pre_tokenizer");
  bool byte_level = false;
  for (const json& step :
       flatten(given(root, "pre_tokenizer") ? root.at("pre_tokenizer") : json(), "pretokenizers", where)) {
    const std::string type = required_text(step, "type", where);
    if (byte_level) refuse(where, base::cat("'", type, "' after ByteLevel"), "ByteLevel must be the last step");
    if (type == "ByteLevel") {
      parts.pre_tokenizer.set_byte_level(flag(step, "add_prefix_space", true, where),
                                         flag(step, "use_regex", true, where));
      byte_level = true;
    } else if (type == "Digits") {
      parts.pre_tokenizer.add_digits(flag(step, "individual_digits", false, where));
    } else if (type == "Split") {
      read_split(step, where, parts.pre_tokenizer);
    } else {
      refuse(where, base::cat("'", type, "'"), "allowed are ByteLevel, Digits, Split, and a Sequence of them");
    }
  }
  if (!byte_level) refuse(where, "a tokenizer without a ByteLevel step", "only byte-level BPE is");
}

void check_decoder(const json& root, const std::string& source) {
  const std::string where = base::cat(source, ": decoder");
  const std::vector<json> steps = flatten(given(root, "decoder") ? root.at("decoder") : json(), "decoders", where);
  if (steps.size() == 1 && required_text(steps.front(), "type", where) == "ByteLevel") return;
  refuse(where,
         steps.size() == 1 ? base::cat("'", required_text(steps.front(), "type", where), "'")
                           : base::cat(steps.size(), " steps"),
         "it must be ByteLevel");
}

void check_plain_bpe(const json& model, const std::string& where) {
  if (given(model, "type") && required_text(model, "type", where) != "BPE") {
    refuse(where, base::cat("type '", required_text(model, "type", where), "'"), "allowed is BPE");
  }
  if (flag(model, "byte_fallback", false, where)) refuse(where, "byte_fallback", "only byte-level BPE is");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!optional_text(model, key, where).empty())
      refuse(where, base::cat(key, " '", optional_text(model, key, where), "'"), "it must be empty");
  }
  if (given(model, "dropout") && model.at("dropout") != 0) {
    refuse(where, base::cat("dropout ", model.at("dropout").dump()), "encoding must be deterministic: set it to null");
  }
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

void read_model(const json& root, BpeParts& parts) {
  const std::string where = base::cat(parts.source, ": model");
  const json& model = required(root, "model", parts.source);
  check_plain_bpe(model, where);
  const json& vocabulary = required(model, "vocab", where);
  require_object(vocabulary, base::cat(where, ": 'vocab'"));
  parts.vocabulary.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    parts.vocabulary.emplace_back(token, integer(id, base::cat(where, ": id of token '", token, "'")));
  }
  const json& merges = required(model, "merges", where);
  require_array(merges, base::cat(where, ": 'merges'"));
  parts.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    if (merges[i].is_string() && base::starts_with(merges[i].get_ref<const std::string&>(), "#version")) continue;
    parts.merges.push_back(parse_merge(merges[i], base::cat(where, ": merges[", i, "]")));
  }
  parts.unknown_token = optional_text(model, "unk_token", where);
  parts.fuse_unknown = flag(model, "fuse_unk", false, where);
  parts.ignore_merges = flag(model, "ignore_merges", false, where);
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

void read_added_tokens(const json& root, BpeParts& parts) {
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
void read_added_tokens_decoder(const json& config, const std::string& where, BpeParts& parts) {
  if (!given(config, "added_tokens_decoder")) return;
  const json& tokens = config.at("added_tokens_decoder");
  require_object(tokens, base::cat(where, ": 'added_tokens_decoder'"));
  for (const auto& [key, item] : tokens.items()) {
    const bool digits = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) throw base::IoError(base::cat(where, ": added_tokens_decoder: '", key, "' is not a token id"));
    parts.added_tokens.push_back(read_added_token(item, std::stoll(key), base::cat(where, ": added token ", key)));
  }
}

std::string preset_of_class(const std::string& name, const std::string& where) {
  static const std::map<std::string, std::string> kPresets = {{"Qwen2Tokenizer", "qwen2"},
                                                              {"Qwen2TokenizerFast", "qwen2"},
                                                              {"GPT2Tokenizer", "gpt-2"},
                                                              {"GPT2TokenizerFast", "gpt-2"}};
  const auto found = kPresets.find(name);
  if (found == kPresets.end()) {
    refuse(where, base::cat("tokenizer_class '", name, "' without a tokenizer.json"),
           "allowed are Qwen2Tokenizer and GPT2Tokenizer; save the tokenizer as tokenizer.json");
  }
  return found->second;
}

void read_merges_file(const std::filesystem::path& path, BpeParts& parts) {
  size_t number = 0;
  for (std::string& line : base::split(base::read_file(path), '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || base::starts_with(line, "#version")) continue;
    parts.merges.push_back(parse_merge(line, base::cat(path.string(), ":", number)));
  }
}

}  // namespace

BpeParts read_tokenizer_json(const std::filesystem::path& path) {
  const json root = io::read_json(path);
  BpeParts parts;
  parts.source = path.string();
  require_object(root, parts.source);
  read_normalizer(root, parts);
  read_model(root, parts);
  read_pre_tokenizer(root, parts);
  check_decoder(root, parts.source);
  read_added_tokens(root, parts);
  return parts;
}

BpeParts read_vocab_and_merges(const std::filesystem::path& folder) {
  BpeParts parts;
  const std::filesystem::path vocabulary_path = folder / "vocab.json", config_path = folder / "tokenizer_config.json";
  parts.source = vocabulary_path.string();
  const json vocabulary = io::read_json(vocabulary_path);
  require_object(vocabulary, parts.source);
  for (const auto& [token, id] : vocabulary.items()) {
    parts.vocabulary.emplace_back(token, integer(id, base::cat(parts.source, ": id of token '", token, "'")));
  }
  read_merges_file(folder / "merges.txt", parts);
  const json config = io::read_json(config_path);
  apply_preset(preset_of_class(required_text(config, "tokenizer_class", config_path.string()), config_path.string()),
               parts);
  read_added_tokens_decoder(config, config_path.string(), parts);
  return parts;
}

void read_special_roles(const std::filesystem::path& config_path, BpeParts& parts) {
  if (!std::filesystem::exists(config_path)) return;
  const json config = io::read_json(config_path);
  parts.bos_token = optional_text(config, "bos_token", config_path.string());
  parts.eos_token = optional_text(config, "eos_token", config_path.string());
}

}  // namespace rqat::text
