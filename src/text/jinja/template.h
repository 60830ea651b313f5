// A chat template written in the subset of Jinja that chat templates use.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/syntax.h"
#include "text/jinja/value.h"

namespace rqat::text::jinja {

struct Rendered {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generated;  ///< byte ranges inside {% generation %}
};

class Template {
 public:
  /// Throws IoError "where:line: ..." on what the subset lacks.
  Template(std::string_view source, std::string where);
  /// `variables` are the names the template sees. Throws DataError "where:line: ...": the template's own
  /// raise_exception, an operation on a value of the wrong type, more than three million steps, a text of more than
  /// 16 MiB, too much time or memory (Budget).
  Rendered render(const Map& variables) const;
  bool has_generation_blocks() const;

 private:
  std::string where_;
  Block block_;
};

}  // namespace rqat::text::jinja
