// Completions as bytes, to send them to the other ranks.
#pragma once

#include <string>
#include <vector>

#include "rqat/generate/engine.h"

namespace rqat::generate {

std::string to_bytes(const std::vector<std::vector<Completion>>& completions);
std::vector<std::vector<Completion>> from_bytes(const std::string& bytes);

}  // namespace rqat::generate
