#include <iostream>

#include "rqat/cli/command.h"
#include "rqat/text/tokenize_lines.h"
#include "rqat/text/tokenizer.h"

namespace rqat::cli {

namespace {

struct TokenizeOptions : base::Config {
  std::string model;
  bool decode = false, no_special = false;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model,
            "model folder, tokenizer.json (also .gz), sentencepiece .model, GGUF file, or folder with vocab.json and "
            "merges.txt");
    v.required("model");
    v.field("decode", decode, "the other way round: lists of ids in, text out");
    v.field("no_special", no_special, "add no BOS or EOS token; with --decode: leave special tokens out of the text");
  }
};

class Tokenize : public Command {
 public:
  explicit Tokenize(TokenizeOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Encodes text line by line: each line of standard input is a JSON string, each line of output its token ids as "
        "a JSON list, with the BOS and EOS tokens that the model puts around a text. With --decode the other way "
        "round.",
        {"echo '\"Hello there\"' | rqat tokenize --model models/smollm2-135m-instruct",
         "echo '[19556, 665]' | rqat tokenize --model models/smollm2-135m-instruct --decode"},
        {}};
  }

  void run() override {
    text::tokenize_lines(*text::load_tokenizer(options_.model), std::cin, std::cout,
                         {.decode = options_.decode, .special = !options_.no_special});
  }

 private:
  TokenizeOptions options_;
};

}  // namespace

base::Entry<Command> tokenize_entry() {
  return base::make_entry<base::Entry<Command>, TokenizeOptions>(
      "tokenize", "turn text into token ids and back, line by line", "",
      [](const TokenizeOptions& options) { return std::make_unique<Tokenize>(options); });
}

}  // namespace rqat::cli
