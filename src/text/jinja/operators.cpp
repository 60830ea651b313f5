#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "rqat/base/strings.h"
#include "text/jinja/builtin_support.h"

namespace rqat::text::jinja {
namespace {

using base::cat;

Value join_texts(std::string left, const std::string& right) {
  append(left, right);
  return Value(std::move(left));
}

Value add_texts(const Value& left, const Value& right) {
  if (!left.is_markup() && !right.is_markup()) return join_texts(left.string(), right.string());
  return Value::markup(join_texts(escaped(left).string(), escaped(right).string()).string());
}

Value add_lists(const Value& left, const Value& right) {
  List items = left.list();
  if (items.size() + right.list().size() > static_cast<size_t>(kLongestList))
    throw Fault(cat("list of more than ", kLongestList, " items"));
  items.insert(items.end(), right.list().begin(), right.list().end());
  return Value(std::move(items), left.sequence());
}

Value repeat(const Value& value, const Value& count) {
  if (!count.is_integer()) throw Fault(cat("'*' does not fit ", value.type_name(), " and ", count.type_name()));
  const auto times = static_cast<size_t>(std::max<int64_t>(count.integer(), 0));
  const size_t size = value.is_string() ? value.string().size() : value.list().size();
  const size_t most = value.is_string() ? kMostText : static_cast<size_t>(kLongestList);
  if (size > 0 && times > most / size) throw Fault(cat("'*' makes more than ", most, " items"));
  if (value.is_string()) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += value.string();
    return value.is_markup() ? Value::markup(std::move(out)) : Value(std::move(out));
  }
  List out;
  for (size_t i = 0; i < times; ++i) out.insert(out.end(), value.list().begin(), value.list().end());
  return Value(std::move(out), value.sequence());
}

Value arithmetic(const std::string& name, const Value& left, const Value& right) {
  const bool whole = !left.is<double>() && !right.is<double>();
  const double a = left.number(), b = right.number();
  const bool divides = name == "/" || name == "//" || name == "%";
  if (divides && b == 0) throw Fault("division by zero");
  if (name == "/") return Value(a / b);
  double result = 0;
  if (name == "+") {
    result = a + b;
  } else if (name == "-") {
    result = a - b;
  } else if (name == "*") {
    result = a * b;
  } else if (name == "//") {
    result = std::floor(a / b);
  } else if (name == "%") {
    result = a - b * std::floor(a / b);
  } else if (name == "**") {
    result = std::pow(a, b);
    if (b < 0) return Value(result);
  } else {
    throw Fault(cat("operator '", name, "' does not fit numbers"));
  }
  if (whole && !(std::abs(result) < kLargestWhole)) throw Fault(cat("'", name, "' overflows"));
  return whole ? Value(static_cast<int64_t>(result)) : Value(result);
}

[[noreturn]] void does_not_fit(const std::string& name, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) throw Fault(cat("'", side->name(), "' is undefined"));
  }
  throw Fault(cat("operator '", name, "' does not fit ", left.type_name(), " and ", right.type_name()));
}

bool orders(const std::string& name) { return name[0] == '<' || name[0] == '>'; }

}  // namespace

Value apply_unary(const std::string& name, const Value& value) {
  if (name == "not") return Value(!value.truthy());
  if (value.is_integer() && value.integer() == std::numeric_limits<int64_t>::min()) throw Fault("'-' overflows");
  if (value.is_integer()) return Value(-value.integer());
  if (value.is<double>()) return Value(-value.number());
  throw Fault(cat("'-' needs a number, got ", value.type_name()));
}

bool comparison_holds(const std::string& name, const Value& left, const Value& right) {
  if (name == "==") return equal(left, right);
  if (name == "!=") return !equal(left, right);
  if (name == "in") return contains(right, left);
  if (name == "not in") return !contains(right, left);
  const int sign = compare(left, right);
  if (name == "<") return sign < 0;
  if (name == "<=") return sign <= 0;
  if (name == ">") return sign > 0;
  if (name == ">=") return sign >= 0;
  throw Fault(cat("operator '", name, "' is no comparison"));
}

Value apply_binary(const std::string& name, const Value& left, const Value& right) {
  if (name == "==" || name == "!=" || name == "in" || name == "not in")
    return Value(comparison_holds(name, left, right));
  if (name == "~") return join_texts(left.text(), right.text());
  if (name == "+" && left.is_string() && right.is_string()) return add_texts(left, right);
  if (name == "+" && left.is_indexed() && right.is_indexed() && left.sequence() == right.sequence())
    return add_lists(left, right);
  if (name == "*" && (left.is_integer() || right.is_integer())) {
    if (left.is_string() || left.is_indexed()) return repeat(left, right);
    if (right.is_string() || right.is_indexed()) return repeat(right, left);
  }
  if (name == "%" && left.is_string()) return formatted(left, right);
  if (orders(name) && (left.is_string() || left.is_indexed())) return Value(comparison_holds(name, left, right));
  if (!left.is_number() || !right.is_number()) does_not_fit(name, left, right);
  return orders(name) ? Value(comparison_holds(name, left, right)) : arithmetic(name, left, right);
}

}  // namespace rqat::text::jinja
