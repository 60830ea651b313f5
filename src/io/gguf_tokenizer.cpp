// The byte-level BPE vocabulary of a GGUF file in the schema of the `tokenizers` library.
#include <nlohmann/json.hpp>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/io/gguf.h"
#include "rqat/io/gguf_import.h"

namespace rqat::io {
namespace {

using base::cat;
using base::IoError;
using nlohmann::json;

enum TokenType : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

constexpr const char* kQwenRegex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kLlamaRegex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

[[noreturn]] void fail(const GgufReader& reader, const std::string& why) {
  throw IoError(cat(reader.path().string(), ": ", why));
}

json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

json sequence_of(const json& first, const json& second) {
  return {{"type", "Sequence"}, {"pretokenizers", json::array({first, second})}};
}

json split_then_bytes(const char* regex) {
  const json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return sequence_of(split, byte_level(false, false, false));
}

/// What tokenizer.ggml.pre stands for.
struct Scheme {
  json normalizer, pre_tokenizer, post_processor, decoder;
  bool ignore_merges = false;
  bool adds_bos = false;  ///< unless tokenizer.ggml.add_bos_token says otherwise
};

Scheme make_scheme(const GgufReader& reader) {
  const std::string& pre = reader.text("tokenizer.ggml.pre");
  Scheme scheme;
  scheme.decoder = byte_level(true, true, true);
  if (pre == "smollm" || pre == "starcoder" || pre == "refact") {
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    scheme.pre_tokenizer = sequence_of(digits, byte_level(false, true, true));
  } else if (pre == "gpt-2") {
    scheme.pre_tokenizer = byte_level(false, true, true);
  } else if (pre == "qwen2" || pre == "deepseek-r1-qwen") {
    scheme.normalizer = {{"type", "NFC"}};
    scheme.pre_tokenizer = split_then_bytes(kQwenRegex);
    scheme.post_processor = byte_level(false, false, false);
    scheme.decoder = byte_level(false, false, false);
  } else if (pre == "llama-bpe") {
    scheme.pre_tokenizer = split_then_bytes(kLlamaRegex);
    scheme.post_processor = byte_level(true, false, true);
    scheme.ignore_merges = true;
    scheme.adds_bos = true;
  } else {
    fail(reader,
         cat("pre-tokenizer '", pre, "' (tokenizer.ggml.pre) is not supported (one of smollm, starcoder, refact, ",
             "gpt-2, qwen2, deepseek-r1-qwen, llama-bpe)"));
  }
  return scheme;
}

const std::vector<std::string>& tokens_of(const GgufReader& reader) {
  const std::string& model = reader.text("tokenizer.ggml.model");
  if (model != "gpt2") {
    fail(reader, cat("tokenizer model '", model, "' is not supported, only byte-level BPE ('gpt2') is"));
  }
  return reader.texts("tokenizer.ggml.tokens");
}

/// Token types, all normal where the file has none.
std::vector<int64_t> token_types(const GgufReader& reader) {
  const size_t count = tokens_of(reader).size();
  if (!reader.has("tokenizer.ggml.token_type")) return std::vector<int64_t>(count, kNormal);
  const std::vector<int64_t>& types = reader.integers("tokenizer.ggml.token_type");
  if (types.size() != count) fail(reader, cat(types.size(), " token types for ", count, " tokens"));
  return types;
}

json make_vocabulary(const GgufReader& reader) {
  const std::vector<std::string>& tokens = tokens_of(reader);
  const std::vector<int64_t> types = token_types(reader);
  json vocabulary = json::object();
  for (size_t id = 0; id < tokens.size(); ++id) {
    // Unused tokens only pad the embedding to a round size.
    if (types[id] == kUnused) continue;
    if (!vocabulary.emplace(tokens[id], id).second) {
      fail(reader, cat("token '", tokens[id], "' appears twice, at ", vocabulary[tokens[id]].dump(), " and ", id));
    }
  }
  return vocabulary;
}

json make_merges(const GgufReader& reader, const json& vocabulary) {
  json merges = json::array();
  for (const std::string& merge : reader.texts("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ', 1);
    const std::string left = merge.substr(0, space);
    const std::string right = space == std::string::npos ? "" : merge.substr(space + 1);
    if (!vocabulary.contains(left) || !vocabulary.contains(right) || !vocabulary.contains(left + right)) {
      fail(reader,
           cat("merge ", merges.size(), " '", merge, "' does not join two tokens to a third of the vocabulary"));
    }
    merges.push_back({left, right});
  }
  return merges;
}

json added_token(const std::string& content, bool special) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", special}};
}

json make_added_tokens(const GgufReader& reader) {
  const std::vector<std::string>& tokens = tokens_of(reader);
  const std::vector<int64_t> types = token_types(reader);
  json added = json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != kControl && types[id] != kUserDefined && types[id] != kUnknown) continue;
    json token = added_token(tokens[id], types[id] != kUserDefined);
    token["id"] = id;
    added.push_back(token);
  }
  return added;
}

