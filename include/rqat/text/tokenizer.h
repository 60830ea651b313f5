// Tokenizers as the Hugging Face ecosystem uses them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rqat::text {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Token ids of UTF-8 text. Special tokens written in the text ("<|im_end|>") become their ids when `parse_special`;
  /// added tokens that are not special ("<think>") always do. No BOS/EOS is added. Invalid UTF-8 is replaced by U+FFFD.
  /// Thread-safe. Throws DataError when the pre-tokenizer's pattern backtracks beyond its limit.
  virtual std::vector<int64_t> encode(std::string_view text, bool parse_special = true) const = 0;
  /// `ids` between the tokens that the model's post-processor puts around a text (Llama: BOS before it).
  virtual std::vector<int64_t> with_special(std::vector<int64_t> ids) const = 0;
  /// Text of ids; special tokens are left out when `skip_special`. Throws DataError on an id outside the vocabulary.
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const = 0;
  /// Bytes of one token decoded by itself; they may be part of a character. Throws DataError as decode() does.
  virtual std::string token_bytes(int64_t id) const = 0;
  /// True when decode() strings together the bytes of its tokens, as byte-level BPE does. Else a token's text depends
  /// on its place: the space of a first word is dropped, say.
  virtual bool decodes_by_token() const = 0;
  virtual bool is_special(int64_t id) const = 0;
  /// One more than the largest id. A model may have more rows (padding); such ids cannot be decoded.
  virtual int64_t vocab_size() const = 0;
  /// Id of a token by its exact text, -1 when absent.
  virtual int64_t token_id(std::string_view token) const = 0;
  virtual std::string token_text(int64_t id) const = 0;
  /// From the model's configuration; -1 when it has none.
  virtual int64_t bos_id() const = 0;
  virtual int64_t eos_id() const = 0;
};

/// Reads a tokenizer from
///   - tokenizer.json of the `tokenizers` library, .gz too: BPE, Unigram, WordPiece and WordLevel with all their
///     normalizers, pre-tokenizers, post-processors and decoders; truncation and padding are left to the caller;
///   - a .gguf file: its vocabulary;
///   - a .model file of sentencepiece, or of tiktoken with Llama 3's pattern;
///   - a model folder with one of tokenizer.json, vocab.json + merges.txt (Qwen2, GPT-2), tokenizer.model; the BOS and
///     EOS tokens are those of its tokenizer_config.json.
/// Throws IoError: missing or malformed file, or a component that is not supported, which it names.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace rqat::text
