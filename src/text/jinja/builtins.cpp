#include "text/jinja/builtins.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/utf8.h"

namespace rqat::text::jinja {
namespace {

[[noreturn]] void wrong_type(const std::string& what, const Value& value) {
  const std::string name =
      value.is_undefined() ? base::cat("'", value.name(), "' is undefined") : base::cat("got ", value.type_name());
  throw base::DataError(base::cat("chat template: ", what, ": ", name));
}

const std::string& text_of(const Value& value, const std::string& what) {
  if (!value.is_string()) wrong_type(base::cat(what, " needs a string"), value);
  return value.string();
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_step(text, i).length;
    out.push_back(text.substr(i, length));
    i += length;
  }
  return out;
}

bool strips(const std::string& character, const std::string* set) {
  if (set == nullptr) {
    const Utf8Step step = utf8_step(character, 0);
    return is_space(step.code_point) || (step.code_point >= 0x1C && step.code_point <= 0x1F);
  }
  const std::vector<std::string> allowed = characters(*set);
  return std::find(allowed.begin(), allowed.end(), character) != allowed.end();
}

std::string strip(const std::string& text, const Value& set, bool left, bool right) {
  const std::string* given = set.is_string() ? &set.string() : nullptr;
  const std::vector<std::string> parts = characters(text);
  size_t begin = 0, end = parts.size();
  while (left && begin < end && strips(parts[begin], given)) ++begin;
  while (right && begin < end && strips(parts[end - 1], given)) --end;
  std::string out;
  for (size_t i = begin; i < end; ++i) out += parts[i];
  return out;
}

List split_white(const std::string& text, int64_t most) {
  List out;
  std::string rest = strip(text, Value(), true, false);
  while (!rest.empty()) {
    size_t end = 0;
    while (end < rest.size() && !is_space(utf8_step(rest, end).code_point)) end += utf8_step(rest, end).length;
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) end = rest.size();
    out.emplace_back(rest.substr(0, end));
    rest = strip(rest.substr(end), Value(), true, false);
  }
  return out;
}

Value split_text(const std::string& text, const Arguments& arguments) {
  const Value separator = arguments.get(0, "sep"), limit = arguments.get(1, "maxsplit");
  const int64_t most = limit.is_integer() ? limit.integer() : -1;
  if (!separator.is_string()) return Value(split_white(text, most));
  if (separator.string().empty()) wrong_type("split needs a separator that is not empty", separator);
  List out;
  size_t begin = 0;
  for (size_t found; (most < 0 || static_cast<int64_t>(out.size()) < most) &&
                     (found = text.find(separator.string(), begin)) != std::string::npos;) {
    out.emplace_back(text.substr(begin, found - begin));
    begin = found + separator.string().size();
  }
  out.emplace_back(text.substr(begin));
  return Value(std::move(out));
}

