#include "text/jinja/builtins.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "text/utf8.h"

namespace rqat::text::jinja {
namespace {

constexpr size_t kByNameOnly = std::string::npos;  // position of an argument that has none
constexpr double kLargestWhole = 9.0e15;           // whole numbers below are exact in a double

[[noreturn]] void wrong_type(const std::string& what, const Value& value) {
  const std::string name =
      value.is_undefined() ? base::cat("'", value.name(), "' is undefined") : base::cat("got ", value.type_name());
  throw Fault(base::cat("", what, ": ", name));
}

const std::string& text_of(const Value& value, const std::string& what) {
  if (!value.is_string()) wrong_type(base::cat(what, " needs a string"), value);
  return value.string();
}

// Where `part` stands in `text`, in linear time whatever the two are.
size_t find_in(const std::string& text, const std::string& part, size_t begin = 0) {
  if (begin > text.size()) return std::string::npos;
  const void* found = ::memmem(text.data() + begin, text.size() - begin, part.data(), part.size());
  return found == nullptr ? std::string::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_in(const std::string& text, const std::string& part) {
  const size_t found = find_in({text.rbegin(), text.rend()}, {part.rbegin(), part.rend()});
  return found == std::string::npos ? found : text.size() - found - part.size();
}

std::vector<std::string> characters(const std::string& text) {
  Budget::spend(kUnitsOfItem / 2 * text.size());
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_step(text, i).length;
    out.push_back(text.substr(i, length));
    i += length;
  }
  return out;
}

bool is_white(std::string_view character) {
  const Utf8Step step = utf8_step(character, 0);
  return is_space(step.code_point) || (step.code_point >= 0x1C && step.code_point <= 0x1F);
}

// First byte of the character that ends before `end`.
size_t last_character(const std::string& text, size_t begin, size_t end) {
  for (size_t length = std::min<size_t>(4, end - begin); length > 1; --length) {
    if (utf8_step(std::string_view(text).substr(0, end), end - length).length == length) return end - length;
  }
  return end - 1;
}

std::string strip(const std::string& text, const Value& set, bool left, bool right) {
  std::set<std::string, std::less<>> given;
  if (set.is_string()) {
    for (std::string& character : characters(set.string())) given.insert(std::move(character));
  }
  const auto strips = [&](size_t at, size_t length) {
    const std::string_view character = std::string_view(text).substr(at, length);
    return set.is_string() ? given.count(character) > 0 : is_white(character);
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    const size_t length = utf8_step(text, begin).length;
    if (!strips(begin, length)) break;
    begin += length;
  }
  while (right && begin < end) {
    const size_t last = last_character(text, begin, end);
    if (!strips(last, end - last)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

List split_white(const std::string& text, int64_t most) {
  List out;
  size_t begin = 0;
  const auto skip = [&](size_t at, bool white) {
    for (size_t length = 0; at < text.size(); at += length) {
      length = utf8_step(text, at).length;
      if (is_white(std::string_view(text).substr(at, length)) != white) break;
    }
    return at;
  };
  while ((begin = skip(begin, true)) < text.size()) {
    const bool last = most >= 0 && static_cast<int64_t>(out.size()) == most;
    const size_t end = last ? text.size() : skip(begin, false);
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
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
                     (found = find_in(text, separator.string(), begin)) != std::string::npos;) {
    out.emplace_back(text.substr(begin, found - begin));
    begin = found + separator.string().size();
  }
  out.emplace_back(text.substr(begin));
  return Value(std::move(out));
}

std::string capitalize(const std::string& text) {
  const size_t first = text.empty() ? 0 : utf8_step(text, 0).length;
  return upper_text(text.substr(0, first)) + lower_text(text.substr(first));
}

std::string title(const std::string& text) {
  std::string out;
  bool start = true;
  for (const std::string& character : characters(text)) {
    out += start ? upper_text(character) : lower_text(character);
    start = !is_cased(utf8_step(character, 0).code_point);
  }
  return out;
}

bool starts_or_ends(const std::string& text, const Value& affix, bool start) {
  if (affix.is_list()) {
    return std::any_of(affix.list().begin(), affix.list().end(),
                       [&](const Value& item) { return starts_or_ends(text, item, start); });
  }
  const std::string part = text_of(affix, start ? "startswith" : "endswith");
  return start ? base::starts_with(text, part)
               : text.size() >= part.size() && text.compare(text.size() - part.size(), part.size(), part) == 0;
}

Value items_of(const Value& value) {
  if (!value.is_map()) wrong_type("items needs a mapping", value);
  List out;
  for (const auto& [key, item] : value.map().items) out.emplace_back(List{key, item});
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
    append(out, (i > 0 ? "\n" : "") + (padded ? pad : "") + lines[i]);
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
    if (!first) append(out, separator);
    append(out, (attribute.is_string() ? attribute_path(item, attribute.string()) : item).text());
    first = false;
  }
  return Value(std::move(out));
}

Value map_items(const Value& value, const Arguments& arguments) {
  const Budget::Level level;  // its filter may be map
  List out;
  if (!value.truthy()) return Value(std::move(out));
  const Value attribute = arguments.get(kByNameOnly, "attribute");
  for (const Value& item : iterate(value)) {
    if (attribute.is_string()) {
      const Value found = attribute_path(item, attribute.string());
      const Value fallback = arguments.get(kByNameOnly, "default");
      out.push_back(found.is_undefined() && !fallback.is_undefined() ? fallback : found);
    } else {
      const std::string name = arguments.get(0, "").text();
      if (!is_filter(name))
        wrong_type(base::cat("map needs a filter or an attribute, '", name, "' is neither"), arguments.get(0, ""));
      Arguments rest;
      Budget::spend(kUnitsOfItem * arguments.positional.size());
      if (!arguments.positional.empty())
        rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
      rest.named = arguments.named;
      out.push_back(apply_filter(name, item, rest));
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
  if (value.is<double>() && !(std::abs(value.number()) < kLargestWhole))
    wrong_type("int needs a number below 9e15", value);
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
  std::string out;
  if (from.empty()) {  // between all characters
    for (const std::string& character : characters(text)) append(out, (left == 0 || left-- == 0 ? "" : to) + character);
    if (left != 0) append(out, to);
    return Value(std::move(out));
  }
  size_t begin = 0;
  for (size_t found; left != 0 && (found = find_in(text, from, begin)) != std::string::npos; --left) {
    append(out, std::string_view(text).substr(begin, found - begin));
    append(out, to);
    begin = found + from.size();
  }
  append(out, std::string_view(text).substr(begin));
  return Value(std::move(out));
}

Value with_default(const Value& value, const Arguments& arguments) {
  const bool missing = value.is_undefined() || (arguments.get(1, "boolean").truthy() && !value.truthy());
  if (!missing) return value;
  const Value fallback = arguments.get(0, "default_value");
  return fallback.is_undefined() ? Value("") : fallback;
}

Value to_json(const Value& value, const Arguments& arguments) {
  if (value.is_undefined()) wrong_type("tojson needs a value", value);
  JsonStyle style;
  style.ensure_ascii = arguments.get(0, "ensure_ascii").truthy();
  const Value indent = arguments.get(1, "indent"), separators = arguments.get(2, "separators");
  if (indent.is_integer()) style.indent = static_cast<int>(std::clamp<int64_t>(indent.integer(), 0, 64));
  if (style.indent >= 0) style.item_separator = ",";
  if (separators.is_list() && separators.list().size() == 2) {
    style.item_separator = text_of(separators.list()[0], "tojson's separators");
    style.key_separator = text_of(separators.list()[1], "tojson's separators");
  }
  style.sort_keys = arguments.get(3, "sort_keys").truthy();
  return Value(value.json(style));
}

// --- filters on numbers and order ------------------------------------------------------------------------------------
// Strings sort without regard to case unless asked otherwise.
Value sort_key(const Value& item, const Value& attribute, bool case_sensitive) {
  Value key = attribute.is_string() ? attribute_path(item, attribute.string()) : item;
  return key.is_string() && !case_sensitive ? Value(lower_text(key.string())) : key;
}

List sorted(List items, const Value& attribute, bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) keyed.emplace_back(sort_key(item, attribute, case_sensitive), std::move(item));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
  });
  List out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return out;
}

Value sort_items(const Value& value, const Arguments& a) {
  return Value(
      sorted(iterate(value), a.get(2, "attribute"), a.get(1, "case_sensitive").truthy(), a.get(0, "reverse").truthy()));
}

Value extreme(const Value& value, const Arguments& a, bool largest) {
  const List items = sorted(iterate(value), a.get(1, "attribute"), a.get(0, "case_sensitive").truthy(), largest);
  return items.empty() ? Value(Undefined{"item of an empty list"}) : items.front();
}

Value sum_items(const Value& value, const Arguments& a) {
  const Value attribute = a.get(0, "attribute"), start = a.get(1, "start");
  if (!start.is_undefined() && !start.is_number()) wrong_type("sum needs a number to start from", start);
  bool whole = !start.is<double>();
  double sum = start.is_undefined() ? 0 : start.number();
  for (const Value& item : iterate(value)) {
    const Value number = attribute.is_string() ? attribute_path(item, attribute.string()) : item;
    if (!number.is_number()) wrong_type("sum needs numbers", number);
    whole = whole && !number.is<double>();
    sum += number.number();
  }
  if (!whole) return Value(sum);
  if (!(std::abs(sum) < kLargestWhole)) wrong_type("sum overflows", value);
  return Value(static_cast<int64_t>(sum));
}

Value sort_dictionary(const Value& value, const Arguments& a) {
  const Value by = a.get(1, "by");
  const bool by_value = by.is_string() && by.string() == "value";
  const bool case_sensitive = a.get(0, "case_sensitive").truthy(), reverse = a.get(2, "reverse").truthy();
  std::vector<std::pair<Value, Value>> keyed;
  const Value pairs = items_of(value);
  for (const Value& pair : pairs.list())
    keyed.emplace_back(sort_key(pair.list()[by_value ? 1 : 0], Value(), case_sensitive), pair);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? compare(y.first, x.first) < 0 : compare(x.first, y.first) < 0;
  });
  List out;
  for (auto& [key, pair] : keyed) out.push_back(std::move(pair));
  return Value(std::move(out));
}

Value absolute(const Value& value, const Arguments&) {
  if (!value.is_number()) wrong_type("abs needs a number", value);
  if (value.is<double>()) return Value(std::abs(value.number()));
  if (value.integer() == std::numeric_limits<int64_t>::min()) wrong_type("abs overflows", value);
  return Value(std::abs(value.integer()));
}

Value rounded(const Value& value, const Arguments& a) {
  if (!value.is_number()) wrong_type("round needs a number", value);
  const Value precision = a.get(0, "precision"), method = a.get(1, "method");
  const double scale = std::pow(10.0, precision.is_integer() ? static_cast<double>(precision.integer()) : 0.0);
  const double scaled = value.number() * scale;
  const std::string name = method.is_string() ? method.string() : "common";
  if (name == "ceil") return Value(std::ceil(scaled) / scale);
  if (name == "floor") return Value(std::floor(scaled) / scale);
  return Value(std::nearbyint(scaled) / scale);
}

Value to_float(const Value& value, const Arguments& a) {
  if (value.is_number()) return Value(value.number());
  if (value.is_string()) {
    const std::string text = base::trim(value.string());
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0') return Value(number);
  }
  const Value fallback = a.get(0, "default");
  return fallback.is_undefined() ? Value(0.0) : fallback;
}

Value batches(const Value& value, const Arguments& a) {
  const Value size = a.get(0, "linecount"), fill = a.get(1, "fill_with");
  if (!size.is_integer() || size.integer() < 1) wrong_type("batch needs a size of at least 1", size);
  List out, batch;
  for (const Value& item : iterate(value)) {
    if (static_cast<int64_t>(batch.size()) == size.integer()) out.emplace_back(std::exchange(batch, {}));
    batch.push_back(item);
  }
  if (batch.empty()) return Value(std::move(out));
  while (!fill.is_undefined() && !fill.is_none() && static_cast<int64_t>(batch.size()) < size.integer() &&
         batch.size() < 1000)
    batch.push_back(fill);
  out.emplace_back(std::move(batch));
  return Value(std::move(out));
}

Value escape_html(const Value& value, const Arguments&) {
  std::string out;
  for (const char c : value.text()) {
    static const std::map<char, const char*> kNames = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
    const auto found = kNames.find(c);
    out += found == kNames.end() ? std::string(1, c) : found->second;
  }
  return Value(std::move(out));
}

Value url_encode(const Value& value, const Arguments&) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : value.text()) {
    const auto byte = static_cast<uint8_t>(c);
    if (std::isalnum(byte) || std::string_view("_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return Value(std::move(out));
}

using Filter = std::function<Value(const Value&, const Arguments&)>;

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> kFilters = {
      {"abs", absolute},
      {"attr", [](const Value& v, const Arguments& a) { return lookup(v, a.get(0, "name")); }},
      {"batch", batches},
      {"capitalize", [](const Value& v, const Arguments&) { return Value(capitalize(v.text())); }},
      {"count", [](const Value& v, const Arguments&) { return Value(length(v)); }},
      {"d", with_default},
      {"default", with_default},
      {"dictsort", sort_dictionary},
      {"e", escape_html},
      {"escape", escape_html},
      {"first", [](const Value& v, const Arguments&) { return first_or_last(v, true); }},
      {"float", to_float},
      {"format", [](const Value& v, const Arguments& a) { return Value(format_text(v.text(), Value(a.positional))); }},
      {"forceescape", escape_html},
      {"indent", [](const Value& v, const Arguments& a) { return Value(indent_text(v.text(), a)); }},
      {"int", to_integer},
      {"items", [](const Value& v, const Arguments&) { return v.is_undefined() ? Value(List{}) : items_of(v); }},
      {"join", join},
      {"last", [](const Value& v, const Arguments&) { return first_or_last(v, false); }},
      {"length", [](const Value& v, const Arguments&) { return Value(length(v)); }},
      {"list", [](const Value& v, const Arguments&) { return Value(iterate(v)); }},
      {"lower", [](const Value& v, const Arguments&) { return Value(lower_text(v.text())); }},
      {"map", map_items},
      {"max", [](const Value& v, const Arguments& a) { return extreme(v, a, true); }},
      {"min", [](const Value& v, const Arguments& a) { return extreme(v, a, false); }},
      {"reject", [](const Value& v, const Arguments& a) { return select(v, a, false, false); }},
      {"rejectattr", [](const Value& v, const Arguments& a) { return select(v, a, true, false); }},
      {"replace", replace},
      {"reverse", [](const Value& v, const Arguments&) { return reversed(v); }},
      {"round", rounded},
      {"safe", [](const Value& v, const Arguments&) { return v; }},
      {"select", [](const Value& v, const Arguments& a) { return select(v, a, false, true); }},
      {"selectattr", [](const Value& v, const Arguments& a) { return select(v, a, true, true); }},
      {"sort", sort_items},
      {"string", [](const Value& v, const Arguments&) { return Value(v.text()); }},
      {"sum", sum_items},
      {"title", [](const Value& v, const Arguments&) { return Value(title(v.text())); }},
      {"tojson", to_json},
      {"trim",
       [](const Value& v, const Arguments& a) { return Value(strip(v.text(), a.get(0, "chars"), true, true)); }},
      {"unique", [](const Value& v, const Arguments&) { return unique(v); }},
      {"upper", [](const Value& v, const Arguments&) { return Value(upper_text(v.text())); }},
      {"urlencode", url_encode},
      {"wordcount",
       [](const Value& v, const Arguments&) { return Value(static_cast<int64_t>(split_white(v.text(), -1).size())); }},
  };
  return kFilters;
}

using Test = std::function<bool(const Value&, const Arguments&)>;

bool iterable(const Value& v) {
  return v.is_list() || v.is_string() || (v.is_map() && !v.map().is_namespace) || v.is_undefined();
}

// str.islower() or str.isupper(): some cased character, and none that `change` would change.
bool is_all(const std::string& text, std::string (*change)(std::string_view)) {
  return change(text) == text && (lower_text(text) != text || upper_text(text) != text);
}

bool same(const Value& v, const Arguments& a) {
  const Value other = a.get(0, "other");
  return std::string_view(v.type_name()) == other.type_name() && equal(v, other);
}

const std::map<std::string, Test>& tests() {
  static const Test kDifferent = [](const Value& v, const Arguments& a) { return !equal(v, a.get(0, "")); };
  static const Test kEqual = [](const Value& v, const Arguments& a) { return equal(v, a.get(0, "")); };
  static const std::map<std::string, Test> kTests = {
      {"==", kEqual},
      {"!=", kDifferent},
      {"<", [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "")) < 0; }},
      {"<=", [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "")) <= 0; }},
      {">", [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "")) > 0; }},
      {">=", [](const Value& v, const Arguments& a) { return compare(v, a.get(0, "")) >= 0; }},
      {"boolean", [](const Value& v, const Arguments&) { return v.is_bool(); }},
      {"callable", [](const Value& v, const Arguments&) { return v.is_macro() || v.is_method(); }},
      {"defined", [](const Value& v, const Arguments&) { return !v.is_undefined(); }},
      {"divisibleby",
       [](const Value& v, const Arguments& a) {
         const Value by = a.get(0, "num");
         if (!v.is_integer() || !by.is_integer() || by.integer() == 0) return false;
         return by.integer() == -1 || v.integer() % by.integer() == 0;  // the least integer has no opposite
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
      {"lower", [](const Value& v, const Arguments&) { return is_all(v.text(), lower_text); }},
      {"ne", kDifferent},
      {"none", [](const Value& v, const Arguments&) { return v.is_none(); }},
      {"number", [](const Value& v, const Arguments&) { return v.is_number(); }},
      {"odd", [](const Value& v, const Arguments&) { return v.is_integer() && v.integer() % 2 != 0; }},
      {"sameas", same},
      {"sequence", [](const Value& v, const Arguments&) { return iterable(v); }},
      {"string", [](const Value& v, const Arguments&) { return v.is_string(); }},
      {"true", [](const Value& v, const Arguments&) { return v.is_bool() && v.integer(); }},
      {"undefined", [](const Value& v, const Arguments&) { return v.is_undefined(); }},
      {"upper", [](const Value& v, const Arguments&) { return is_all(v.text(), upper_text); }},
  };
  static const std::map<std::string, Test> kAll = [] {
    std::map<std::string, Test> all = kTests;
    for (const auto& [alias, name] :
         {std::pair{"lt", "<"}, {"lessthan", "<"}, {"le", "<="}, {"gt", ">"}, {"greaterthan", ">"}, {"ge", ">="}})
      all.emplace(alias, kTests.at(name));
    return all;
  }();
  return kAll;
}

