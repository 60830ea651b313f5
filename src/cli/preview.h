// Examples as a person reads them: text, ids, and what is learned.
#pragma once

#include <string>

#include "rqat/data/dataset.h"

namespace rqat::cli {

/// The conversation of a record, turn by turn.
std::string record_text(const data::Record& record);

/// Text in stretches that are learned and not learned, then the ids. With `color` learned text is green and the rest
/// dim, else headings tell it, and learned ids carry a `*`. Control characters of the data are shown as \xNN.
std::string example_text(const data::Example& example, const text::Tokenizer& tokenizer, bool color);

}  // namespace rqat::cli
