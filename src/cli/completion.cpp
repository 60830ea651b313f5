#include "completion.h"

#include <algorithm>

#include "arguments.h"
#include "kinds.h"
#include "rqat/base/strings.h"
#include "rqat/pipeline/shipped.h"

namespace rqat::cli {

namespace {

using base::cat;
using base::FieldInfo;

/// One option or positional of a command as completion sees it.
struct Word {
  std::string option;  ///< "--num-bits"; of a positional: its key
  std::string help;
  std::vector<std::string> values;  ///< what may follow; empty: nothing (a flag) or a file
  bool flag = false, many = false;
};

struct Words {
  std::string command, help;
  std::vector<Word> options, positionals;
};

std::vector<std::string> values_of(const std::string& command, const FieldInfo& info) {
  if (base::starts_with(info.type, "one of ")) return base::split(info.type.substr(7), '|');
  if (info.type.find("component") != std::string::npos) {
    const base::RegistryBase* registry = find_kind(info.type.substr(info.type.find(": ") + 2));
    return registry == nullptr ? std::vector<std::string>{} : registry->names();
  }
  std::vector<std::string> values;
  if (command == "list" && info.key == "kind") {
    for (const base::RegistryBase* registry : all_kinds()) values.push_back(registry->kind());
    values.emplace_back("recipes");
  }
  if (command == "recipes" && info.key == "name") {
    for (const auto& recipe : pipeline::shipped_recipes(pipeline::shipped_folder())) values.push_back(recipe.name);
  }
  return values;
}

void add_words(const std::string& command, const Usage& usage, base::Config& config, Words& words) {
  for (const FieldInfo& info : base::describe_config(config)) {
    Word word{cat("--", base::replace_all(info.key, "_", "-")), info.help, values_of(command, info),
              info.type == "true|false", base::starts_with(info.type, "list of")};
    const auto& names = usage.positionals;
    if (std::find(names.begin(), names.end(), info.key) != names.end()) {
      word.option = info.key;
      words.positionals.push_back(std::move(word));
    } else {
      words.options.push_back(std::move(word));
    }
  }
}

std::vector<Words> all_words() {
  std::vector<Words> all;
  for (const base::EntryInfo* info : commands().infos()) {
    base::Component component(info->name);
    component.config = info->make_config();
    Words words{info->name, info->help, {}, {}};
    add_words(info->name, commands().make(component)->usage(), *component.config, words);
    CommonOptions common;
    add_words(info->name, {}, common, words);
    words.options.push_back({"--help", "explains the command", {}, true});
    all.push_back(std::move(words));
  }
  return all;
}

std::vector<std::string> command_names(const std::vector<Words>& all) {
  std::vector<std::string> names;
  names.reserve(all.size());
  for (const Words& words : all) names.push_back(words.command);
  return names;
}

/// Inside single quotes, where zsh also gives brackets and colons a meaning.
std::string zsh_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\'') {
      escaped += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string zsh_action(const Word& word) {
  return word.values.empty() ? "_files" : cat("(", base::join(word.values, " "), ")");
}

}  // namespace

std::string bash_completion() {
  const std::vector<Words> all = all_words();
  std::string text = cat("# bash completion of rqat: eval \"$(rqat completion bash)\"\n_rqat() {\n",
                         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=''\n",
                         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words='", base::join(command_names(all), " "),
                         " help --version --help'\n  else\n", "    case \"${COMP_WORDS[1]} $previous\" in\n");
  for (const Words& words : all) {
    for (const Word& option : words.options) {
      if (option.values.empty()) continue;
      text += cat("      '", words.command, " ", option.option, "') words='", base::join(option.values, " "), "' ;;\n");
    }
  }
  text += "      *)\n        case \"${COMP_WORDS[1]}\" in\n";
  for (const Words& words : all) {
    std::vector<std::string> candidates;
    for (const Word& option : words.options) candidates.push_back(option.option);
    for (const Word& word : words.positionals) {
      candidates.insert(candidates.end(), word.values.begin(), word.values.end());
    }
    text += cat("          ", words.command, ") words='", base::join(candidates, " "), "' ;;\n");
  }
  std::string names = base::join(command_names(all), " ");
  text += cat("          help) words='", names, "' ;;\n        esac\n        ;;\n    esac\n  fi\n",
              "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n}\n",
              "complete -o bashdefault -o default -F _rqat rqat\n");
  return text;
}

std::string zsh_completion() {
  const std::vector<Words> all = all_words();
  std::string text =
      cat("#compdef rqat\n# zsh completion of rqat: rqat completion zsh > DIR_IN_FPATH/_rqat\n_rqat() {\n",
          "  if (( CURRENT == 2 )); then\n    local -a commands=(\n");
  for (const Words& words : all) text += cat("      '", words.command, ":", zsh_text(words.help), "'\n");
  text +=
      "    )\n    _describe command commands\n    return\n  fi\n  local command=$words[2]\n  shift words\n"
      "  (( CURRENT-- ))\n  case $command in\n";
  for (const Words& words : all) {
    text += cat("    ", words.command, ")\n      _arguments");
    for (const Word& option : words.options) {
      text += cat(" \\\n        '", option.option, option.flag ? "" : "=", "[", zsh_text(option.help), "]",
                  option.flag ? "" : cat(":value:", zsh_action(option)), "'");
    }
    for (size_t i = 0; i < words.positionals.size(); ++i) {
      const Word& word = words.positionals[i];
      text += cat(" \\\n        '", word.many ? "*" : std::to_string(i + 1), ":", zsh_text(word.option), ":",
                  zsh_action(word), "'");
    }
    text += "\n      ;;\n";
  }
  return text + "  esac\n}\n_rqat \"$@\"\n";
}

}  // namespace rqat::cli