// --- methods ---------------------------------------------------------------------------------------------------------
int64_t character_count(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) i += utf8_step(text, i).length;
  return count;
}

Value find_text(const std::string& text, const Arguments& a, bool last, bool must) {
  const std::string part = text_of(a.get(0, "sub"), "find");
  const size_t found = last ? find_last_in(text, part) : find_in(text, part);
  if (found != std::string::npos) return Value(character_count(std::string_view(text).substr(0, found)));
  if (must) wrong_type("substring not found", a.get(0, "sub"));
  return Value(int64_t{-1});
}

Value count_text(const std::string& text, const Arguments& a) {
  const std::string part = text_of(a.get(0, "sub"), "count");
  if (part.empty()) return Value(character_count(text) + 1);
  int64_t count = 0;
  for (size_t at = find_in(text, part); at != std::string::npos; at = find_in(text, part, at + part.size())) ++count;
  return Value(count);
}

Value split_lines(const std::string& text, const Arguments& a) {
  const bool keep = a.get(0, "keepends").truthy();
  List out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find_first_of("\n\r\v\f", begin), text.size());
    const size_t stop = end;
    if (end < text.size()) end += text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n' ? 2 : 1;
    out.emplace_back(text.substr(begin, (keep ? end : stop) - begin));
    begin = end;
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
  const size_t at = last ? find_last_in(text, part) : find_in(text, part);
  if (at == std::string::npos)
    return last ? Value(List{Value(""), Value(""), Value(text)}) : Value(List{Value(text), Value(""), Value("")});
  return Value(List{Value(text.substr(0, at)), Value(part), Value(text.substr(at + part.size()))});
}

