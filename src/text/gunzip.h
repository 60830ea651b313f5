// gzip files.
#pragma once

#include <string>
#include <string_view>

namespace rqat::text {

/// The content of a gzip file (all its members). Throws IoError that names `where`: damaged, or more than 1 GiB.
std::string gunzip(std::string_view bytes, const std::string& where);

}  // namespace rqat::text