std::string change_case(std::string text, bool upper) {
  for (char& c : text)
    c = static_cast<char>(upper ? std::toupper(static_cast<unsigned char>(c))
                                : std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string capitalize(const std::string& text) {
  return change_case(text.substr(0, 1), true) + change_case(text.substr(std::min<size_t>(1, text.size())), false);
}

std::string title(std::string text) {
  bool start = true;
  for (char& c : text) {
    c = static_cast<char>(start ? std::toupper(static_cast<unsigned char>(c))
                                : std::tolower(static_cast<unsigned char>(c)));
    start = !std::isalpha(static_cast<unsigned char>(c));
  }
  return text;
}

bool starts_or_ends(const std::string& text, const Value& affix, bool start) {
  if (affix.is_list()) {
    return std::any_of(affix.list().begin(), affix.list().end(),
                       [&](const Value& item) { return starts_or_ends(text, item, start); });
  }
  const std::string& part = text_of(affix, start ? "startswith" : "endswith");
  return start ? base::starts_with(text, part)
               : text.size() >= part.size() && text.compare(text.size() - part.size(), part.size(), part) == 0;
}

Value items_of(const Value& value) {
  if (!value.is_map()) wrong_type("items needs a mapping", value);
  List out;
  for (const auto& [key, item] : value.map().items) out.emplace_back(List{Value(key), item});
  return Value(std::move(out));
}

// --- filters ---------------------------------------------------------------------------------------------------------
std::string indent_text(const std::string& text, const Arguments& arguments) {
  const Value width = arguments.get(0, "width");
  const std::string pad =
      width.is_string()
          ? width.string()
          : std::string(width.is_integer() ? static_cast<size_t>(std::clamp<int64_t>(width.integer(), 0, 1000)) : 4,
                        ' ');
  const bool blank_too = arguments.get(2, "blank").truthy();
  std::string out;
  const std::vector<std::string> lines = base::split(text, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool padded = i == 0 ? arguments.get(1, "first").truthy() : blank_too || !lines[i].empty();
    out += (i > 0 ? "\n" : "") + (padded ? pad : "") + lines[i];
  }
  return out;
}

Value attribute_path(Value value, const std::string& path) {
  for (const std::string& name : base::split(path, '.')) value = lookup(value, Value(name));
  return value;
}

Value join(const Value& value, const Arguments& arguments) {
  const std::string separator = arguments.get(0, "d").text();
  const Value attribute = arguments.get(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : iterate(value)) {
    out += (first ? "" : separator) + (attribute.is_string() ? attribute_path(item, attribute.string()) : item).text();
    first = false;
  }
  return Value(std::move(out));
}

Value map_items(const Value& value, const Arguments& arguments) {
  List out;
  if (!value.truthy()) return Value(std::move(out));
  const Value attribute = arguments.get(99, "attribute");
  for (const Value& item : iterate(value)) {
    if (attribute.is_string()) {
      out.push_back(attribute_path(item, attribute.string()));
    } else {
      const std::string name = arguments.get(0, "").text();
      if (!is_filter(name))
        wrong_type(base::cat("map needs a filter or an attribute, '", name, "' is neither"), arguments.get(0, ""));
      out.push_back(apply_filter(name, item, {}));
    }
  }
  return Value(std::move(out));
}

Value select(const Value& value, const Arguments& arguments, bool by_attribute, bool keep) {
  const size_t test_at = by_attribute ? 1 : 0;
  const bool tested = arguments.positional.size() > test_at;
  const std::string test = tested ? arguments.positional[test_at].text() : "";
  if (tested && !is_test(test)) wrong_type(base::cat("'", test, "' is not a test"), arguments.positional[test_at]);
  Arguments operands;
  if (arguments.positional.size() > test_at + 1) operands.positional.push_back(arguments.positional[test_at + 1]);
  List out;
  if (!value.truthy()) return Value(std::move(out));
  for (const Value& item : iterate(value)) {
    const Value subject = by_attribute ? attribute_path(item, arguments.get(0, "").text()) : item;
    if ((tested ? apply_test(test, subject, operands) : subject.truthy()) == keep) out.push_back(item);
  }
  return Value(std::move(out));
}

Value first_or_last(const Value& value, bool first) {
  const List items = iterate(value);
  if (items.empty()) return Value(Undefined{first ? "first item" : "last item"});
  return first ? items.front() : items.back();
}

Value to_integer(const Value& value, const Arguments& arguments) {
  if (value.is<double>() && !(std::abs(value.number()) < 9.0e15)) wrong_type("int needs a number below 9e15", value);
  if (value.is_number()) return Value(value.is<double>() ? static_cast<int64_t>(value.number()) : value.integer());
  if (value.is_string()) {
    const std::string text = base::trim(value.string());
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const bool digits =
        text.size() > sign && text.size() < 19 && text.find_first_not_of("0123456789", sign) == std::string::npos;
    if (digits) return Value(int64_t{std::stoll(text)});
  }
  const Value fallback = arguments.get(0, "default");
  return fallback.is_undefined() ? Value(int64_t{0}) : fallback;
}

Value sorted_items(const Value& value) {
  List items = items_of(value).list();
  std::stable_sort(items.begin(), items.end(), [](const Value& a, const Value& b) {
    return change_case(a.list()[0].string(), false) < change_case(b.list()[0].string(), false);
  });
  return Value(std::move(items));
}

Value reversed(const Value& value) {
  List items = iterate(value);
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Value(std::move(items));
  return join(Value(std::move(items)), {});
}

Value unique(const Value& value) {
  List out;
  for (const Value& item : iterate(value)) {
    if (std::none_of(out.begin(), out.end(), [&](const Value& seen) { return equal(seen, item); })) out.push_back(item);
  }
  return Value(std::move(out));
}

Value replace(const Value& value, const Arguments& arguments) {
  const std::string text = value.text(), from = arguments.get(0, "old").text(), to = arguments.get(1, "new").text();
  const Value limit = arguments.get(2, "count");
  int64_t left = limit.is_integer() ? limit.integer() : -1;
  if (from.empty()) wrong_type("replace needs a text that is not empty", arguments.get(0, "old"));
  std::string out;
  size_t begin = 0;
  for (size_t found; left != 0 && (found = text.find(from, begin)) != std::string::npos; --left) {
    out += text.substr(begin, found - begin) + to;
    begin = found + from.size();
  }
  return Value(out + text.substr(begin));
}

Value with_default(const Value& value, const Arguments& arguments) {
  const bool missing = value.is_undefined() || (arguments.get(1, "boolean").truthy() && !value.truthy());
  if (!missing) return value;
  const Value fallback = arguments.get(0, "default_value");
  return fallback.is_undefined() ? Value("") : fallback;
}

Value to_json(const Value& value, const Arguments& arguments) {
  if (value.is_undefined()) wrong_type("tojson needs a value", value);
  for (const auto& [name, argument] : arguments.named) {
    const bool known = name == "indent" || (name == "ensure_ascii" && !argument.truthy());
    if (!known) wrong_type(base::cat("tojson with ", name, "=", argument.repr(), " is not supported"), argument);
  }
  const Value indent = arguments.get(99, "indent");
  return Value(value.json(indent.is_integer() ? static_cast<int>(std::clamp<int64_t>(indent.integer(), 0, 64)) : -1));
}

using Filter = std::function<Value(const Value&, const Arguments&)>;

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> kFilters = {
      {"capitalize", [](const Value& v, const Arguments&) { return Value(capitalize(v.text())); }},
      {"count", [](const Value& v, const Arguments&) { return Value(length(v)); }},
      {"d", with_default},
      {"default", with_default},
      {"dictsort", [](const Value& v, const Arguments&) { return sorted_items(v); }},
      {"first", [](const Value& v, const Arguments&) { return first_or_last(v, true); }},
      {"indent", [](const Value& v, const Arguments& a) { return Value(indent_text(v.text(), a)); }},
      {"int", to_integer},
      {"items", [](const Value& v, const Arguments&) { return v.is_undefined() ? Value(List{}) : items_of(v); }},
      {"join", join},
      {"last", [](const Value& v, const Arguments&) { return first_or_last(v, false); }},
      {"length", [](const Value& v, const Arguments&) { return Value(length(v)); }},
      {"list", [](const Value& v, const Arguments&) { return Value(iterate(v)); }},
      {"lower", [](const Value& v, const Arguments&) { return Value(change_case(v.text(), false)); }},
      {"map", map_items},
      {"reject", [](const Value& v, const Arguments& a) { return select(v, a, false, false); }},
      {"rejectattr", [](const Value& v, const Arguments& a) { return select(v, a, true, false); }},
      {"replace", replace},
      {"reverse", [](const Value& v, const Arguments&) { return reversed(v); }},
      {"safe", [](const Value& v, const Arguments&) { return v; }},
      {"select", [](const Value& v, const Arguments& a) { return select(v, a, false, true); }},
      {"selectattr", [](const Value& v, const Arguments& a) { return select(v, a, true, true); }},
      {"string", [](const Value& v, const Arguments&) { return Value(v.text()); }},
      {"title", [](const Value& v, const Arguments&) { return Value(title(v.text())); }},
      {"tojson", to_json},
      {"trim",
       [](const Value& v, const Arguments& a) { return Value(strip(v.text(), a.get(0, "chars"), true, true)); }},
      {"unique", [](const Value& v, const Arguments&) { return unique(v); }},
      {"upper", [](const Value& v, const Arguments&) { return Value(change_case(v.text(), true)); }},
  };
  return kFilters;
}

using Test = std::function<bool(const Value&, const Arguments&)>;

bool iterable(const Value& v) {
  return v.is_list() || v.is_string() || (v.is_map() && !v.map().is_namespace) || v.is_undefined();
}

const std::map<std::string, Test>& tests() {
  static const Test kEqual = [](const Value& v, const Arguments& a) { return equal(v, a.get(0, "")); };
  static const std::map<std::string, Test> kTests = {
      {"boolean", [](const Value& v, const Arguments&) { return v.is_bool(); }},
      {"defined", [](const Value& v, const Arguments&) { return !v.is_undefined(); }},
      {"divisibleby",
       [](const Value& v, const Arguments& a) {
         const Value by = a.get(0, "num");
         return v.is_integer() && by.is_integer() && by.integer() != 0 && v.integer() % by.integer() == 0;
       }},
      {"eq", kEqual},
      {"equalto", kEqual},
      {"even", [](const Value& v, const Arguments&) { return v.is_integer() && v.integer() % 2 == 0; }},
      {"false", [](const Value& v, const Arguments&) { return v.is_bool() && !v.integer(); }},
      {"float", [](const Value& v, const Arguments&) { return v.is<double>(); }},
      {"in", [](const Value& v, const Arguments& a) { return contains(a.get(0, ""), v); }},
      {"integer", [](const Value& v, const Arguments&) { return v.is_integer(); }},
      {"iterable", [](const Value& v, const Arguments&) { return iterable(v); }},
      {"mapping", [](const Value& v, const Arguments&) { return v.is_map(); }},
      {"ne", [](const Value& v, const Arguments& a) { return !equal(v, a.get(0, "")); }},
      {"none", [](const Value& v, const Arguments&) { return v.is_none(); }},
      {"number", [](const Value& v, const Arguments&) { return v.is_number(); }},
      {"odd", [](const Value& v, const Arguments&) { return v.is_integer() && v.integer() % 2 != 0; }},
      {"sequence", [](const Value& v, const Arguments&) { return iterable(v); }},
      {"string", [](const Value& v, const Arguments&) { return v.is_string(); }},
      {"true", [](const Value& v, const Arguments&) { return v.is_bool() && v.integer(); }},
      {"undefined", [](const Value& v, const Arguments&) { return v.is_undefined(); }},
  };
  return kTests;
}

Value string_method(const std::string& text, const std::string& name, const Arguments& arguments) {
  const Value first = arguments.get(0, "chars");
  if (name == "strip") return Value(strip(text, first, true, true));
  if (name == "lstrip") return Value(strip(text, first, true, false));
  if (name == "rstrip") return Value(strip(text, first, false, true));
  if (name == "startswith") return Value(starts_or_ends(text, first, true));
  if (name == "endswith") return Value(starts_or_ends(text, first, false));
  if (name == "split") return split_text(text, arguments);
  if (name == "replace") return replace(Value(text), arguments);
  if (name == "upper" || name == "lower") return Value(change_case(text, name == "upper"));
  if (name == "capitalize") return Value(capitalize(text));
  if (name == "title") return Value(title(text));
  if (name == "join") {
    Arguments separator;
    separator.positional.emplace_back(text);
    return join(first, separator);
  }
  if (name == "find") {
    const size_t found = text.find(text_of(first, "find"));
    return Value(found == std::string::npos ? int64_t{-1}
                                            : static_cast<int64_t>(characters(text.substr(0, found)).size()));
  }
  throw base::DataError(base::cat("chat template: method '", name, "' of a string is not supported"));
}

Value map_method(const Value& value, const std::string& name, const Arguments& arguments) {
  if (name == "items") return items_of(value);
  if (name == "get") {
    const Value* found = value.map().find(arguments.get(0, "key").text());
    if (found != nullptr) return *found;
    const Value fallback = arguments.get(1, "default");
    return fallback.is_undefined() ? Value(None{}) : fallback;
  }
  if (name == "keys" || name == "values") {
    List out;
    for (const auto& [key, item] : value.map().items) out.push_back(name == "keys" ? Value(key) : item);
    return Value(std::move(out));
  }
  throw base::DataError(base::cat("chat template: method '", name, "' of a mapping is not supported"));
}

int64_t clamp_index(const Value& index, int64_t size, int64_t fallback, int64_t low, int64_t high) {
  if (index.is_undefined() || index.is_none()) return fallback;
  if (!index.is_integer()) wrong_type("a slice needs integers", index);
  return std::clamp(index.integer() < 0 ? index.integer() + size : index.integer(), low, high);
}

template <class Names>
std::vector<std::string> names_of(const Names& table) {
  std::vector<std::string> names;
  for (const auto& [name, function] : table) names.push_back(name);
  return names;
}

}  // namespace

