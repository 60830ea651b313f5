#include <iostream>

#include "completion.h"
#include "rqat/cli/command.h"

namespace rqat::cli {

namespace {

struct CompletionOptions : base::Config {
  std::string shell;
  void fields(base::FieldVisitor& v) override {
    v.choice("shell", shell, {"bash", "zsh"}, "whose completion script to print");
    v.required("shell");
  }
};

class Completion : public Command {
 public:
  explicit Completion(CompletionOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Prints a script that makes the Tab key complete commands, options and their values. For bash, put the "
        "first example into ~/.bashrc; for zsh, run the second once, with a folder of $fpath.",
        {"eval \"$(rqat completion bash)\"", "rqat completion zsh > ~/.zfunc/_rqat"},
        {"shell"}};
  }

  void run() override { std::cout << (options_.shell == "bash" ? bash_completion() : zsh_completion()); }

 private:
  CompletionOptions options_;
};

}  // namespace

base::Entry<Command> completion_entry() {
  return base::make_entry<base::Entry<Command>, CompletionOptions>(
      "completion", "print a script that completes command lines in bash or zsh", "",
      [](const CompletionOptions& options) { return std::make_unique<Completion>(options); });
}

}  // namespace rqat::cli
