// Line protocol of `rqat render`: lets other programs compare chat templates.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <utility>
#include <vector>

#include "rqat/text/chat_template.h"
#include "rqat/text/tokenizer.h"

namespace rqat::text {

/// Each input line a JSON object with messages, tools, add_generation_prompt and any other variables of the template;
/// each output line {"text": ...}, with a tokenizer also "ids", and "assistant_mask" (1 for the tokens of
/// {% generation %} blocks) where the template has such blocks. Strings in ASCII with \u escapes. Empty lines are
/// skipped. Throws DataError that names the line: not such JSON, refused by the template, or a mask that cannot be told
/// because the tokenizer changes the text.
void render_lines(const ChatTemplate& chat, const Tokenizer* tokenizer, std::istream& in, std::ostream& out);

/// 1 for each token of `ids` that has a byte of `text` inside `ranges`, else 0. `ids` must be those of `text`. Throws
/// DataError when their texts do not add up to it.
std::vector<int> mask_of_ranges(const Tokenizer& tokenizer, const std::string& text, const std::vector<int64_t>& ids,
                                const std::vector<std::pair<size_t, size_t>>& ranges);

}  // namespace rqat::text