Value Arguments::get(size_t position, const std::string& name) const {
  if (position < positional.size()) return positional[position];
  const auto found = named.find(name);
  return found == named.end() ? Value(Undefined{name}) : found->second;
}

bool is_filter(const std::string& name) { return filters().count(name) > 0; }
std::vector<std::string> filter_names() { return names_of(filters()); }
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  return filters().at(name)(value, arguments);
}

bool is_test(const std::string& name) { return tests().count(name) > 0; }
std::vector<std::string> test_names() { return names_of(tests()); }
bool test_takes_argument(const std::string& name) {
  return name == "divisibleby" || name == "eq" || name == "equalto" || name == "ne" || name == "in";
}
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  return tests().at(name)(value, arguments);
}

Value call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (object.is_string()) return string_method(object.string(), name, arguments);
  if (object.is_map()) return map_method(object, name, arguments);
  wrong_type(base::cat("method '", name, "' needs a string or a mapping"), object);
}

List iterate(const Value& value) {
  if (value.is_list()) return value.list();
  List out;
  if (value.is_string()) {
    for (std::string& character : characters(value.string())) out.emplace_back(std::move(character));
  } else if (value.is_map()) {
    for (const auto& [key, item] : value.map().items) out.emplace_back(key);
  } else if (!value.is_undefined()) {
    wrong_type("a loop needs a list, a mapping or a string", value);
  }
  return out;
}