Value padded(const std::string& text, const Arguments& a, const std::string& name) {
  const Value width = a.get(0, "width"), fill = a.get(1, "fillchar");
  if (!width.is_integer()) wrong_type(base::cat(name, " needs a width"), width);
  const int64_t missing = std::min<int64_t>(width.integer(), 100'000) - character_count(text);
  if (missing <= 0) return Value(text);
  const std::string character = name == "zfill" ? "0" : fill.is_string() ? fill.string() : " ";
  const auto pad = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) append(out, character);
    return out;
  };
  if (name == "ljust") return Value(text + pad(missing));
  if (name == "center") return Value(pad(missing / 2) + text + pad(missing - missing / 2));
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
      {"endswith", [](Text t, Args a) { return Value(starts_or_ends(t, a.get(0, "suffix"), false)); }},
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
      {"startswith", [](Text t, Args a) { return Value(starts_or_ends(t, a.get(0, "prefix"), true)); }},
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
  return value.is_map() ? kOfMaps : value.is_list() ? kOfLists : kNone;
}

Value map_method(const Value& value, const std::string& name, const Arguments& arguments) {
  if (name == "items") return items_of(value);
  if (name == "get") {
    const Value* found = value.map().find(arguments.get(0, "key"));
    if (found != nullptr) return *found;
    return arguments.positional.size() > 1 ? arguments.positional[1] : Value(None{});
  }
  if (name == "copy") return Value(Map(value.map()));
  List out;
  for (const auto& [key, item] : value.map().items) out.push_back(name == "keys" ? key : item);
  return Value(std::move(out));
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

int64_t clamp_index(const Value& index, int64_t size, int64_t fallback, int64_t low, int64_t high) {
  if (index.is_undefined() || index.is_none()) return fallback;
  if (!index.is_integer()) wrong_type("a slice needs integers", index);
  return std::clamp(index.integer() < 0 ? index.integer() + size : index.integer(), low, high);
}

// First byte of each character, then the size of the text.
std::vector<size_t> character_starts(const std::string& text) {
  Budget::spend(2 * text.size());
  std::vector<size_t> starts;
  starts.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size(); i += utf8_step(text, i).length) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

std::string character_at(const std::string& text, const std::vector<size_t>& starts, int64_t index) {
  const auto i = static_cast<size_t>(index);
  return text.substr(starts[i], starts[i + 1] - starts[i]);
}

constexpr size_t kBytesPerUnit = 4;  // of text that is only read

void pay_for_reading(const Value& value) {
  if (value.is_string()) Budget::spend(value.string().size() / kBytesPerUnit);
  if (value.is_list()) Budget::spend(value.list().size());
  if (value.is_map()) Budget::spend(value.map().items.size());
}

template <class Names>
std::vector<std::string> names_of(const Names& table) {
  std::vector<std::string> names;
  names.reserve(table.size());
  for (const auto& [name, function] : table) names.push_back(name);
  return names;
}

}  // namespace

