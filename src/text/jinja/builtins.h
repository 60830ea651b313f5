// Filters, tests and methods of the Jinja subset.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "text/jinja/value.h"

namespace rqat::text::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::map<std::string, Value> named;
  /// By position or by name; undefined when absent.
  Value get(size_t position, const std::string& name) const;
};

bool is_filter(const std::string& name);
std::vector<std::string> filter_names();
/// Throws DataError on operands of the wrong type.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);

bool is_test(const std::string& name);
std::vector<std::string> test_names();
/// Tests that read "x is divisibleby 3" take an operand without parentheses.
bool test_takes_argument(const std::string& name);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);

/// str.strip, dict.items and so on. Throws DataError when the type has no such method.
Value call_method(const Value& object, const std::string& name, const Arguments& arguments);

/// Items that a loop visits: of a list, keys of a map, characters of a string. Throws DataError for other types.
List iterate(const Value& value);
/// len(). Throws DataError when the type has none.
int64_t length(const Value& value);
/// value[key] and value.key: undefined when absent.
Value lookup(const Value& value, const Value& key);
/// value[begin:end:step] of a list or a string, by characters.
Value slice(const Value& value, const Value& begin, const Value& end, const Value& step);
bool contains(const Value& container, const Value& item);

}  // namespace rqat::text::jinja
