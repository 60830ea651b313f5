// A chat template, which renders a conversation. Behind the byte 0x1F the input may hold variables as JSON.
#include <nlohmann/json.hpp>

#include "fuzz/fuzz_input.h"
#include "rqat/text/chat_template.h"

namespace rqat::fuzz {
namespace {

constexpr char kSeparator = '\x1F';

const nlohmann::ordered_json& usual_variables() {
  static const nlohmann::ordered_json kVariables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be brief."},
                 {"role": "user", "content": "What is 1 + 1?\n"},
                 {"role": "assistant", "content": "<think>easy</think>2",
                  "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1.5}}}]},
                 {"role": "tool", "content": [{"type": "text", "text": "\u00e9\ud83d\ude00"}]}],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "required": []}}}],
    "add_generation_prompt": true, "x": 7, "least": -9223372036854775808})");
  return kVariables;
}

}  // namespace
}  // namespace rqat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  using namespace rqat::fuzz;
  const std::string_view content = text_of(data, size);
  const size_t end = std::min(content.find(kSeparator), content.size());
  const InputFile file(content.substr(0, end));
  accepted([&] {
    const auto chat = text::load_chat_template_file(file.path(), {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    if (end < content.size()) {
      const auto variables = nlohmann::ordered_json::parse(content.substr(end + 1), nullptr, false);
      if (variables.is_object()) accepted([&] { chat->render_variables(variables); });
    }
    accepted([&] { chat->render_variables(usual_variables()); });
    accepted([&] { chat->stop_text(); });
  });
  return 0;
}