Value Arguments::get(size_t position, const std::string& name) const {
  if (position < positional.size()) return positional[position];
  const auto found = named.find(name);
  return found == named.end() ? Value(Undefined{name}) : found->second;
}

namespace {

// Flags, a width and a precision of at most two digits each, as in "%-5.2f": more would cost memory.
size_t end_of_options(const std::string& format, size_t at) {
  const auto skip = [&](std::string_view characters, size_t most) {
    for (size_t i = 0; i < most && at < format.size() && characters.find(format[at]) != std::string_view::npos; ++i)
      ++at;
  };
  skip("+-# 0", 5);
  skip("0123456789", 2);
  if (at < format.size() && format[at] == '.') {
    ++at;
    skip("0123456789", 2);
  }
  return at;
}

std::string format_number(const std::string& options, bool as_float, const Value& item) {
  char text[512];
  int length = 0;
  if (as_float) {
    length = std::snprintf(text, sizeof(text), (options + "f").c_str(), item.number());
  } else {
    const bool fits = !item.is<double>() || std::abs(item.number()) < kLargestWhole;
    if (!fits) wrong_type("'%d' needs a number below 9e15", item);
    const long long whole = item.is<double>() ? static_cast<long long>(item.number()) : item.integer();
    length = std::snprintf(text, sizeof(text), (options + "lld").c_str(), whole);
  }
  if (length < 0 || length >= static_cast<int>(sizeof(text))) wrong_type("a format is too wide", item);
  return {text, static_cast<size_t>(length)};
}

}  // namespace

