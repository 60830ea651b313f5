#include <algorithm>
#include <unordered_map>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "text/byte_alphabet.h"
#include "text/presets.h"
#include "text/readers.h"

namespace rqat::text {
namespace {

constexpr int64_t kLlama3Ranks = 128000;
constexpr int64_t kLlama3Special = 256;
constexpr size_t kLongestToken = 2048;  // bytes; all its cuts are looked up, so that longer ones would take forever

int64_t parse_rank(const std::string& text, const std::string& where) {
  const bool digits = !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) throw base::IoError(base::cat(where, ": '", text, "' is not a rank"));
  return std::stoll(text);
}

std::vector<std::string> read_ranks(const std::filesystem::path& path) {
  std::vector<std::string> tokens;
  size_t number = 0;
  for (const std::string& line : base::split(base::read_file(path), '\n')) {
    ++number;
    if (base::trim(line).empty()) continue;
    const std::string where = base::cat(path.string(), ":", number);
    const std::vector<std::string> fields = base::split(base::trim(line), ' ');
    if (fields.size() != 2) throw base::IoError(base::cat(where, ": '", line, "' is not \"token-in-base64 rank\""));
    const int64_t rank = parse_rank(fields[1], where);
    if (rank != static_cast<int64_t>(tokens.size()))
      throw base::IoError(base::cat(where, ": rank ", rank, ", expected ", tokens.size()));
    tokens.push_back(decode_base64(fields[0], where));
    if (tokens.back().empty()) throw base::IoError(base::cat(where, ": empty token"));
    if (tokens.back().size() > kLongestToken) {
      throw base::IoError(base::cat(where, ": token of ", tokens.back().size(), " bytes; allowed are ", kLongestToken));
    }
  }
  return tokens;
}

// Merging by the rank of the result is the same as merging by a list of all pairs in that order.
void add_merges(const std::vector<std::string>& tokens, TokenizerParts& parts) {
  std::unordered_map<std::string_view, size_t> ranks;
  for (size_t i = 0; i < tokens.size(); ++i) ranks.emplace(tokens[i], i);
  for (const std::string_view token : tokens) {
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(token.substr(0, cut)), right = ranks.find(token.substr(cut));
      if (left == ranks.end() || right == ranks.end()) continue;
      parts.model.merges.emplace_back(parts.model.vocabulary[left->second].first,
                                      parts.model.vocabulary[right->second].first);
    }
  }
}

void add_special(const std::string& content, int64_t id, TokenizerParts& parts) {
  AddedToken token;
  token.content = content;
  token.id = id;
  parts.added_tokens.push_back(std::move(token));
}

// The file leaves them out; these are Llama 3.1's names.
void add_llama3_special(TokenizerParts& parts) {
  const std::unordered_map<int64_t, std::string> named = {
      {0, "<|begin_of_text|>"},   {1, "<|end_of_text|>"},   {4, "<|finetune_right_pad_id|>"},
      {6, "<|start_header_id|>"}, {7, "<|end_header_id|>"}, {8, "<|eom_id|>"},
      {9, "<|eot_id|>"},          {10, "<|python_tag|>"}};
  int64_t reserved = 0;
  for (int64_t i = 0; i < kLlama3Special; ++i) {
    const auto found = named.find(i);
    add_special(found != named.end() ? found->second : base::cat("<|reserved_special_token_", reserved++, "|>"),
                kLlama3Ranks + i, parts);
  }
  parts.bos_token = "<|begin_of_text|>";
  parts.eos_token = "<|end_of_text|>";
  parts.before = {kLlama3Ranks};
}

}  // namespace

bool is_tiktoken_file(const std::filesystem::path& path) {
  const std::string bytes = base::read_file(path);
  const std::string_view start = std::string_view(bytes).substr(0, bytes.find('\n'));
  const size_t space = start.find(' ');
  return space != std::string_view::npos && space > 0 && start.substr(space) == " 0" &&
         std::all_of(start.begin(), start.begin() + static_cast<int64_t>(space), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/' || c == '=';
         });
}

TokenizerParts read_tiktoken(const std::filesystem::path& path) {
  TokenizerParts parts;
  parts.source = path.string();
  const std::vector<std::string> tokens = read_ranks(path);
  for (size_t i = 0; i < tokens.size(); ++i)
    parts.model.vocabulary.emplace_back(bytes_to_alphabet(tokens[i]), static_cast<int64_t>(i));
  if (static_cast<int64_t>(tokens.size()) != kLlama3Ranks) {
    throw base::IoError(base::cat(parts.source, ": ", tokens.size(), " tiktoken ranks; only Llama 3's ", kLlama3Ranks,
                                  " are supported, because the file does not tell its pattern. Save the tokenizer as "
                                  "tokenizer.json"));
  }
  add_merges(tokens, parts);
  apply_preset(Preset::kLlama3, parts);
  add_llama3_special(parts);
  return parts;
}

}  // namespace rqat::text
