#include <iostream>

#include "rqat/cli/command.h"
#include "rqat/text/chat_template.h"
#include "rqat/text/render_lines.h"
#include "rqat/text/tokenizer.h"

namespace rqat::cli {

namespace {

struct RenderOptions : base::Config {
  std::string model, template_file;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder or GGUF file: its chat template and its tokenizer");
    v.field("template", template_file, "file with a chat template alone; the output has no token ids");
  }
  std::vector<std::string> check() const override {
    if (model.empty() == template_file.empty()) return {"give either --model or --template: where the template is"};
    return {};
  }
};

class Render : public Command {
 public:
  explicit Render(RenderOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Renders conversations line by line with a chat template, as transformers does: each line of standard input is "
        "a JSON object with messages, tools, add_generation_prompt and any other variables of the template; each line "
        "of output is {\"text\": ...}, from --model with \"ids\" too, and with \"assistant_mask\" (1 for tokens that "
        "an "
        "assistant writes) where the template has generation blocks.",
        {"echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' | rqat "
         "render --model models/smollm2-135m-instruct"},
        {}};
  }

  void run() override {
    if (!options_.template_file.empty()) {
      text::render_lines(*text::load_chat_template_file(options_.template_file), nullptr, std::cin, std::cout);
      return;
    }
    const auto tokenizer = text::load_tokenizer(options_.model);
    text::render_lines(*text::load_chat_template(options_.model), tokenizer.get(), std::cin, std::cout);
  }

 private:
  RenderOptions options_;
};

}  // namespace

base::Entry<Command> render_entry() {
  return base::make_entry<base::Entry<Command>, RenderOptions>(
      "render", "turn conversations into text with a model's chat template, line by line", "",
      [](const RenderOptions& options) { return std::make_unique<Render>(options); });
}

}  // namespace rqat::cli