std::string format_text(const std::string& format, const Value& value) {
  const List values = value.is_list() ? value.list() : List{value};
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const size_t begin = i;
    i = end_of_options(format, begin + 1);
    const char kind = i < format.size() ? format[i] : '\0';
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (used >= values.size()) wrong_type("a format needs more values", value);
    const Value& item = values[used++];
    const std::string options = format.substr(begin, i - begin);
    if ((kind == 's' || kind == 'r') && options == "%") {
      append(out, kind == 's' ? item.text() : item.repr());
    } else if (std::string_view("dif").find(kind) != std::string_view::npos && item.is_number()) {
      append(out, format_number(options, kind == 'f', item));
    } else {
      wrong_type(base::cat("format '", options, kind, "' is not supported for this value"), item);
    }
  }
  if (used < values.size()) wrong_type("a format takes fewer values", value);
  return out;
}

bool is_filter(const std::string& name) { return filters().count(name) > 0; }
std::vector<std::string> filter_names() { return names_of(filters()); }
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  pay_for_reading(value);
  return filters().at(name)(value, arguments);
}

bool is_test(const std::string& name) { return tests().count(name) > 0; }
std::vector<std::string> test_names() { return names_of(tests()); }
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  pay_for_reading(value);
  return tests().at(name)(value, arguments);
}

