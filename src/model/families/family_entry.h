// What each file of this folder returns.
#pragma once

#include <memory>
#include <string>

#include "rqat/model/causal_lm.h"

namespace rqat::model {

using FamilyEntry = base::Entry<Family>;

template <class FamilyT>
FamilyEntry family_entry(std::string model_type, std::string help, std::string paper) {
  return base::make_entry<FamilyEntry, base::NoConfig>(
      std::move(model_type), std::move(help), std::move(paper),
      [](const base::NoConfig&) { return std::make_unique<FamilyT>(); });
}

}  // namespace rqat::model
