#include "rqat/base/registry.h"

namespace rqat::base {
namespace {

/// "optimizers" -> "optimizer", "families" -> "family".
std::string singular(const std::string& kind) {
  if (kind.ends_with("ies")) return kind.substr(0, kind.size() - 3) + "y";
  return kind.ends_with("s") ? kind.substr(0, kind.size() - 1) : kind;
}

}  // namespace

std::vector<std::string> RegistryBase::names() const {
  std::vector<std::string> names;
  for (const EntryInfo* info : infos_) names.push_back(info->name);
  return names;
}

const EntryInfo* RegistryBase::find_info(const std::string& name) const {
  for (const EntryInfo* info : infos_) {
    if (info->name == name) return info;
  }
  return nullptr;
}

std::string RegistryBase::unknown_text(const std::string& name) const {
  const std::string suggestion = nearest(name, names());
  return cat("unknown ", singular(kind_), " '", name, "'",
             suggestion.empty() ? "" : cat("; did you mean '", suggestion, "'?"), " (one of ", join(names(), ", "),
             ")");
}

}  // namespace rqat::base