bool is_method_name(const Value& value, const std::string& name) {
  if (value.is_string()) return string_methods().count(name) > 0;
  if (value.is_map() && !value.map().is_namespace) {
    static const std::set<std::string> kNames = {"copy", "get", "items", "keys", "values"};
    return kNames.count(name) > 0 || forbidden_methods(value).count(name) > 0;
  }
  if (value.is_list())
    return name == "copy" || name == "count" || name == "index" || forbidden_methods(value).count(name) > 0;
  return false;
}

Value call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (!is_method_name(object, name)) wrong_type(base::cat("method '", name, "' is not supported"), object);
  if (forbidden_methods(object).count(name) > 0)
    wrong_type(base::cat("method '", name, "' would change its object, which templates must not"), object);
  pay_for_reading(object);
  if (object.is_string()) return string_methods().at(name)(object.string(), arguments);
  return object.is_map() ? map_method(object, name, arguments) : list_method(object, name, arguments);
}

List iterate(const Value& value) {
  List out;
  if (value.is_list()) {
    Budget::spend(kUnitsOfItem * value.list().size());
    return value.list();
  }
  if (value.is_string()) {
    for (std::string& character : characters(value.string())) out.emplace_back(std::move(character));
  } else if (value.is_map()) {
    Budget::spend(kUnitsOfItem * value.map().items.size());
    for (const auto& [key, item] : value.map().items) out.push_back(key);
  } else if (!value.is_undefined()) {
    wrong_type("a loop needs a list, a mapping or a string", value);
  }
  return out;
}

