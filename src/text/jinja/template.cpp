#include "text/jinja/template.h"

#include <cmath>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/jinja/builtins.h"

namespace rqat::text::jinja {
namespace {

constexpr int64_t kMostSteps = 3'000'000;
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr int kDeepestCall = 50;
constexpr int kMostNested = 5000;  // bounds the depth of values, which are printed and destroyed by recursion
constexpr int64_t kLongestList = 100'000;

enum class Flow { kNormal, kBreak, kContinue };

class Renderer {
 public:
  Renderer(const Map& variables, const std::string& where) : where_(where) {
    scopes_.push_back(variables);
    scopes_.emplace_back();
  }

  Flow run(const Block& block, std::string& out) {
    for (const Statement& statement : block) {
      const Flow flow = run(statement, out);
      if (flow != Flow::kNormal) return flow;
    }
    return Flow::kNormal;
  }

 private:
  [[noreturn]] void fail(int line, const std::string& what) const {
    throw base::DataError(base::cat(where_, ":", line, ": chat template: ", what));
  }

  void count_step(int line) {
    if (++steps_ > kMostSteps) fail(line, base::cat("more than ", kMostSteps, " steps"));
  }

  Flow run(const Statement& statement, std::string& out) {
    count_step(statement.line);
    if (out.size() > kMostBytes)
      fail(statement.line, base::cat("more than ", base::format_bytes(kMostBytes), " of text"));
    switch (statement.kind) {
      case StatementKind::kText:
        out += statement.text;
        break;
      case StatementKind::kOutput:
        out += evaluate(*statement.expression).text();
        break;
      case StatementKind::kIf:
        return run(evaluate(*statement.expression).truthy() ? statement.body : statement.otherwise, out);
      case StatementKind::kFor:
        loop(statement, out);
        break;
      case StatementKind::kSet:
        assign(statement, evaluate(*statement.expression));
        break;
      case StatementKind::kSetBlock:
        assign(statement, filtered_block(statement));
        break;
      case StatementKind::kFilterBlock:
        out += filtered_block(statement).text();
        break;
      case StatementKind::kMacro:
        scopes_.back().set(statement.macro->name, Value(statement.macro.get()));
        break;
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNormal;
  }

  // The text of a block, through the filters written at its opening tag; they name their input "".
  Value filtered_block(const Statement& statement) {
    std::string text;
    scopes_.emplace_back();
    run(statement.body, text);
    if (statement.expression == nullptr) {
      scopes_.pop_back();
      return Value(std::move(text));
    }
    scopes_.back().set("", Value(std::move(text)));
    Value value = evaluate(*statement.expression);
    scopes_.pop_back();
    return value;
  }

  void assign(const Statement& statement, const Value& value) {
    if (!statement.text.empty()) {
      const Value target = find(statement.names.front());
      if (!target.is_map() || !target.map().is_namespace) {
        fail(statement.line,
             base::cat("'", statement.names.front(), "' is not a namespace, its attributes cannot be set"));
      }
      target.map().set(statement.text, value);
      return;
    }
    unpack(statement, value);
  }

  void unpack(const Statement& statement, const Value& value) {
    if (statement.names.size() == 1) return scopes_.back().set(statement.names.front(), value);
    if (!value.is_list() || value.list().size() != statement.names.size()) {
      fail(statement.line,
           base::cat("expected ", statement.names.size(), " values to unpack, got ", value.repr().substr(0, 80)));
    }
    for (size_t i = 0; i < statement.names.size(); ++i) scopes_.back().set(statement.names[i], value.list()[i]);
  }

  List loop_items(const Statement& statement) {
    List items = iterate(evaluate(*statement.expression));
    if (statement.condition == nullptr) return items;
    List kept;
    for (const Value& item : items) {
      count_step(statement.line);
      scopes_.emplace_back();
      unpack(statement, item);
      if (evaluate(*statement.condition).truthy()) kept.push_back(item);
      scopes_.pop_back();
    }
    return kept;
  }

  static Value loop_variable(const List& items, size_t i) {
    const auto index = static_cast<int64_t>(i), size = static_cast<int64_t>(items.size());
    Map loop;
    loop.items = {{"index", Value(index + 1)},
                  {"index0", Value(index)},
                  {"revindex", Value(size - index)},
                  {"revindex0", Value(size - index - 1)},
                  {"first", Value(i == 0)},
                  {"last", Value(index == size - 1)},
                  {"length", Value(size)},
                  {"previtem", i > 0 ? items[i - 1] : Value(Undefined{"loop.previtem"})},
                  {"nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"loop.nextitem"})}};
    return Value(std::move(loop));
  }

  void loop(const Statement& statement, std::string& out) {
    const List items = loop_items(statement);
    for (size_t i = 0; i < items.size(); ++i) {
      count_step(statement.line);
      scopes_.emplace_back();
      scopes_.back().set("loop", loop_variable(items, i));
      unpack(statement, items[i]);
      const Flow flow = run(statement.body, out);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    if (items.empty()) run(statement.otherwise, out);
  }

  Value find(const std::string& name) const {
    for (size_t i = scopes_.size(); i-- > 0;) {
      if (const Value* found = scopes_[i].find(name)) return *found;
    }
    return Value(Undefined{name});
  }

  Value evaluate(const Expression& e) {
    count_step(e.line);
    switch (e.kind) {
      case ExpressionKind::kConstant:
        return e.constant;
      case ExpressionKind::kName:
        return find(e.name);
      case ExpressionKind::kList: {
        List items;
        for (const ExpressionPtr& item : e.arguments) items.push_back(nested(evaluate(*item), e.line));
        return Value(std::move(items));
      }
      case ExpressionKind::kMap: {
        Map map;
        for (size_t i = 0; i + 1 < e.arguments.size(); i += 2) {
          const Value key = evaluate(*e.arguments[i]);
          if (!key.is_string()) fail(e.line, base::cat("keys of a mapping must be strings, got ", key.repr()));
          map.set(key.string(), nested(evaluate(*e.arguments[i + 1]), e.line));
        }
        return Value(std::move(map));
      }
      case ExpressionKind::kAttribute:
        return lookup(evaluate(*e.arguments[0]), Value(e.name));
      case ExpressionKind::kIndex:
        return lookup(evaluate(*e.arguments[0]), evaluate(*e.arguments[1]));
      case ExpressionKind::kSlice:
        return slice(evaluate(*e.arguments[0]), optional(e.arguments[1]), optional(e.arguments[2]),
                     optional(e.arguments[3]));
      case ExpressionKind::kCall:
        return call(e);
      case ExpressionKind::kFilter:
        return apply_filter(e.name, evaluate(*e.arguments[0]), arguments_of(e));
      case ExpressionKind::kTest:
        return Value(apply_test(e.name, evaluate(*e.arguments[0]), arguments_of(e)));
      case ExpressionKind::kUnary:
        return unary(e);
      case ExpressionKind::kBinary:
        return binary(e);
      case ExpressionKind::kConditional:
        return evaluate(*e.arguments[1]).truthy() ? evaluate(*e.arguments[0]) : optional(e.arguments[2]);
    }
    return Value();
  }

  // Passes on a value that becomes part of another one.
  Value nested(Value value, int line) {
    const bool compound = value.is_list() || value.is_map();
    if (compound && ++nested_ > kMostNested)
      fail(line, base::cat("more than ", kMostNested, " lists and mappings inside others"));
    return value;
  }

  Value optional(const ExpressionPtr& e) { return e ? evaluate(*e) : Value(); }

  Arguments arguments_of(const Expression& e) {
    Arguments arguments;
    for (size_t i = 1; i < e.arguments.size(); ++i) arguments.positional.push_back(evaluate(*e.arguments[i]));
    for (const auto& [name, value] : e.keywords) arguments.named.emplace(name, evaluate(*value));
    return arguments;
  }

  Value call(const Expression& e) {
    const Expression& callee = *e.arguments[0];
    const Arguments arguments = arguments_of(e);
    if (callee.kind == ExpressionKind::kAttribute) {
      const Value object = evaluate(*callee.arguments[0]);
      if (object.is_undefined()) fail(e.line, base::cat("'", object.name(), "' is undefined"));
      return call_method(object, callee.name, arguments);
    }
    if (callee.kind != ExpressionKind::kName) fail(e.line, "this value cannot be called");
    const Value function = find(callee.name);
    if (function.is_macro()) return call_macro(*function.macro(), arguments, e.line);
    return call_function(callee.name, arguments, e.line);
  }

  Value call_function(const std::string& name, const Arguments& arguments, int line) {
    if (name == "raise_exception") fail(line, arguments.get(0, "message").text());
    if (name == "namespace" || name == "dict") {
      Map map;
      for (const auto& [key, value] : arguments.named) map.set(key, nested(value, line));
      map.is_namespace = name == "namespace";
      return Value(std::move(map));
    }
    if (name == "range") return range(arguments, line);
    fail(line, base::cat("function '", name,
                         "' is not supported; allowed are namespace, dict, range, raise_exception and macros"));
  }

  Value range(const Arguments& arguments, int line) const {
    for (const Value& value : arguments.positional) {
      if (!value.is_integer()) fail(line, base::cat("range needs integers, got ", value.repr()));
    }
    const size_t count = arguments.positional.size();
    if (count < 1 || count > 3) fail(line, "range takes one to three integers");
    const int64_t begin = count > 1 ? arguments.positional[0].integer() : 0;
    const int64_t end = arguments.positional[count > 1 ? 1 : 0].integer();
    const int64_t step = count > 2 ? arguments.positional[2].integer() : 1;
    if (step == 0) fail(line, "the step of range must not be 0");
    List items;
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
      if (static_cast<int64_t>(items.size()) >= kLongestList)
        fail(line, base::cat("range of more than ", kLongestList, " items"));
      items.emplace_back(i);
    }
    return Value(std::move(items));
  }

  Value call_macro(const Macro& macro, const Arguments& arguments, int line) {
    if (++call_depth_ > kDeepestCall) fail(line, base::cat("macro '", macro.name, "' calls itself too deeply"));
    Map scope;
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, fallback] = macro.parameters[i];
      Value value = arguments.get(i, name);
      if (value.is_undefined() && fallback != nullptr) value = evaluate(*fallback);
      scope.set(name, std::move(value));
    }
    // A macro sees the variables and what the template set at its top, not its caller's.
    std::vector<Map> outer(std::make_move_iterator(scopes_.begin() + 2), std::make_move_iterator(scopes_.end()));
    scopes_.resize(2);
    scopes_.push_back(std::move(scope));
    std::string text;
    run(macro.body, text);
    scopes_.resize(2);
    scopes_.insert(scopes_.end(), std::make_move_iterator(outer.begin()), std::make_move_iterator(outer.end()));
    --call_depth_;
    return Value(std::move(text));
  }

  Value unary(const Expression& e) {
    const Value value = evaluate(*e.arguments[0]);
    if (e.name == "not") return Value(!value.truthy());
    if (value.is_integer()) return Value(-value.integer());
    if (value.is<double>()) return Value(-value.number());
    fail(e.line, base::cat("'-' needs a number, got ", value.type_name()));
  }

  Value binary(const Expression& e) {
    Value left = evaluate(*e.arguments[0]);
    if (e.name == "and") return left.truthy() ? evaluate(*e.arguments[1]) : left;
    if (e.name == "or") return left.truthy() ? left : evaluate(*e.arguments[1]);
    const Value right = evaluate(*e.arguments[1]);
    if (e.name == "==") return Value(equal(left, right));
    if (e.name == "!=") return Value(!equal(left, right));
    if (e.name == "in") return Value(contains(right, left));
    if (e.name == "not in") return Value(!contains(right, left));
    if (e.name == "~") return concatenate(e, left.text(), right.text());
    if (e.name == "+" && left.is_string() && right.is_string()) return concatenate(e, left.string(), right.string());
    if (e.name == "+" && left.is_list() && right.is_list()) return concatenate(e, left.list(), right.list());
    if (left.is_string() && right.is_string()) return compare(e, left.string().compare(right.string()), 0);
    if (!left.is_number() || !right.is_number()) {
      for (const Value* side : {&std::as_const(left), &right}) {
        if (side->is_undefined()) fail(e.line, base::cat("'", side->name(), "' is undefined"));
      }
      fail(e.line, base::cat("operator '", e.name, "' does not fit ", left.type_name(), " and ", right.type_name()));
    }
    return arithmetic(e, left, right);
  }

  Value concatenate(const Expression& e, std::string left, const std::string& right) const {
    if (left.size() + right.size() > kMostBytes)
      fail(e.line, base::cat("text of more than ", base::format_bytes(kMostBytes)));
    return Value(std::move(left += right));
  }

  Value concatenate(const Expression& e, List left, const List& right) const {
    if (left.size() + right.size() > static_cast<size_t>(kLongestList))
      fail(e.line, base::cat("list of more than ", kLongestList, " items"));
    left.insert(left.end(), right.begin(), right.end());
    return Value(std::move(left));
  }

  template <class T>
  Value compare(const Expression& e, T left, T right) const {
    if (e.name == "<") return Value(left < right);
    if (e.name == "<=") return Value(left <= right);
    if (e.name == ">") return Value(left > right);
    if (e.name == ">=") return Value(left >= right);
    fail(e.line, base::cat("operator '", e.name, "' does not fit these values"));
  }

  Value arithmetic(const Expression& e, const Value& left, const Value& right) const {
    const bool whole = !left.is<double>() && !right.is<double>();
    const double a = left.number(), b = right.number();
    const bool divides = e.name == "/" || e.name == "//" || e.name == "%";
    if (divides && b == 0) fail(e.line, "division by zero");
    if (e.name == "/") return Value(a / b);
    double result = 0;
    if (e.name == "+") {
      result = a + b;
    } else if (e.name == "-") {
      result = a - b;
    } else if (e.name == "*") {
      result = a * b;
    } else if (e.name == "//") {
      result = std::floor(a / b);
    } else if (e.name == "%") {
      result = a - b * std::floor(a / b);
    } else {
      return compare(e, a, b);
    }
    const bool fits = std::abs(result) < 9.0e15;  // exact in a double
    if (whole && !fits) fail(e.line, base::cat("'", e.name, "' overflows"));
    return whole ? Value(static_cast<int64_t>(result)) : Value(result);
  }

  const std::string& where_;
  std::vector<Map> scopes_;  ///< variables, top of the template, then loops and blocks
  int64_t steps_ = 0;
  int call_depth_ = 0;
  int nested_ = 0;
};

}  // namespace

Template::Template(std::string_view source, std::string where)
    : where_(std::move(where)), block_(parse(source, where_)) {}

std::string Template::render(const Map& variables) const {
  std::string out;
  Renderer(variables, where_).run(block_, out);
  return out;
}

}  // namespace rqat::text::jinja
