// One description per configuration struct, read by every visitor: the YAML reader, the writer of resolved recipes,
// help, and the generated reference.
//
//   struct GptqConfig : base::Config {
//     int64_t block_size = 128;
//     void fields(base::FieldVisitor& v) override {
//       v.field("block_size", block_size, "columns per lazy update", {1, 4096});
//     }
//   };
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rqat/base/node.h"

namespace rqat::base {

class RegistryBase;

/// Allowed interval of a number. `low_open` and `high_open` exclude an end.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;
  bool contains(double value) const;
  std::string text() const;  ///< "1..4096", "> 0", ">= 0", ""
};

/// > 0
inline Range positive() { return {0, std::numeric_limits<double>::infinity(), true}; }
/// >= 0
inline Range non_negative() { return {0}; }

class FieldVisitor;

/// Base of every configuration struct.
struct Config {
  virtual ~Config() = default;
  /// Visits each field once, in the order in which help shows them.
  virtual void fields(FieldVisitor& visitor) = 0;
  /// Faults that concern several fields at once, as messages; called after a clean read.
  virtual std::vector<std::string> check() const { return {}; }

  Location where;  ///< filled by the reader
};

/// A chosen part: the name of a registry entry and its settings, written `adamw` or `{adamw: {learning_rate: 1e-4}}`.
struct Component {
  Component() = default;
  explicit Component(std::string entry_name) : name(std::move(entry_name)) {}
  std::string name;                ///< "" = none chosen
  std::shared_ptr<Config> config;  ///< settings of that entry; made by the reader, or by Registry::resolve
  Location where;
  explicit operator bool() const { return !name.empty(); }
};

/// Visitor interface. Every `field` call names the key, the variable (holding the default), and one line of help.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void field(const char* key, bool& value, const char* help) = 0;
  virtual void field(const char* key, int64_t& value, const char* help, Range range = {}) = 0;
  virtual void field(const char* key, double& value, const char* help, Range range = {}) = 0;
  virtual void field(const char* key, std::string& value, const char* help) = 0;
  virtual void field(const char* key, std::vector<std::string>& value, const char* help) = 0;
  virtual void field(const char* key, std::vector<double>& value, const char* help) = 0;
  virtual void field(const char* key, std::optional<int64_t>& value, const char* help, Range range = {}) = 0;
  virtual void field(const char* key, std::optional<double>& value, const char* help, Range range = {}) = 0;
  /// A string out of a fixed set.
  virtual void choice(const char* key, std::string& value, const std::vector<std::string>& choices,
                      const char* help) = 0;
  /// A nested struct.
  virtual void group(const char* key, Config& value, const char* help) = 0;
  /// A part chosen from a registry.
  virtual void component(const char* key, Component& value, const RegistryBase& registry, const char* help) = 0;
  /// Several parts from a registry.
  virtual void components(const char* key, std::vector<Component>& value, const RegistryBase& registry,
                          const char* help) = 0;
  /// Anything else: kept as the tree it was written as (a map of patterns, say); its owner reads it.
  virtual void tree(const char* key, Node& value, const char* help) = 0;
  /// Marks the key given before as required (no default).
  virtual void required(const char* key) = 0;
};

/// Faults found while reading: collected, shown together.
class Faults {
 public:
  void add(const Location& where, const std::string& message);
  bool empty() const { return lines_.empty(); }
  size_t size() const { return lines_.size(); }
  const std::vector<std::string>& lines() const { return lines_; }
  /// Throws ConfigError with all faults, one a line, when there is any.
  void raise(const std::string& title) const;

 private:
  std::vector<std::string> lines_;
};

/// Fills `config` from the map `node`. Adds to `faults` one line for each unknown key (with a suggestion), wrong type,
/// value out of range or missing required key; `path` ("stages.kd.optimizer") leads each message.
void read_config(Config& config, const Node& node, const std::string& path, Faults& faults);

/// The fields of `config` with their present values as a map node: what `read_config` would read back.
Node write_config(Config& config);

/// One row per field, for help and the reference pages.
struct FieldInfo {
  std::string key;
  std::string
      type;  ///< "integer", "number", "text", "true|false", "one of a|b", "list of text", "component: optimizers"
  std::string default_value;  ///< as YAML; "" with required = true
  std::string range;
  std::string help;
  bool required = false;
};
std::vector<FieldInfo> describe_config(Config& config);

/// Two aligned columns "key  help (default, range)", indented: the text of `rqat list KIND NAME`.
std::string help_text(Config& config, int indent = 2);

}  // namespace rqat::base
