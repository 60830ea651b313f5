// The pages of docs/reference, made from the same tables that programs, checks and messages read.
#pragma once

#include <map>
#include <string>

namespace rqat::cli {

/// File name -> Markdown text: one page for recipes, one per kind of part, one for metrics, and README.md with links.
std::map<std::string, std::string> reference_pages();

}  // namespace rqat::cli
