// YAML text of nodes.
#pragma once

#include <string>

#include "rqat/base/node.h"

namespace rqat::base {

/// The node on one line: `[1, 2]`, `{key: value}`, `"text"`, `null`.
std::string flow_text(const Node& node);

/// Whether `text`, written without quotes, reads as a number, a truth value or nothing.
bool looks_like_no_text(const std::string& text);

}  // namespace rqat::base
