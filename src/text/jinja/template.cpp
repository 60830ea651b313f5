#include "text/jinja/template.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"

namespace rqat::text::jinja {
namespace {

constexpr int64_t kMostSteps = 3'000'000;
constexpr int kDeepestCall = 50;

enum class Flow { kNormal, kBreak, kContinue };

class Renderer {
 public:
  Renderer(const Map& variables, const std::string& where) : where_(where) {
    scopes_.push_back(variables);
    scopes_.emplace_back();
  }

  /// Namespaces may hold each other in a circle or a long chain, so each is emptied by itself.
  ~Renderer() {
    for (const auto& [address, value] : changed_) value.map().items.clear();
  }
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  Rendered render(const Block& block) {
    run(block, rendered_.text);
    return std::move(rendered_);
  }

  Flow run(const Block& block, std::string& out) {
    for (const Statement& statement : block) {
      Flow flow = Flow::kNormal;
      try {
        const Budget::Level level;
        flow = run(statement, out);
      } catch (const Fault& fault) {
        fail(statement.line, fault.what());
      }
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
    switch (statement.kind) {
      case StatementKind::kText:
        append(out, statement.text);
        break;
      case StatementKind::kOutput:
        append(out, evaluate(*statement.expression).text());
        break;
      case StatementKind::kIf:
        return run(evaluate(*statement.expression).truthy() ? statement.body : statement.otherwise, out);
      case StatementKind::kFor:
        loop(statement, evaluate(*statement.expression), 0, out);
        break;
      case StatementKind::kSet:
        assign(statement, evaluate(*statement.expression));
        break;
      case StatementKind::kSetBlock:
        assign(statement, filtered_block(statement));
        break;
      case StatementKind::kFilterBlock:
        append(out, filtered_block(statement).text());
        break;
      case StatementKind::kMacro:
        scopes_.back().set(statement.macro->name, Value(statement.macro.get()));
        break;
      case StatementKind::kWith:
        return with(statement, out);
      case StatementKind::kCallBlock:
        append(out, call_block(statement).text());
        break;
      case StatementKind::kGeneration:
        return generation(statement, out);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNormal;
  }

  Flow with(const Statement& statement, std::string& out) {
    Map scope;
    for (const auto& [name, value] : statement.bindings) scope.set(name, evaluate(*value));
    scopes_.push_back(std::move(scope));
    const Flow flow = run(statement.body, out);
    scopes_.pop_back();
    return flow;
  }

  // The macro finds the block as caller(), which sees the names of the place it is written at.
  Value call_block(const Statement& statement) {
    pay_for(scopes_);
    callers_.emplace_back(statement.macro.get(), std::vector<Map>(scopes_.begin() + 2, scopes_.end()));
    Arguments arguments = arguments_of(*statement.expression);
    arguments.named.insert_or_assign("caller", Value(statement.macro.get()));
    Value result = call(*statement.expression, arguments);
    callers_.pop_back();
    return result;
  }

  static void pay_for(const std::vector<Map>& scopes) {
    for (const Map& scope : scopes) Budget::spend(kUnitsOfItem * (scope.items.size() + 1));
  }

  // Begins where the template's own text stands, inside macros too, as in transformers.
  Flow generation(const Statement& statement, std::string& out) {
    const size_t begin = rendered_.text.size(), before = out.size();
    scopes_.emplace_back();
    const Flow flow = run(statement.body, out);
    scopes_.pop_back();
    rendered_.generated.emplace_back(begin, begin + out.size() - before);
    return flow;
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
      if (value.is_list() || value.is_map()) changed_.emplace(&target.map(), target);
      target.map().set(statement.text, value);
      return;
    }
    unpack(statement, value);
  }

  void unpack(const Statement& statement, const Value& value) {
    if (statement.names.size() == 1) return scopes_.back().set(statement.names.front(), value);
    const List items = iterate(value);
    if (items.size() != statement.names.size()) {
      fail(statement.line,
           base::cat("expected ", statement.names.size(), " values to unpack, got ", value.repr().substr(0, 80)));
    }
    for (size_t i = 0; i < statement.names.size(); ++i) scopes_.back().set(statement.names[i], items[i]);
  }

  List loop_items(const Statement& statement, const Value& iterable) {
    List items = iterate(iterable);
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

  Value loop_variable(const Statement& statement, const List& items, size_t i, int depth) const {
    const auto index = static_cast<int64_t>(i), size = static_cast<int64_t>(items.size());
    Map loop;
    loop.is_namespace = true;  // an object: no mapping, no methods
    if (statement.is_recursive) loop.recursion = static_cast<int>(recursions_.size()) - 1;
    const std::pair<const char*, Value> fields[] = {
        {"index", Value(index + 1)},
        {"index0", Value(index)},
        {"revindex", Value(size - index)},
        {"revindex0", Value(size - index - 1)},
        {"first", Value(i == 0)},
        {"last", Value(index == size - 1)},
        {"length", Value(size)},
        {"depth", Value(int64_t{depth + 1})},
        {"depth0", Value(int64_t{depth})},
        {"previtem", i > 0 ? items[i - 1] : Value(Undefined{"loop.previtem"})},
        {"nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"loop.nextitem"})}};
    for (const auto& [name, value] : fields) loop.items.emplace_back(Value(name), value);
    return Value(std::move(loop));
  }

  /// `depth` of a recursive loop inside itself.
  void loop(const Statement& statement, const Value& iterable, int depth, std::string& out) {
    const List items = loop_items(statement, iterable);
    if (statement.is_recursive) recursions_.push_back({&statement, scopes_.size(), call_depth_, depth});
    for (size_t i = 0; i < items.size(); ++i) {
      count_step(statement.line);
      scopes_.emplace_back();
      scopes_.back().set("loop", loop_variable(statement, items, i, depth));
      unpack(statement, items[i]);
      const Flow flow = run(statement.body, out);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    if (statement.is_recursive) recursions_.pop_back();
    if (items.empty()) run(statement.otherwise, out);
  }

  /// loop(iterable): the body once more, which sees the names around the loop.
  Value recurse(int index, const Arguments& arguments, int line) {
    const bool runs = index < static_cast<int>(recursions_.size());
    if (!runs || recursions_[static_cast<size_t>(index)].call_depth != call_depth_)
      fail(line, "a recursive loop is called outside of its body");
    const Recursion recursion = recursions_[static_cast<size_t>(index)];
    if (recursion.depth >= kDeepestCall) fail(line, "a recursive loop calls itself too deeply");
    if (arguments.positional.size() != 1 || !arguments.named.empty()) fail(line, "a recursive loop takes one value");
    std::vector<Map> inner = cut_scopes(recursion.scopes);
    std::string text;
    loop(*recursion.statement, arguments.positional.front(), recursion.depth + 1, text);
    put_back(recursion.scopes, std::move(inner));
    return Value(std::move(text));
  }

  /// Takes the scopes from number `begin` on away.
  std::vector<Map> cut_scopes(size_t begin) {
    const auto first = scopes_.begin() + static_cast<std::ptrdiff_t>(begin);
    std::vector<Map> cut(std::make_move_iterator(first), std::make_move_iterator(scopes_.end()));
    scopes_.resize(begin);
    return cut;
  }
  void put_back(size_t begin, std::vector<Map> cut) {
    scopes_.resize(begin);
    scopes_.insert(scopes_.end(), std::make_move_iterator(cut.begin()), std::make_move_iterator(cut.end()));
  }

  Value find(const std::string& name) const {
    for (size_t i = scopes_.size(); i-- > 0;) {
      if (const Value* found = scopes_[i].find(name)) return *found;
    }
    return is_function(name) ? Value(Method{name}) : Value(Undefined{name});
  }

  static bool is_function(const std::string& name) {
    return name == "raise_exception" || name == "namespace" || name == "dict" || name == "range" ||
           name == "strftime_now";
  }

  Value evaluate(const Expression& e) {
    count_step(e.line);
    try {
      const Budget::Level level;
      return compute(e);
    } catch (const Fault& fault) {
      fail(e.line, fault.what());
    }
  }

  Value compute(const Expression& e) {
    switch (e.kind) {
      case ExpressionKind::kConstant:
        return e.constant;
      case ExpressionKind::kName:
        return find(e.name);
      case ExpressionKind::kList:
      case ExpressionKind::kTuple: {
        List items;
        for (const ExpressionPtr& item : e.arguments) items.push_back(evaluate(*item));
        return Value(std::move(items), e.kind == ExpressionKind::kTuple ? Sequence::kTuple : Sequence::kList);
      }
      case ExpressionKind::kMap: {
        Map map;
        for (size_t i = 0; i + 1 < e.arguments.size(); i += 2) {
          const Value key = evaluate(*e.arguments[i]);
          if (!key.is_string() && !key.is_number() && !key.is_none())
            fail(e.line, base::cat("a key of a mapping must be a string, a number or none, got ", key.repr()));
          map.set(key, evaluate(*e.arguments[i + 1]));
        }
        return Value(std::move(map));
      }
      case ExpressionKind::kAttribute:
        return attribute(evaluate(*e.arguments[0]), e.name);
      case ExpressionKind::kIndex:
        return lookup(evaluate(*e.arguments[0]), evaluate(*e.arguments[1]));
      case ExpressionKind::kSlice:
        return slice(evaluate(*e.arguments[0]), optional(e.arguments[1]), optional(e.arguments[2]),
                     optional(e.arguments[3]));
      case ExpressionKind::kCall:
        return call(e);
      case ExpressionKind::kFilter:
        if (!is_filter(e.name)) fail(e.line, base::cat("filter '", e.name, "' is not supported"));
        return apply_filter(e.name, evaluate(*e.arguments[0]), arguments_of(e));
      case ExpressionKind::kTest:
        if (!is_test(e.name)) fail(e.line, base::cat("test '", e.name, "' is not supported"));
        return Value(apply_test(e.name, evaluate(*e.arguments[0]), arguments_of(e)));
      case ExpressionKind::kUnary:
        return apply_unary(e.name, evaluate(*e.arguments[0]));
      case ExpressionKind::kBinary:
        return binary(e);
      case ExpressionKind::kChain:
        return chain(e);
      case ExpressionKind::kUnpack:
        fail(e.line, "'*' stands only among the arguments of a call");
      case ExpressionKind::kConditional:
        return evaluate(*e.arguments[1]).truthy() ? evaluate(*e.arguments[0]) : optional(e.arguments[2]);
    }
    return Value();
  }

  Value optional(const ExpressionPtr& e) { return e ? evaluate(*e) : Value(); }

  Arguments arguments_of(const Expression& e) {
    Arguments arguments;
    for (size_t i = 1; i < e.arguments.size(); ++i) {
      if (e.arguments[i]->kind != ExpressionKind::kUnpack) {
        arguments.positional.push_back(evaluate(*e.arguments[i]));
        continue;
      }
      for (Value& item : iterate(evaluate(*e.arguments[i]->arguments[0])))
        arguments.positional.push_back(std::move(item));
    }
    for (const auto& [name, value] : e.keywords) {
      const Value argument = evaluate(*value);
      if (!name.empty()) {
        arguments.named.emplace(name, argument);
        continue;
      }
      if (!argument.is_map()) fail(e.line, base::cat("'**' needs a mapping, got ", argument.type_name()));
      for (const auto& [key, item] : argument.map().items) arguments.named.emplace(key.text(), item);
    }
    return arguments;
  }

  Value call(const Expression& e) { return call(e, arguments_of(e)); }

  Value call(const Expression& e, const Arguments& arguments) {
    const Expression& callee = *e.arguments[0];
    if (callee.kind == ExpressionKind::kAttribute) {
      const Value object = evaluate(*callee.arguments[0]);
      if (object.is_undefined()) fail(e.line, base::cat("'", object.name(), "' is undefined"));
      if (is_method_name(object, callee.name) || !object.is_map()) return call_method(object, callee.name, arguments);
      const Value* index = callee.name == "cycle" ? object.map().find("index0") : nullptr;
      if (index != nullptr && index->is_integer()) return cycle(index->integer(), arguments, e.line);
    }
    const Value function = evaluate(callee);
    if (function.is_macro()) return call_macro(*function.macro(), arguments, e.line);
    if (function.is_map() && function.map().recursion >= 0) return recurse(function.map().recursion, arguments, e.line);
    if (function.is_method() && callee.kind == ExpressionKind::kName)
      return call_function(callee.name, arguments, e.line);
    if (function.is_undefined()) {
      fail(e.line,
           base::cat("'", function.name(), "' is undefined; functions are namespace, dict, range, strftime_now, ",
                     "raise_exception and macros"));
    }
    fail(e.line, base::cat("a value of type ", function.type_name(), " cannot be called"));
  }

  static Value cycle(int64_t index, const Arguments& arguments, int line) {
    const size_t count = arguments.positional.size();
    if (count == 0) throw Fault(base::cat("loop.cycle at line ", line, " needs values"));
    return arguments.positional[static_cast<size_t>(index) % count];
  }

  Value call_function(const std::string& name, const Arguments& arguments, int line) {
    if (name == "raise_exception") fail(line, arguments.get(0, "message").text());
    if (name == "namespace" || name == "dict") {
      Map map;
      if (!arguments.positional.empty()) {
        if (!arguments.positional[0].is_map()) fail(line, base::cat(name, " needs a mapping"));
        map.items = arguments.positional[0].map().items;
      }
      for (const auto& [key, value] : arguments.named) map.set(key, value);
      map.is_namespace = name == "namespace";
      return Value(std::move(map));
    }
    if (name == "strftime_now") return time_text(arguments, line);
    return range(arguments, line);
  }

  Value time_text(const Arguments& arguments, int line) const {
    const Value format = arguments.get(0, "format");
    if (!format.is_string() || format.string().size() > 1000)
      fail(line, "strftime_now needs a format of up to 1000 bytes");
    const std::time_t now = std::time(nullptr);
    std::tm local = {};
    localtime_r(&now, &local);
    char text[8192];
    const size_t length = std::strftime(text, sizeof(text), format.string().c_str(), &local);
    return Value(std::string(text, length));
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
    bool beyond = false;  // of what an integer holds
    for (int64_t i = begin; !beyond && (step > 0 ? i < end : i > end); beyond = __builtin_add_overflow(i, step, &i)) {
      if (static_cast<int64_t>(items.size()) >= kLongestList)
        fail(line, base::cat("range of more than ", kLongestList, " items"));
      items.emplace_back(i);
    }
    return Value(std::move(items));
  }

  Value call_macro(const Macro& macro, const Arguments& arguments, int line) {
    if (++call_depth_ > kDeepestCall) fail(line, base::cat("macro '", macro.name, "' calls itself too deeply"));
    if (arguments.positional.size() > macro.parameters.size())
      fail(line, base::cat("macro '", macro.name, "' takes ", macro.parameters.size(), " values, got ",
                           arguments.positional.size()));
    Map scope;
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, fallback] = macro.parameters[i];
      const bool is_given = i < arguments.positional.size() || arguments.named.count(name) > 0;
      scope.set(name, !is_given && fallback != nullptr ? evaluate(*fallback) : arguments.get(i, name));
    }
    for (const auto& [name, value] : arguments.named) {
      if (name == "caller") {
        scope.set(name, value);
      } else if (scope.find(name) == nullptr) {
        fail(line, base::cat("macro '", macro.name, "' has no parameter '", name, "'"));
      }
    }
    // A macro sees the variables and what the template set at its top, not its caller's.
    std::vector<Map> outer = cut_scopes(2);
    for (const auto& [caller, around] : callers_) {
      if (caller != &macro) continue;
      pay_for(around);
      scopes_.insert(scopes_.end(), around.begin(), around.end());
    }
    scopes_.push_back(std::move(scope));
    std::string text;
    run(macro.body, text);
    put_back(2, std::move(outer));
    --call_depth_;
    return Value(std::move(text));
  }

  Value binary(const Expression& e) {
    Value left = evaluate(*e.arguments[0]);
    if (e.name == "and") return left.truthy() ? evaluate(*e.arguments[1]) : left;
    if (e.name == "or") return left.truthy() ? left : evaluate(*e.arguments[1]);
    return apply_binary(e.name, left, evaluate(*e.arguments[1]));
  }

  Value chain(const Expression& e) {
    Value left = evaluate(*e.arguments[0]);
    for (const auto& [name, operand] : e.keywords) {
      Value right = evaluate(*operand);
      if (!comparison_holds(name, left, right)) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  const std::string& where_;
  std::vector<Map> scopes_;  ///< variables, top of the template, then loops and blocks
  int64_t steps_ = 0;
  int call_depth_ = 0;
  struct Recursion {
    const Statement* statement;
    size_t scopes;  ///< around the loop
    int call_depth, depth;
  };
  std::vector<Recursion> recursions_;  ///< recursive loops that run
  std::vector<std::pair<const Macro*, std::vector<Map>>>
      callers_;                          ///< call blocks that run, with the names around them
  std::map<const Map*, Value> changed_;  ///< namespaces that were given lists or mappings
  Rendered rendered_;
};

bool has_generation(const Block& block) {
  return std::any_of(block.begin(), block.end(), [](const Statement& statement) {
    return statement.kind == StatementKind::kGeneration || has_generation(statement.body) ||
           has_generation(statement.otherwise) || (statement.macro && has_generation(statement.macro->body));
  });
}

}  // namespace

Template::Template(std::string_view source, std::string where)
    : where_(std::move(where)), block_(parse(source, where_)) {}

Rendered Template::render(const Map& variables) const {
  const Budget budget;
  return Renderer(variables, where_).render(block_);
}

bool Template::has_generation_blocks() const { return has_generation(block_); }

}  // namespace rqat::text::jinja
