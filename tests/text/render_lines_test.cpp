#include "rqat/text/render_lines.h"

#include <gtest/gtest.h>

#include <sstream>

#include "rqat/base/error.h"
#include "text/toy_tokenizer.h"

namespace rqat::text {
namespace {

using nlohmann::json;

std::string run(const std::string& source, const std::string& input, bool with_tokenizer = false) {
  const auto folder = fresh_folder("render");
  const auto chat = load_chat_template_file(write_text(folder / "t.jinja", source));
  const auto tokenizer = load_tokenizer(write_text(folder / "tokenizer.json", toy_json({{"a", "b"}}).dump()));
  std::istringstream in(input);
  std::ostringstream out;
  render_lines(*chat, with_tokenizer ? tokenizer.get() : nullptr, in, out);
  return out.str();
}

constexpr const char* kGeneration =
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}"
    "{{ m.content }}{% endif %}{% endfor %}";

TEST(RenderLines, AnyVariables) {
  EXPECT_EQ(run("{{ messages[0].content }}{{ tools is none }}{{ add_generation_prompt }}{{ k | tojson }}",
                R"({"messages": [{"role": "user", "content": "é"}], "k": {"z": 1, "a": [null, 2.5]}})"
                "\n\n"),
            "{\"text\":\"\\u00e9TrueFalse{\\\"z\\\": 1, \\\"a\\\": [null, 2.5]}\"}\n")
      << "keys keep their order";
}

TEST(RenderLines, MaskOfGenerationBlocks) {
  const std::string input =
      R"({"messages": [{"role": "user", "content": "xé"}, {"role": "assistant", "content": "ab!"}, {"role": "user", "content": "y"}]})";
  EXPECT_EQ(run(kGeneration, input, true),
            "{\"text\":\"x\\u00e9ab!y\",\"ids\":[120,195,169,256,33,121],\"assistant_mask\":[0,0,0,1,1,0]}\n");
  EXPECT_EQ(run("{{ messages[0].content }}", input, true), "{\"text\":\"x\\u00e9\",\"ids\":[120,195,169]}\n")
      << "no mask without generation blocks";
}

TEST(RenderLines, TokensAcrossTheBorderCount) {
  const std::string input =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  EXPECT_EQ(run(kGeneration, input, true), "{\"text\":\"ab\",\"ids\":[256],\"assistant_mask\":[1]}\n");
}

TEST(RenderLines, FaultsNameLineOfInputAndTemplate) {
  const auto message = [](const std::string& source, const std::string& input) -> std::string {
    try {
      run(source, input);
      return "accepted";
    } catch (const base::DataError& error) {
      return error.what();
    }
  };
  EXPECT_NE(message("x", "{}\n[1]\n").find("line 2: expected a JSON object"), std::string::npos);
  const std::string text = message("a\n{{ raise_exception('roles must alternate') }}", "{}\n");
  EXPECT_NE(text.find("line 1: "), std::string::npos) << text;
  EXPECT_NE(text.find("t.jinja:2: chat template: roles must alternate"), std::string::npos) << text;
  const std::string filter = message("\n\n{{ 5 | items }}", "{}\n");
  EXPECT_NE(filter.find("t.jinja:3: chat template: items needs a mapping"), std::string::npos) << filter;
  EXPECT_NE(message("{{ x }}", R"({"x": )" + std::string(150, '[') + std::string(150, ']') + "}\n").find("nested"),
            std::string::npos);
}

}  // namespace
}  // namespace rqat::text
