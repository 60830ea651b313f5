// Line protocol of `rqat tokenize`: lets other programs compare tokenizers.
#pragma once

#include <iosfwd>

#include "rqat/text/tokenizer.h"

namespace rqat::text {

struct TokenizeLinesOptions {
  bool decode = false;
  bool special = true;  ///< encode: add BOS and EOS as the model wants; decode: keep the text of special tokens
};

/// Encodes: each input line a JSON string, each output line a JSON list of ids. With `decode` the other way round
/// (strings in ASCII with \u escapes). Empty lines are skipped. Throws DataError that names the line when it is not
/// such JSON, or an id is outside the vocabulary.
void tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                    const TokenizeLinesOptions& options = {});

}  // namespace rqat::text