int64_t length(const Value& value) {
  if (value.is_list()) return static_cast<int64_t>(value.list().size());
  if (value.is_map()) return static_cast<int64_t>(value.map().items.size());
  if (value.is_string()) return static_cast<int64_t>(characters(value.string()).size());
  if (value.is_undefined()) return 0;
  wrong_type("length needs a list, a mapping or a string", value);
}

Value lookup(const Value& value, const Value& key) {
  if (value.is_undefined()) throw base::DataError(base::cat("chat template: '", value.name(), "' is undefined"));
  if (value.is_map()) {
    const Value* found = value.map().find(key.text());
    return found != nullptr ? *found : Value(Undefined{key.text()});
  }
  if (value.is_list() && key.is_integer()) {
    const int64_t size = length(value), index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index >= 0 && index < size) return value.list()[static_cast<size_t>(index)];
  }
  if (value.is_string() && key.is_integer()) {
    const std::vector<std::string> parts = characters(value.string());
    const int64_t size = static_cast<int64_t>(parts.size()),
                  index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index >= 0 && index < size) return Value(parts[static_cast<size_t>(index)]);
  }
  return Value(Undefined{key.text()});
}

Value slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (!value.is_list() && !value.is_string()) wrong_type("a slice needs a list or a string", value);
  const List items = iterate(value);
  const auto size = static_cast<int64_t>(items.size());
  const int64_t stride = step.is_integer() ? step.integer() : 1;
  if (stride == 0) wrong_type("the step of a slice must not be 0", step);
  const bool forward = stride > 0;
  const int64_t low = forward ? 0 : -1, high = forward ? size : size - 1;
  const int64_t first = clamp_index(begin, size, forward ? 0 : size - 1, low, high);
  const int64_t last = clamp_index(end, size, forward ? size : -1, low, high);
  List out;
  for (int64_t i = first; forward ? i < last : i > last; i += stride) out.push_back(items[static_cast<size_t>(i)]);
  return value.is_string() ? join(Value(std::move(out)), {}) : Value(std::move(out));
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) return item.is_string() && container.string().find(item.string()) != std::string::npos;
  if (container.is_map()) return container.map().find(item.text()) != nullptr;
  const List items = iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& member) { return equal(member, item); });
}

}  // namespace rqat::text::jinja
