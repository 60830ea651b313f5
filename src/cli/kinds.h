// All registries, for `rqat list` and `rqat validate --explain`.
#pragma once

#include <vector>

#include "rqat/base/registry.h"

namespace rqat::cli {

/// In the order in which recipes meet them.
const std::vector<const base::RegistryBase*>& all_kinds();

/// The registry called `kind`, nullptr when there is none.
const base::RegistryBase* find_kind(const std::string& kind);

}  // namespace rqat::cli
