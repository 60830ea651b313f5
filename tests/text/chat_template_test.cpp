#include "rqat/text/chat_template.h"

#include <gtest/gtest.h>

#include "rqat/base/error.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

using nlohmann::json;

// The shape of SmolLM2's: a system prompt of its own when the conversation has none.
constexpr const char* kWithDefaultSystem =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe "
    "kind.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::filesystem::path folder_with(const json& config, const std::string& file = "") {
  const auto folder = fresh_folder("template");
  if (!config.is_null()) write_text(folder / "tokenizer_config.json", config.dump());
  if (!file.empty()) write_text(folder / "chat_template.jinja", file);
  return folder;
}

TEST(ChatTemplate, DefaultSystemPromptComesFromTheTemplate) {
  const auto chat = load_chat_template(folder_with({{"chat_template", kWithDefaultSystem}}));
  EXPECT_EQ(chat->render({{"user", "Hi"}}, true),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat->render({{"system", "S"}, {"user", "Hi"}}, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_EQ(chat->stop_text(), "<|im_end|>");
  EXPECT_EQ(chat->name(), "tokenizer_config.json");
}

TEST(ChatTemplate, FileWinsOverConfig) {
  const auto chat = load_chat_template(
      folder_with({{"chat_template", "config"}, {"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}},
                  "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"));
  EXPECT_EQ(chat->name(), "chat_template.jinja");
  EXPECT_EQ(chat->render({{"user", "a"}, {"assistant", "b"}}, false), "<s>a</s>b</s>");
  EXPECT_EQ(chat->stop_text(), "</s>");
}

TEST(ChatTemplate, ListOfTemplatesUsesTheDefault) {
  const json list = {{{"name", "tool_use"}, {"template", "T"}}, {{"name", "default"}, {"template", "D"}}};
  EXPECT_EQ(load_chat_template(folder_with({{"chat_template", list}}))->render({}, false), "D");
  const json without = {{{"name", "tool_use"}, {"template", "T"}}};
  EXPECT_THROW(load_chat_template(folder_with({{"chat_template", without}})), base::IoError);
}

TEST(ChatTemplate, ThinkingIsAnOption) {
  const std::string source =
      "{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}{{ tools is none }}";
  const auto folder = folder_with(nullptr, source);
  EXPECT_EQ(load_chat_template(folder)->render({}, true), "onTrue");
  EXPECT_EQ(load_chat_template(folder, {.enable_thinking = true})->render({}, true), "onTrue");
  EXPECT_EQ(load_chat_template(folder, {.enable_thinking = false})->render({}, true), "offTrue");
}

TEST(ChatTemplate, PlainChatMlWhenTheTokenizerHasItsTokens) {
  const auto folder = folder_with(nullptr);
  json tokenizer = toy_json({});
  write_text(folder / "tokenizer.json", tokenizer.dump());
  EXPECT_THROW(load_chat_template(folder), base::IoError);
  tokenizer["added_tokens"] = {added_token("<|im_start|>", 300), added_token("<|im_end|>", 301)};
  write_text(folder / "tokenizer.json", tokenizer.dump());
  const auto chat = load_chat_template(folder);
  EXPECT_EQ(chat->name(), "chatml");
  EXPECT_EQ(chat->render({{"user", "a\n"}}, true), "<|im_start|>user\na\n<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat->stop_text(), "<|im_end|>");
}

TEST(ChatTemplate, Faults) {
  EXPECT_THROW(load_chat_template("/nonexistent/folder"), base::IoError);
  EXPECT_THROW(load_chat_template(folder_with(nullptr)), base::IoError);  // neither template nor tokenizer
  EXPECT_THROW(load_chat_template(folder_with({{"chat_template", 5}})), base::IoError);
  EXPECT_THROW(load_chat_template(folder_with({{"chat_template", {{{"name", "default"}}}}})), base::IoError);
  try {
    load_chat_template(folder_with(nullptr, "a\n{% include 'b' %}"));
    FAIL();
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("chat_template.jinja:2: chat template: tag 'include'"), std::string::npos)
        << error.what();
  }
  const auto chat = load_chat_template(folder_with(nullptr, "{{ raise_exception('roles must alternate') }}"));
  EXPECT_THROW(chat->render({}, false), base::DataError);
}

TEST(ChatTemplate, RealModel) {
  const std::filesystem::path model = std::filesystem::path(RQAT_SOURCE_DIR) / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << model << " is missing";
  const auto chat = load_chat_template(model);
  EXPECT_EQ(chat->render({{"user", "Hi"}}, true),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat->stop_text(), "<|im_end|>");
}

}  // namespace
}  // namespace rqat::text
