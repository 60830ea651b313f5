#include <algorithm>
#include <set>
#include <utility>

#include "rqat/base/strings.h"
#include "text/jinja/builtin_support.h"
#include "text/utf8.h"

namespace rqat::text::jinja {
namespace {

// The characters from `start` to `end` that a method is asked to look at, and the number of the first.
struct Range {
  std::string text;
  int64_t first = 0;
  bool empty = false;  ///< start lies behind the end: nothing is found there, not even ""
};

Range range_of(const std::string& text, const Arguments& a) {
  const Value start = a.get(1, "start"), end = a.get(2, "end");
  if (!start.is_integer() && !end.is_integer()) return {text};
  const std::vector<size_t> starts = character_starts(text);
  const auto size = static_cast<int64_t>(starts.size()) - 1;
  const auto place = [&](const Value& value, int64_t otherwise) {
    if (!value.is_integer()) return otherwise;
    return std::max<int64_t>(value.integer() < 0 ? value.integer() + size : value.integer(), 0);
  };
  const int64_t first = place(start, 0), last = std::min(place(end, size), size);
  if (first > last) return {"", 0, true};
  const size_t begin = starts[static_cast<size_t>(first)];
  return {text.substr(begin, starts[static_cast<size_t>(last)] - begin), first};
}

Value find_text(const std::string& text, const Arguments& a, bool last, bool must) {
  const std::string part = text_of(a.get(0, "sub"), "find");
  const Range range = range_of(text, a);
  const size_t found = range.empty ? std::string::npos
                       : last      ? find_last_in(range.text, part)
                                   : find_in(range.text, part);
  if (found != std::string::npos)
    return Value(range.first + character_count(std::string_view(range.text).substr(0, found)));
  if (must) wrong_type("substring not found", a.get(0, "sub"));
  return Value(int64_t{-1});
}

Value has_affix(const std::string& text, const Arguments& a, bool prefix) {
  const Range range = range_of(text, a);
  return Value(!range.empty && starts_or_ends(range.text, a.get(0, prefix ? "prefix" : "suffix"), prefix));
}

Value count_text(const std::string& whole, const Arguments& a) {
  const std::string part = text_of(a.get(0, "sub"), "count");
  const Range range = range_of(whole, a);
  const std::string& text = range.text;
  if (range.empty) return Value(int64_t{0});
  if (part.empty()) return Value(character_count(text) + 1);
  int64_t count = 0;
  for (size_t at = find_in(text, part); at != std::string::npos; at = find_in(text, part, at + part.size())) ++count;
  return Value(count);
}

// Where str.splitlines() of Python cuts.
bool ends_line(uint32_t code_point) {
  return (code_point >= 0x0A && code_point <= 0x0D) || (code_point >= 0x1C && code_point <= 0x1E) ||
         code_point == 0x85 || code_point == 0x2028 || code_point == 0x2029;
}

Value split_lines(const std::string& text, const Arguments& a) {
  const bool keep = a.get(0, "keepends").truthy();
  List out;
  for (size_t begin = 0, at = 0; begin < text.size();) {
    size_t after = text.size();
    for (; at < text.size(); at = after) {
      const Utf8Step step = utf8_step(text, at);
      after = at + step.length;
      if (!ends_line(step.code_point)) continue;
      if (text[at] == '\r' && after < text.size() && text[after] == '\n') ++after;
      break;
    }
    out.emplace_back(text.substr(begin, (keep ? after : at) - begin));
    begin = at = after;
  }
  return Value(std::move(out));
}

Value split_right(const std::string& text, const Arguments& a) {
  const Value separator = a.get(0, "sep"), limit = a.get(1, "maxsplit");
  int64_t most = limit.is_integer() ? limit.integer() : -1;
  if (!separator.is_string() || separator.string().empty() || most < 0) return split_text(text, a);
  List out;
  std::string backwards(text.rbegin(), text.rend());
  const std::string mark(separator.string().rbegin(), separator.string().rend());
  size_t begin = 0;
  for (size_t at; most-- > 0 && (at = find_in(backwards, mark, begin)) != std::string::npos; begin = at + mark.size())
    out.emplace_back(text.substr(text.size() - at, at - begin));
  out.emplace_back(text.substr(0, text.size() - begin));
  std::reverse(out.begin(), out.end());
  return Value(std::move(out));
}

Value partition(const std::string& text, const Arguments& a, bool last) {
  const std::string part = text_of(a.get(0, "sep"), "partition");
  if (part.empty()) wrong_type("partition needs a separator that is not empty", a.get(0, "sep"));
  const size_t at = last ? find_last_in(text, part) : find_in(text, part);
  if (at == std::string::npos)
    return last ? Value(List{Value(""), Value(""), Value(text)}, Sequence::kTuple)
                : Value(List{Value(text), Value(""), Value("")}, Sequence::kTuple);
  return Value(List{Value(text.substr(0, at)), Value(part), Value(text.substr(at + part.size()))}, Sequence::kTuple);
}

Value padded(const std::string& text, const Arguments& a, const std::string& name) {
  const Value width = a.get(0, "width"), fill = a.get(1, "fillchar");
  if (!width.is_integer()) wrong_type(base::cat(name, " needs a width"), width);
  const int64_t missing = std::clamp<int64_t>(width.integer(), 0, 100'000) - character_count(text);
  if (missing <= 0) return Value(text);
  const std::string character = name == "zfill" ? "0" : fill.is_string() ? fill.string() : " ";
  const auto pad = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) append(out, character);
    return out;
  };
  if (name == "ljust") return Value(text + pad(missing));
  if (name == "center") {
    const int64_t left = missing / 2 + (missing & width.integer() & 1);  // as Python has it
    return Value(pad(left) + text + pad(missing - left));
  }
  const size_t sign = name == "zfill" && !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return Value(text.substr(0, sign) + pad(missing) + text.substr(sign));
}

Value without_affix(const std::string& text, const Arguments& a, bool prefix) {
  const std::string affix = text_of(a.get(0, "affix"), prefix ? "removeprefix" : "removesuffix");
  if (!starts_or_ends(text, Value(affix), prefix)) return Value(text);
  return Value(prefix ? text.substr(affix.size()) : text.substr(0, text.size() - affix.size()));
}

template <class Predicate>
Value all_characters(const std::string& text, const Predicate& holds) {
  const std::vector<std::string> parts = characters(text);
  return Value(!parts.empty() && std::all_of(parts.begin(), parts.end(), [&](const std::string& character) {
    return holds(utf8_step(character, 0).code_point);
  }));
}

using StringMethod = Value (*)(const std::string&, const Arguments&);

const std::map<std::string, StringMethod>& string_methods() {
  using Text = const std::string&;
  using Args = const Arguments&;
  static const std::map<std::string, StringMethod> kMethods = {
      {"capitalize", [](Text t, Args) { return Value(capitalize(t)); }},
      {"center", [](Text t, Args a) { return padded(t, a, "center"); }},
      {"count", count_text},
      {"endswith", [](Text t, Args a) { return has_affix(t, a, false); }},
      {"find", [](Text t, Args a) { return find_text(t, a, false, false); }},
      {"index", [](Text t, Args a) { return find_text(t, a, false, true); }},
      {"isalnum", [](Text t, Args) { return all_characters(t, is_letter_or_digit); }},
      {"isalpha", [](Text t, Args) { return all_characters(t, is_letter); }},
      {"isdigit", [](Text t, Args) { return all_characters(t, is_digit); }},
      {"islower", [](Text t, Args) { return Value(is_all(t, lower_text)); }},
      {"isspace", [](Text t, Args) { return all_characters(t, is_space); }},
      {"isupper", [](Text t, Args) { return Value(is_all(t, upper_text)); }},
      {"join",
       [](Text t, Args a) {
         Arguments separator;
         separator.positional.emplace_back(t);
         return join(a.get(0, "iterable"), separator);
       }},
      {"ljust", [](Text t, Args a) { return padded(t, a, "ljust"); }},
      {"lower", [](Text t, Args) { return Value(lower_text(t)); }},
      {"lstrip", [](Text t, Args a) { return Value(strip(t, a.get(0, "chars"), true, false)); }},
      {"partition", [](Text t, Args a) { return partition(t, a, false); }},
      {"removeprefix", [](Text t, Args a) { return without_affix(t, a, true); }},
      {"removesuffix", [](Text t, Args a) { return without_affix(t, a, false); }},
      {"replace", [](Text t, Args a) { return replace(Value(t), a); }},
      {"rfind", [](Text t, Args a) { return find_text(t, a, true, false); }},
      {"rjust", [](Text t, Args a) { return padded(t, a, "rjust"); }},
      {"rpartition", [](Text t, Args a) { return partition(t, a, true); }},
      {"rsplit", split_right},
      {"rstrip", [](Text t, Args a) { return Value(strip(t, a.get(0, "chars"), false, true)); }},
      {"split", split_text},
      {"splitlines", split_lines},
      {"startswith", [](Text t, Args a) { return has_affix(t, a, true); }},
      {"strip", [](Text t, Args a) { return Value(strip(t, a.get(0, "chars"), true, true)); }},
      {"title", [](Text t, Args) { return Value(title(t)); }},
      {"upper", [](Text t, Args) { return Value(upper_text(t)); }},
      {"zfill", [](Text t, Args a) { return padded(t, a, "zfill"); }},
  };
  return kMethods;
}

// The sandbox lets nothing change a value.
const std::set<std::string>& forbidden_methods(const Value& value) {
  static const std::set<std::string> kOfMaps = {"clear", "pop", "popitem", "setdefault", "update"};
  static const std::set<std::string> kOfLists = {"append", "clear",  "extend",  "insert",
                                                 "pop",    "remove", "reverse", "sort"};
  static const std::set<std::string> kNone;
  return value.is_map() ? kOfMaps : value.is_list() && value.sequence() == Sequence::kList ? kOfLists : kNone;
}

Value map_method(const Value& value, const std::string& name, const Arguments& arguments) {
  if (name == "items") return items_of(value, Sequence::kItems);
  if (name == "get") {
    const Value* found = value.map().find(arguments.get(0, "key"));
    if (found != nullptr) return *found;
    return arguments.positional.size() > 1 ? arguments.positional[1] : Value(None{});
  }
  if (name == "copy") return Value(Map(value.map()));
  List out;
  for (const auto& [key, item] : value.map().items) out.push_back(name == "keys" ? key : item);
  return Value(std::move(out), name == "keys" ? Sequence::kKeys : Sequence::kValues);
}

Value list_method(const Value& value, const std::string& name, const Arguments& arguments) {
  const Value item = arguments.get(0, "value");
  const List& items = value.list();
  if (name == "copy") return value;
  const auto is_item = [&](const Value& other) { return equal(other, item); };
  if (name == "count") return Value(static_cast<int64_t>(std::count_if(items.begin(), items.end(), is_item)));
  const auto found = std::find_if(items.begin(), items.end(), is_item);
  if (found == items.end()) wrong_type(base::cat(item.repr(), " is not in the list"), value);
  return Value(static_cast<int64_t>(found - items.begin()));
}

Value marked_up(const Value& value) {
  if (value.is_string()) return Value::markup(value.string());
  if (!value.is_list()) return value;
  List items;
  for (const Value& item : value.list()) items.push_back(marked_up(item));
  return Value(std::move(items), value.sequence());
}

/// What goes into marked-up text is escaped: what replaces, fills and is joined.
Value markup_method(const std::string& text, const std::string& name, const Arguments& arguments) {
  Arguments safe = arguments;
  const size_t changed = name == "replace" || name == "ljust" || name == "rjust" || name == "center" ? 1 : 0;
  if (changed > 0 && safe.positional.size() > changed) safe.positional[changed] = escaped(safe.positional[changed]);
  if (name == "join" && !safe.positional.empty()) {
    List items;
    for (const Value& item : iterate(safe.positional[0])) items.push_back(escaped(item));
    safe.positional[0] = Value(std::move(items));
  }
  return marked_up(string_methods().at(name)(text, safe));
}

}  // namespace

bool is_method_name(const Value& value, const std::string& name) {
  if (value.is_string()) return string_methods().count(name) > 0;
  if (value.is_map() && !value.map().is_namespace) {
    static const std::set<std::string> kNames = {"copy", "get", "items", "keys", "values"};
    return kNames.count(name) > 0 || forbidden_methods(value).count(name) > 0;
  }
  if (value.is_indexed())
    return (name == "copy" && value.sequence() == Sequence::kList) || name == "count" || name == "index" ||
           forbidden_methods(value).count(name) > 0;
  return false;
}

Value call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (!is_method_name(object, name)) wrong_type(base::cat("method '", name, "' is not supported"), object);
  if (forbidden_methods(object).count(name) > 0)
    wrong_type(base::cat("method '", name, "' would change its object, which templates must not"), object);
  pay_for_reading(object);
  if (object.is_markup()) return markup_method(object.string(), name, arguments);
  if (object.is_string()) return string_methods().at(name)(object.string(), arguments);
  return object.is_map() ? map_method(object, name, arguments) : list_method(object, name, arguments);
}

}  // namespace rqat::text::jinja