int64_t length(const Value& value) {
  if (value.is_list()) return static_cast<int64_t>(value.list().size());
  if (value.is_map()) return static_cast<int64_t>(value.map().items.size());
  if (value.is_string()) return character_count(value.string());
  if (value.is_undefined()) return 0;
  wrong_type("length needs a list, a mapping or a string", value);
}

Value lookup(const Value& value, const Value& key) {
  if (value.is_undefined()) throw Fault(base::cat("'", value.name(), "' is undefined"));
  if (value.is_map()) {
    const Value* found = value.map().find(key);
    return found != nullptr ? *found : Value(Undefined{key.text()});
  }
  if (value.is_list() && key.is_integer()) {
    const int64_t size = length(value), index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index >= 0 && index < size) return value.list()[static_cast<size_t>(index)];
  }
  if (value.is_string() && key.is_integer()) {
    const std::vector<size_t> starts = character_starts(value.string());
    const int64_t size = static_cast<int64_t>(starts.size()) - 1,
                  index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index >= 0 && index < size) return Value(character_at(value.string(), starts, index));
  }
  return Value(Undefined{key.text()});
}

Value attribute(const Value& value, const std::string& name) {
  if (is_method_name(value, name)) return Value(Method{name});
  return lookup(value, Value(name));
}

