// Final answers: taking them out of a response, and comparing them. Exact (no floating point), linear in the length of
// the text, no recursion, so hostile model output costs no more than honest output.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rqat::answer {

/// The final answer a response states, trimmed, or nothing. Of the first of these kinds that occurs, the one that
/// stands last decides:
///   1. "#### 42", rest of the line (GSM8K), where it begins like a number or a formula: "#### 1. Setup" does not; and
///      "\boxed{...}", "\fbox{...}", balanced braces; one that is never closed does not count (MATH)
///   2. "#### Tuesday", rest of the line in words, which may be no more than a markdown heading; and
///      "Answer: 42", "the answer is 42", up to the end of the sentence or line, any case
std::optional<std::string> extract(std::string_view response);

/// The last number in a response ("flexible" extraction for models that were never shown a format), without thousands
/// commas; a sign counts only where no digit, letter or bracket stands before it. Nothing when there is no digit.
std::optional<std::string> last_number(std::string_view response);

/// Whether more text could change what `extract` (or, where it finds nothing, `last_number`) takes out of a response:
/// its answer reaches the end of the text, or was only announced there. Of a response that was cut at the token limit,
/// such an answer is not known: "#### 12" may be the start of "#### 128". Linear in the length of the text.
bool ends_inside_answer(std::string_view response);

/// Whether two answers mean the same.
///  - Whitespace (but for that between two digits, "2 3"), "$", "\text{}" and other fonts, "%", a full stop at the end,
///    and commas or blanks between thousands do not matter.
///  - Integers, decimals and fractions ("1/2", "\frac{1}{2}", "\dfrac12") compare as exact rationals, so 0.5 equals 1/2
///    and 0.333 does not equal 1/3. "1 1/2" and "1\frac{1}{2}" are 3/2. A unit after the number ("42 apples") matters
///    only where both sides have one; variables ("2 xy") and operators ("7 squared", "5 less than x") are no units.
///    Numerators and denominators of more than 18 digits compare as text.
///  - Lists ("12, 45, 93") compare item by item, in order; brackets around them must be the same on both sides.
///  - Anything else compares as text: plain words without regard to case and a leading "the", formulas exactly.
/// Algebraic equality ("x+1" and "1+x"), roots and powers are not attempted. Texts beyond kMaxLength compare verbatim.
bool equal(std::string_view a, std::string_view b);

/// Longest answer, in bytes, that `equal` normalizes.
inline constexpr size_t kMaxLength = 2000;

}  // namespace rqat::answer