/// Id under a tokenizer.ggml key, -1 where the file has none.
int64_t token_id(const GgufReader& reader, const std::string& key) {
  if (!reader.has(key)) return -1;
  const int64_t id = reader.integer(key);
  const auto count = static_cast<int64_t>(tokens_of(reader).size());
  if (id < 0 || id >= count) fail(reader, cat(key, " is ", id, ", expected 0..", count - 1));
  return id;
}

bool adds_bos(const GgufReader& reader, const Scheme& scheme) {
  const auto found = reader.metadata().find("tokenizer.ggml.add_bos_token");
  const bool* stated = found == reader.metadata().end() ? nullptr : std::get_if<bool>(&found->second);
  return stated == nullptr ? scheme.adds_bos : *stated;
}

/// Puts BOS before every text, beside whatever the scheme does already.
json with_bos(const json& post_processor, const std::string& bos, int64_t id) {
  const auto piece = [](const char* kind, const std::string& name, int type) -> json {
    return {{kind, {{"id", name}, {"type_id", type}}}};
  };
  const json single = json::array({piece("SpecialToken", bos, 0), piece("Sequence", "A", 0)});
  json pair = single;
  pair.push_back(piece("SpecialToken", bos, 1));
  pair.push_back(piece("Sequence", "B", 1));
  const json special = {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}};
  const json bos_template = {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  if (post_processor.is_null()) return bos_template;
  return {{"type", "Sequence"}, {"processors", json::array({post_processor, bos_template})}};
}

}  // namespace

json gguf_tokenizer_json(const GgufReader& reader) {
  const Scheme scheme = make_scheme(reader);
  const json vocabulary = make_vocabulary(reader);
  json post_processor = scheme.post_processor;
  const int64_t bos = token_id(reader, "tokenizer.ggml.bos_token_id");
  if (bos >= 0 && adds_bos(reader, scheme)) {
    post_processor = with_bos(post_processor, tokens_of(reader)[static_cast<size_t>(bos)], bos);
  }
  const json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", scheme.ignore_merges},
                      {"vocab", vocabulary},
                      {"merges", make_merges(reader, vocabulary)}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", make_added_tokens(reader)},
          {"normalizer", scheme.normalizer},
          {"pre_tokenizer", scheme.pre_tokenizer},
          {"post_processor", post_processor},
          {"decoder", scheme.decoder},
          {"model", model}};
}

json gguf_tokenizer_config(const GgufReader& reader) {
  // Not the family's own tokenizer class: those rebuild the pre-tokenizer from code instead of from tokenizer.json.
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_prefix_space", false},
                 {"clean_up_tokenization_spaces", false}};
  const std::string context_key = reader.text("general.architecture") + ".context_length";
  if (reader.has(context_key)) config["model_max_length"] = reader.integer(context_key);
  const std::pair<const char*, const char*> kNamed[] = {
      {"bos_token", "bos"}, {"eos_token", "eos"}, {"pad_token", "padding"}, {"unk_token", "unknown"}};
  for (const auto& [name, key] : kNamed) {
    const int64_t id = token_id(reader, cat("tokenizer.ggml.", key, "_token_id"));
    if (id >= 0) config[name] = tokens_of(reader)[static_cast<size_t>(id)];
  }
  json decoder = json::object();
  for (json token : make_added_tokens(reader)) {
    const std::string id = token["id"].dump();
    token.erase("id");
    decoder[id] = token;
  }
  config["added_tokens_decoder"] = decoder;
  if (reader.has("tokenizer.chat_template")) config["chat_template"] = reader.text("tokenizer.chat_template");
  return config;
}

json gguf_generation_config(const GgufReader& reader) {
  const std::vector<std::string>& tokens = tokens_of(reader);
  json config = {{"_from_model_config", true}};
  const int64_t bos = token_id(reader, "tokenizer.ggml.bos_token_id");
  const int64_t pad = token_id(reader, "tokenizer.ggml.padding_token_id");
  if (bos >= 0) config["bos_token_id"] = bos;
  if (pad >= 0) config["pad_token_id"] = pad;
  std::set<int64_t> stops{token_id(reader, "tokenizer.ggml.eos_token_id"),
                          token_id(reader, "tokenizer.ggml.eot_token_id")};
  const bool is_chatml = reader.has("tokenizer.chat_template") &&
                         reader.text("tokenizer.chat_template").find("<|im_end|>") != std::string::npos;
  for (size_t id = 0; is_chatml && id < tokens.size(); ++id) {
    if (tokens[id] == "<|im_end|>") stops.insert(static_cast<int64_t>(id));
  }
  stops.erase(-1);
  if (stops.size() == 1) config["eos_token_id"] = *stops.begin();
  if (stops.size() > 1) config["eos_token_id"] = stops;
  return config;
}

}  // namespace rqat::io
