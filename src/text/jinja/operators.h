// Operators of the Jinja subset on values, but for `and` and `or`, which do not always look at both.
#pragma once

#include <string>

#include "text/jinja/builtins.h"

namespace rqat::text::jinja {

constexpr int64_t kLongestList = 100'000;

/// not, -. Throws Fault, as the others do, on operands of the wrong type and on results out of bounds.
Value apply_unary(const std::string& name, const Value& value);
/// == != < <= > >= in, not in; + - * / // % ** on numbers; + * % ~ on texts; + * on lists.
Value apply_binary(const std::string& name, const Value& left, const Value& right);
/// left `name` right, of the comparisons.
bool comparison_holds(const std::string& name, const Value& left, const Value& right);

}  // namespace rqat::text::jinja
