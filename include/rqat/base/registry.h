// Registries of interchangeable parts. A kind's `<kind>s.def` lists its entries as RQAT_ENTRY(name); each name is a
// file pair of the same stem and a symbol `<name>_entry()`. The table is an ordinary function, so nothing can be lost
// at link time, and tests, help, docs and suggestions read the same table.
//
//   // quantizers.cpp
//   #define RQAT_ENTRY(name) QuantizerEntry name##_entry();
//   #include "quantizers.def"
//   #undef RQAT_ENTRY
//   const base::Registry<Quantizer>& quantizers() {
//     static const base::Registry<Quantizer> registry("quantizers", {
//   #define RQAT_ENTRY(name) name##_entry(),
//   #include "quantizers.def"
//   #undef RQAT_ENTRY
//     });
//     return registry;
//   }
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/base/fields.h"
#include "rqat/base/strings.h"

namespace rqat::base {

/// What every entry of every registry tells of itself.
struct EntryInfo {
  std::string name;   ///< the YAML name = file stem
  std::string help;   ///< one line
  std::string paper;  ///< arXiv id, or "" where there is none
  std::function<std::shared_ptr<Config>()> make_config;
};

/// A settings struct without fields, for entries that have none.
struct NoConfig : Config {
  void fields(FieldVisitor&) override {}
};

/// Type-erased view: names, help and settings of the entries of one kind.
class RegistryBase {
 public:
  virtual ~RegistryBase() = default;
  const std::string& kind() const { return kind_; }
  const std::vector<const EntryInfo*>& infos() const { return infos_; }
  std::vector<std::string> names() const;
  /// nullptr when there is no such entry.
  const EntryInfo* find_info(const std::string& name) const;
  /// Fault text "unknown optimizer 'adamv'; did you mean 'adamw'? (one of adamw, sgd)".
  std::string unknown_text(const std::string& name) const;

 protected:
  explicit RegistryBase(std::string kind) : kind_(std::move(kind)) {}
  std::string kind_;
  std::vector<const EntryInfo*> infos_;
};

/// Entry whose factory takes the settings and `Args`, and returns a `unique_ptr<Product>`.
template <class Product, class... Args>
struct Entry : EntryInfo {
  std::function<std::unique_ptr<Product>(const Config&, Args...)> make;
};

template <class Product, class... Args>
class Registry : public RegistryBase {
 public:
  using EntryType = Entry<Product, Args...>;
  Registry(std::string kind, std::vector<EntryType> entries)
      : RegistryBase(std::move(kind)), entries_(std::move(entries)) {
    for (const auto& entry : entries_) infos_.push_back(&entry);
  }
  Registry(const Registry&) = delete;

  const std::vector<EntryType>& entries() const { return entries_; }

  /// Makes the chosen part. Default settings are used where the component carries none. Throws ConfigError.
  std::unique_ptr<Product> make(const Component& component, Args... args) const {
    for (const auto& entry : entries_) {
      if (entry.name != component.name) continue;
      const std::shared_ptr<Config> config = component.config ? component.config : entry.make_config();
      return entry.make(*config, std::forward<Args>(args)...);
    }
    throw ConfigError(cat(component.where.text(), ": ", unknown_text(component.name)));
  }
  std::unique_ptr<Product> make(const std::string& name, Args... args) const {
    return make(Component(name), std::forward<Args>(args)...);
  }

 private:
  std::vector<EntryType> entries_;
};

/// Builds an entry from a settings type and a factory that takes that very type:
///   return make_entry<Optimizer, AdamWConfig>("adamw", "AdamW with fp32 masters", "1711.05101",
///       [](const AdamWConfig& config, ParameterList parameters) { return std::make_unique<AdamW>(config, parameters);
///       });
template <class EntryT, class ConfigT, class Factory>
EntryT make_entry(std::string name, std::string help, std::string paper, Factory factory) {
  EntryT entry;
  entry.name = std::move(name);
  entry.help = std::move(help);
  entry.paper = std::move(paper);
  entry.make_config = [] { return std::make_shared<ConfigT>(); };
  entry.make = [factory](const Config& config, auto&&... args) {
    return factory(dynamic_cast<const ConfigT&>(config), std::forward<decltype(args)>(args)...);
  };
  return entry;
}

}  // namespace rqat::base
