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

// RQAT_DRIVER_MODEL: what load_tokenizer takes; RQAT_DRIVER_DECODE: 0 or 1.
TEST(DISABLED_InteropDriver, TokenizeLines) {
  std::ifstream in(variable("RQAT_DRIVER_IN"));
  std::ofstream out(variable("RQAT_DRIVER_OUT"));
  tokenize_lines(*load_tokenizer(variable("RQAT_DRIVER_MODEL")), in, out, variable("RQAT_DRIVER_DECODE") == "1");
}

// Lines {"folder", "messages", "add_generation_prompt", "enable_thinking" (may be null)} -> the text, or {"error"}.
TEST(DISABLED_InteropDriver, RenderLines) {
  std::ifstream in(variable("RQAT_DRIVER_IN"));
  std::ofstream out(variable("RQAT_DRIVER_OUT"));
  for (std::string line; std::getline(in, line);) {
    const json request = json::parse(line);
    json result;
    try {
      ChatTemplateOptions options;
      if (!request["enable_thinking"].is_null()) options.enable_thinking = request["enable_thinking"].get<bool>();
      const auto chat = load_chat_template(request["folder"].get<std::string>(), options);
      std::vector<Message> messages;
      for (const json& message : request["messages"]) messages.push_back({message["role"], message["content"]});
      result = chat->render(messages, request["add_generation_prompt"].get<bool>());
    } catch (const base::DataError& error) {
      result = {{"error", "data"}, {"message", error.what()}};
    } catch (const base::IoError& error) {
      result = {{"error", "io"}, {"message", error.what()}};
    }
    out << result.dump(-1, ' ', true) << '\n';
  }
}

}  // namespace
}  // namespace rqat::text
