// Lets tests/interop/*.py run the tokenizer and the chat templates on files: disabled in ordinary runs, because their
// oracles are Python packages. RQAT_DRIVER_IN and RQAT_DRIVER_OUT name files with one JSON value a line.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/text/chat_template.h"
#include "rqat/text/tokenize_lines.h"

namespace rqat::text {
namespace {

using nlohmann::json;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

// RQAT_DRIVER_MODEL: what load_tokenizer takes; RQAT_DRIVER_DECODE, RQAT_DRIVER_SPECIAL: 0 or 1.
TEST(DISABLED_InteropDriver, TokenizeLines) {
  std::ifstream in(variable("RQAT_DRIVER_IN"));
  std::ofstream out(variable("RQAT_DRIVER_OUT"));
  tokenize_lines(*load_tokenizer(variable("RQAT_DRIVER_MODEL")), in, out,
                 {.decode = variable("RQAT_DRIVER_DECODE") == "1", .special = variable("RQAT_DRIVER_SPECIAL") == "1"});
}

// Lines {"folder" or "file", "variables"} -> {"text", "generated"}, or {"error"}. A template stays for lines that
// follow.
TEST(DISABLED_InteropDriver, RenderLines) {
  std::ifstream in(variable("RQAT_DRIVER_IN"));
  std::ofstream out(variable("RQAT_DRIVER_OUT"));
  std::unique_ptr<ChatTemplate> chat;
  std::string loaded;
  for (std::string line; std::getline(in, line);) {
    const auto request = nlohmann::ordered_json::parse(line);
    const bool folder = request.contains("folder");
    const std::string path = request[folder ? "folder" : "file"].get<std::string>();
    json result;
    try {
      if (path != loaded) chat = folder ? load_chat_template(path) : load_chat_template_file(path);
      loaded = path;
      const RenderedChat rendered = chat->render_variables(request["variables"]);
      result = {{"text", rendered.text}, {"generated", rendered.generated}};
    } catch (const base::DataError& error) {
      result = {{"error", "data"}, {"message", error.what()}};
    } catch (const base::IoError& error) {
      loaded.clear();
      result = {{"error", "io"}, {"message", error.what()}};
    }
    out << result.dump(-1, ' ', true) << '\n';
  }
}

}  // namespace
}  // namespace rqat::text
