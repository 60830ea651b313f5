#include "text/jinja/value.h"

#include "rqat/base/strings.h"

namespace rqat::text::jinja {
namespace {

std::string hex4(unsigned code) {
  static const char* kDigits = "0123456789abcdef";
  std::string out = "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(code >> shift) & 15];
  return out;
}

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += hex4(static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string python_string(const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      if (c == '\\' || c == quote) out += '\\';
      out += c;
    }
  }
  return out + quote;
}

}  // namespace

const Value* Map::find(const std::string& key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Map::set(const std::string& key, Value value) {
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(key, std::move(value));
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !list().empty();
  if (is_map()) return map().is_namespace || !map().items.empty();
  return true;
}

const char* Value::type_name() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "None";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is<double>()) return "float";
  if (is_string()) return "str";
  if (is_list()) return "list";
  if (is_map()) return map().is_namespace ? "namespace" : "dict";
  return "macro";
}

std::string Value::text() const {
  if (is_string()) return string();
  if (is_undefined()) return "";
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return integer() ? "True" : "False";
  if (is_integer()) return std::to_string(integer());
  if (is<double>()) return base::format_double(number());
  if (is_string()) return python_string(string());
  std::string out;
  if (is_list()) {
    for (const Value& item : list()) out += (out.empty() ? "" : ", ") + item.repr();
    return '[' + out + ']';
  }
  if (is_map() && map().is_namespace) return "<namespace>";  // it may contain itself
  if (is_map()) {
    for (const auto& [key, item] : map().items)
      out += (out.empty() ? "" : ", ") + python_string(key) + ": " + item.repr();
    return '{' + out + '}';
  }
  return "<macro>";
}

std::string Value::json(int indent, int depth) const {
  if (is_string()) return json_string(string());
  if (is_bool()) return integer() ? "true" : "false";
  if (is_none()) return "null";
  if ((!is_list() && !is_map()) || (is_map() && map().is_namespace)) return repr();
  const std::string separator = indent < 0 ? ", " : ",\n" + std::string(static_cast<size_t>(indent * (depth + 1)), ' ');
  std::string out;
  const auto add = [&](const std::string& item) { out += (out.empty() ? "" : separator) + item; };
  if (is_list()) {
    for (const Value& item : list()) add(item.json(indent, depth + 1));
  } else {
    for (const auto& [key, item] : map().items) add(json_string(key) + ": " + item.json(indent, depth + 1));
  }
  const char open = is_list() ? '[' : '{', close = is_list() ? ']' : '}';
  if (indent >= 0 && !out.empty()) {
    out = '\n' + std::string(static_cast<size_t>(indent * (depth + 1)), ' ') + out + '\n' +
          std::string(static_cast<size_t>(indent * depth), ' ');
  }
  return open + out + close;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) {
    if (a.list().size() != b.list().size()) return false;
    for (size_t i = 0; i < a.list().size(); ++i) {
      if (!equal(a.list()[i], b.list()[i])) return false;
    }
    return true;
  }
  if (a.is_map() && b.is_map()) {
    if (a.map().is_namespace || b.map().is_namespace) return &a.map() == &b.map();
    if (a.map().items.size() != b.map().items.size()) return false;
    for (const auto& [key, value] : a.map().items) {
      const Value* other = b.map().find(key);
      if (other == nullptr || !equal(value, *other)) return false;
    }
    return true;
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

}  // namespace rqat::text::jinja