Value slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (!value.is_list() && !value.is_string()) wrong_type("a slice needs a list or a string", value);
  const bool is_text = value.is_string();
  const std::vector<size_t> starts = is_text ? character_starts(value.string()) : std::vector<size_t>();
  const auto size = static_cast<int64_t>(is_text ? starts.size() - 1 : value.list().size());
  const int64_t stride = step.is_integer() ? step.integer() : 1;
  if (stride == 0) wrong_type("the step of a slice must not be 0", step);
  const bool forward = stride > 0;
  const int64_t low = forward ? 0 : -1, high = forward ? size : size - 1;
  const int64_t first = clamp_index(begin, size, forward ? 0 : size - 1, low, high);
  const int64_t last = clamp_index(end, size, forward ? size : -1, low, high);
  List items;
  std::string text;
  bool beyond = false;
  for (int64_t i = first; !beyond && (forward ? i < last : i > last); beyond = __builtin_add_overflow(i, stride, &i)) {
    if (is_text) {
      text += character_at(value.string(), starts, i);
    } else {
      items.push_back(value.list()[static_cast<size_t>(i)]);
    }
  }
  return is_text ? Value(std::move(text)) : Value(std::move(items));
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    pay_for_reading(container);
    return item.is_string() && find_in(container.string(), item.string()) != std::string::npos;
  }
  if (container.is_map()) return container.map().find(item) != nullptr;
  const List items = iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& member) { return equal(member, item); });
}

}  // namespace rqat::text::jinja
