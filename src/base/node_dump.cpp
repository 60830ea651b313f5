#include "node_dump.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "number_text.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

constexpr size_t kLongestFlow = 100;

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", byte);
      result += code;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

/// Only the parser knows for certain what a text means without quotes; the words of most recipes need no such check.
bool is_plain_word(const std::string& text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto is_inner = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-';
  };
  static const std::set<std::string> kNulls = {"null", "Null", "NULL"};
  return !text.empty() && (is_letter(text[0]) || is_number_text(text)) &&
         std::all_of(text.begin() + 1, text.end(), is_inner) && !kNulls.contains(text);
}

bool is_unquoted(const Node& node, const std::string& text) {
  return node.is_scalar() && !node.quoted() && node.value() == text;
}

bool survives_unquoted(const std::string& text) {
  if (is_plain_word(text)) return true;
  if (text.empty() || text.find_first_of("\n\r") != std::string::npos) return false;
  try {
    if (!is_unquoted(Node::parse(text, ""), text)) return false;
    const Node flow = Node::parse(cat("[", text, ", a]"), "");
    const Node flow_map = Node::parse(cat("{a: ", text, "}"), "");
    const Node block = Node::parse(cat("- a: ", text, "\n"), "");
    return flow.is_list() && flow.items().size() == 2 && is_unquoted(flow.items()[0], text) && flow_map.is_map() &&
           flow_map.entries().size() == 1 && is_unquoted(flow_map.entries()[0].value, text) && block.is_list() &&
           block.items().size() == 1 && block.items()[0].is_map() && block.items()[0].entries().size() == 1 &&
           is_unquoted(block.items()[0].entries()[0].value, text);
  } catch (const ConfigError&) {
    return false;
  }
}

std::string scalar_text(const Node& node) {
  return !node.quoted() && survives_unquoted(node.value()) ? node.value() : quoted(node.value());
}

std::string key_text(const std::string& key) { return is_plain_word(key) ? key : quoted(key); }

bool is_leaf(const Node& node) {
  return node.is_null() || node.is_scalar() || (node.is_list() ? node.items().empty() : node.entries().empty());
}

/// A list or map of leaves, or a map of one such: {adamw: {learning_rate: 0.1}}.
bool is_shallow(const Node& node, int levels = 2) {
  if (is_leaf(node)) return true;
  if (levels == 0) return false;
  if (node.is_list())
    return std::all_of(node.items().begin(), node.items().end(), [](const Node& n) { return is_leaf(n); });
  const int rest = node.entries().size() == 1 ? levels - 1 : 0;
  return std::all_of(node.entries().begin(), node.entries().end(),
                     [&](const auto& e) { return is_shallow(e.value, rest); });
}

/// The flow text when it is short enough for one line, else "".
std::string short_text(const Node& node, size_t used) {
  if (!is_shallow(node)) return "";
  std::string text = flow_text(node);
  return is_leaf(node) || used + text.size() <= kLongestFlow ? text : "";
}

/// `placed`: the first line stands already at its column, behind "- ".
void dump_block(const Node& node, size_t indent, bool placed, std::string& out) {
  const std::string margin(indent, ' ');
  const auto lead = [&] {
    if (!placed) out += margin;
    placed = false;
  };
  for (const Node& item : node.items()) {
    lead();
    out += "- ";
    if (const std::string text = short_text(item, indent + 2); !text.empty()) {
      out += text + "\n";
    } else {
      dump_block(item, indent + 2, true, out);
    }
  }
  for (const auto& entry : node.entries()) {
    lead();
    const std::string key = key_text(entry.key) + ":";
    out += key;
    if (const std::string text = short_text(entry.value, indent + key.size() + 1); !text.empty()) {
      out += " " + text + "\n";
    } else {
      out += "\n";
      dump_block(entry.value, indent + 2, false, out);
    }
  }
}

}  // namespace

bool looks_like_no_text(const std::string& text) {
  static const std::set<std::string> kWords = {"",     "~",     "null",  "Null",  "NULL", "true", "True",
                                               "TRUE", "false", "False", "FALSE", "yes",  "no",   "on",
                                               "off",  ".inf",  "-.inf", ".nan",  "inf",  "nan"};
  return kWords.contains(text) || is_number_text(text);
}

std::string flow_text(const Node& node) {
  std::vector<std::string> parts;
  switch (node.kind()) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return scalar_text(node);
    case Node::Kind::kList:
      for (const Node& item : node.items()) parts.push_back(flow_text(item));
      return cat("[", join(parts, ", "), "]");
    case Node::Kind::kMap:
      break;
  }
  for (const auto& entry : node.entries()) parts.push_back(cat(key_text(entry.key), ": ", flow_text(entry.value)));
  return cat("{", join(parts, ", "), "}");
}

std::string Node::dump() const {
  if (is_leaf(*this)) return flow_text(*this) + "\n";
  std::string out;
  dump_block(*this, 0, false, out);
  return out;
}

}  // namespace rqat::base
