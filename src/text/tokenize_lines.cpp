#include "rqat/text/tokenize_lines.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "shown_line.h"

namespace rqat::text {
namespace {

using nlohmann::json;

bool is_id_list(const json& value) {
  if (!value.is_array()) return false;
  for (const json& item : value) {
    if (!item.is_number_integer()) return false;
  }
  return true;
}

}  // namespace

void tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                    const TokenizeLinesOptions& options) {
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (base::trim(line).empty()) continue;
    const json value = json::parse(line, nullptr, false);
    const bool good = options.decode ? is_id_list(value) : value.is_string();
    if (!good) {
      throw base::DataError(base::cat("line ", number, ": expected ",
                                      options.decode ? "a JSON list of token ids" : "a JSON string", ", got ",
                                      shown_line(line)));
    }
    if (options.decode) {
      const std::string text = tokenizer.decode(value.get<std::vector<int64_t>>(), !options.special);
      out << json(text).dump(-1, ' ', true) << '\n';
      continue;
    }
    std::vector<int64_t> ids = tokenizer.encode(value.get_ref<const std::string&>());
    out << json(options.special ? tokenizer.with_special(std::move(ids)) : std::move(ids)).dump() << '\n';
  }
}

}  // namespace rqat::text
