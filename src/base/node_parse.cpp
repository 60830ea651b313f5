// YAML text -> Node, from the events of yaml-cpp: they carry marks, and show duplicate keys before a map swallows them.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "rqat/base/error.h"
#include "rqat/base/node.h"
#include "rqat/base/strings.h"

namespace rqat::base {
namespace {

constexpr size_t kDeepest = 100;
constexpr size_t kMostWeight = 1'000'000;

[[noreturn]] void fail(const Location& where, std::string_view message) {
  throw ConfigError(cat(where.text(), ": ", message));
}

[[noreturn]] void fail_too_deep(const Location& where) { fail(where, cat("nested deeper than ", kDeepest, " levels")); }

/// Memory a tree takes, roughly. Aliases repeat what they name, so that few lines can stand for gigabytes.
size_t weight(const Node& node) {
  size_t sum = 1 + node.value().size() / 64;
  for (const Node& item : node.items()) sum += weight(item);
  for (const auto& entry : node.entries()) sum += weight(entry.value);
  return sum;
}

/// Levels of lists and maps.
size_t depth(const Node& node) {
  size_t deepest = 0;
  for (const Node& item : node.items()) deepest = std::max(deepest, depth(item));
  for (const auto& entry : node.entries()) deepest = std::max(deepest, depth(entry.value));
  return deepest + (node.is_list() || node.is_map() ? 1 : 0);
}

/// Length of the UTF-8 character at the start of `text`, 0 when there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t length = byte(0) < 0x80   ? 1
                        : byte(0) < 0xc2 ? 0
                        : byte(0) < 0xe0 ? 2
                        : byte(0) < 0xf0 ? 3
                        : byte(0) < 0xf5 ? 4
                                         : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool too_long = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  const bool surrogate = byte(0) == 0xed && byte(1) > 0x9f;
  const bool too_large = byte(0) == 0xf4 && byte(1) > 0x8f;
  return too_long || surrogate || too_large ? 0 : length;
}

/// yaml-cpp writes the escapes \N and \_ as one byte each, which is no UTF-8.
std::string in_utf8(const std::string& value) {
  std::string text;
  for (size_t i = 0; i < value.size();) {
    const size_t length = utf8_length(std::string_view(value).substr(i, 4));
    if (length == 0) text += '\xc2';
    text.append(value, i, std::max<size_t>(length, 1));
    i += std::max<size_t>(length, 1);
  }
  return text;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string file_name) : file_name_(std::move(file_name)) {}
  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node node;
    node.set_where(location(mark));
    count(node);
    place(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(location(mark), "an alias stands inside of what it names");
    count(found->second);
    if (frames_.size() + depth(found->second) > kDeepest) fail_too_deep(location(mark));
    place(found->second, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool text = tag == "!" || tag == "tag:yaml.org,2002:str";
    Node node = Node::scalar(in_utf8(value), location(mark), text);
    count(node);
    place(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::list({}, location(mark)), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::map(location(mark)), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Key {
    std::string text;
    Location where;
  };
  struct Frame {
    Node node;
    YAML::anchor_t anchor;
    std::optional<Key> key;  ///< of the entry whose value comes next
    std::unordered_map<std::string, int> lines;
  };

  Location location(const YAML::Mark& mark) const { return {file_name_, mark.line + 1, mark.column + 1}; }

  void open(Node node, YAML::anchor_t anchor) {
    if (frames_.size() >= kDeepest) fail_too_deep(node.where());
    if (expects_key()) fail(node.where(), cat("a key must be plain text, found ", node.describe()));
    count(node);
    frames_.push_back({std::move(node), anchor, {}, {}});
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    place(std::move(frame.node), frame.anchor);
  }

  bool expects_key() const { return !frames_.empty() && frames_.back().node.is_map() && !frames_.back().key; }

  void count(const Node& node) {
    weight_ += weight(node);
    if (weight_ > kMostWeight) fail(node.where(), "the document is too large once its aliases are expanded");
  }

  void place(Node node, YAML::anchor_t anchor) {
    if (anchor != 0) count(node);
    if (anchor != 0) anchors_[anchor] = node;
    if (frames_.empty()) {
      root_ = std::move(node);
    } else if (expects_key()) {
      take_key(node);
    } else if (frames_.back().node.is_map()) {
      Key& key = *frames_.back().key;
      frames_.back().node.entries().push_back({std::move(key.text), std::move(key.where), std::move(node)});
      frames_.back().key.reset();
    } else {
      frames_.back().node.items().push_back(std::move(node));
    }
  }

  void take_key(const Node& node) {
    Frame& frame = frames_.back();
    if (!node.is_scalar()) fail(node.where(), cat("a key must be plain text, found ", node.describe()));
    if (node.value() == "<<" && !node.quoted()) {
      fail(node.where(), "merge keys '<<' are not supported; write the keys out, or use include");
    }
    const auto [old, added] = frame.lines.emplace(node.value(), node.where().line);
    if (!added) {
      fail(node.where(),
           cat("the key '", node.value(), "' stands twice in this map (first in line ", old->second, ")"));
    }
    frame.key = Key{node.value(), node.where()};
  }

  std::string file_name_;
  Node root_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, Node> anchors_;
  size_t weight_ = 0;
};

/// yaml-cpp takes byte 4 for the end of the file and guesses UTF-16 from zeros, so neither may reach it.
void check_characters(std::string_view yaml, const std::string& file_name) {
  int line = 1;
  for (size_t i = 0, length = 1; i < yaml.size(); i += length) {
    const uint8_t byte = static_cast<uint8_t>(yaml[i]);
    length = utf8_length(yaml.substr(i, 4));
    if (length == 0) fail({file_name, line, 0}, "not valid UTF-8 text");
    if (byte == '\n') ++line;
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f) {
      fail({file_name, line, 0}, cat("control character ", int{byte}, " in the text; is this a YAML file in UTF-8?"));
    }
  }
}

/// What yaml-cpp's words do not tell of the two commonest slips.
std::string yaml_advice(const std::string& yaml, int line) {
  const std::vector<std::string> lines = split(yaml, '\n');
  if (line < 1 || static_cast<size_t>(line) > lines.size()) return "";
  const std::string& text = lines[static_cast<size_t>(line) - 1];
  if (text.substr(0, text.find_first_not_of(" \t")).find('\t') != std::string::npos)
    return "; the line begins with a tab: YAML is indented by blanks";
  return "; is a bracket, brace or quote left open above, or the indentation uneven?";
}

Node parse_document(const std::string& yaml, const std::string& file_name) {
  TreeBuilder builder(file_name);
  std::istringstream stream(yaml);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(file_name);
    if (parser.HandleNextDocument(rest)) {
      throw ConfigError(cat(file_name, ": holds more than one YAML document; keep one in each file"));
    }
  } catch (const YAML::Exception& error) {
    const Location where = error.mark.is_null() ? Location{file_name, 0, 0}
                                                : Location{file_name, error.mark.line + 1, error.mark.column + 1};
    throw ConfigError(cat(where.text(), ": not valid YAML: ", error.msg, yaml_advice(yaml, where.line)));
  }
  return builder.take();
}

}  // namespace

Node Node::parse(std::string_view yaml, const std::string& file_name) {
  check_characters(yaml, file_name);
  // yaml-cpp 0.7 takes a quote that is never closed for closed when the text ends with a newline.
  parse_document(std::string(yaml.substr(0, yaml.find_last_not_of(" \t\r\n") + 1)), file_name);
  return parse_document(std::string(yaml), file_name);
}

}  // namespace rqat::base
