#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::cli {

namespace {

using base::cat;
using base::FieldInfo;
using base::Node;

std::string option_name(const std::string& key) { return cat("--", base::replace_all(key, "_", "-")); }

bool is_flag(const FieldInfo& info) { return info.type == "true|false"; }
bool is_list(const FieldInfo& info) { return base::starts_with(info.type, "list of"); }

bool is_positional(const Usage& usage, const std::string& key) {
  return std::find(usage.positionals.begin(), usage.positionals.end(), key) != usage.positionals.end();
}

/// One option with the texts given for it.
struct Argument {
  FieldInfo info;
  std::vector<std::string> values;
  std::string flag;
};

std::deque<Argument> arguments_of(base::Config& config) {
  std::deque<Argument> arguments;
  for (FieldInfo& info : base::describe_config(config)) arguments.push_back({std::move(info), {}, ""});
  return arguments;
}

void declare(CLI::App& app, Argument& argument, const Usage& usage) {
  const std::string& key = argument.info.key;
  if (is_flag(argument.info)) {
    app.add_flag(option_name(key), argument.flag);
    return;
  }
  const bool positional = is_positional(usage, key);
  CLI::Option* option =
      app.add_option(positional ? cat(key, ",", option_name(key)) : option_name(key), argument.values);
  if (!is_list(argument.info)) {
    option->expected(1)->allow_extra_args(false);
  } else if (positional) {
    option->expected(0, -1);
  } else {
    option->allow_extra_args(false)->delimiter(',');
  }
}

/// What is required and was not given. Asked here because the reader of recipes speaks of keys, not of options.
void require_given(const std::deque<Argument>& arguments, const Usage& usage, const std::string& command) {
  std::vector<std::string> missing;
  for (const Argument& argument : arguments) {
    const std::string& key = argument.info.key;
    if (!argument.info.required || !argument.values.empty()) continue;
    missing.push_back(cat(is_positional(usage, key) ? key : option_name(key), " (", argument.info.help, ")"));
  }
  if (missing.empty()) return;
  throw base::UsageError(
      cat("rqat ", command, ": missing ", base::join(missing, ", "), "; `rqat ", command, " --help` shows an example"));
}

/// The settings as a recipe would write them.
Node given_settings(const std::deque<Argument>& arguments, const std::string& command) {
  Node node = Node::map(base::Location{cat("rqat ", command)});
  for (const Argument& argument : arguments) {
    const base::Location where{cat("option ", option_name(argument.info.key))};
    const bool text = argument.info.type == "text" || is_list(argument.info);
    std::vector<Node> items;
    for (const std::string& value : argument.values) items.push_back(Node::scalar(value, where, text));
    if (!argument.flag.empty()) items.push_back(Node::scalar(argument.flag, where));
    if (items.empty()) continue;
    node.set(argument.info.key, is_list(argument.info) ? Node::list(std::move(items), where) : items.front(), where);
  }
  return node;
}

/// CLI11 complains of what is missing before what is unknown; a misspelt option is both.
void reject_unknown_options(const CLI::App& app, const std::string& command,
                            const std::vector<std::string>& arguments) {
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back(cat("--", name));
  }
  for (const std::string& argument : arguments) {
    if (argument == "--") return;
    if (!base::starts_with(argument, "--")) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = base::nearest(name, known);
    throw base::UsageError(cat("rqat ", command, ": unknown option ", name,
                               near.empty() ? "" : cat("; did you mean ", near, "?"), " (`rqat ", command,
                               " --help` lists the options)"));
  }
}

std::string placeholder(const FieldInfo& info) {
  if (is_flag(info)) return "";
  if (info.type == "integer") return " N";
  if (info.type == "number") return " X";
  if (is_list(info)) return " A,B";
  if (base::starts_with(info.type, "one of ")) return cat(" ", info.type.substr(7));
  if (base::starts_with(info.type, "component")) return " NAME";
  for (const char* word : {"folder", "model", "file"}) {
    if (info.help.find(word) != std::string::npos) return std::string(word) == "file" ? " FILE" : " DIR";
  }
  return " TEXT";
}

std::string notes(const FieldInfo& info) {
  std::vector<std::string> parts;
  if (info.required) parts.push_back("required");
  const bool plain = info.required || is_flag(info) || info.default_value == "[]" || info.default_value == "\"\"" ||
                     info.default_value == "''";
  if (!plain) parts.push_back(cat("default ", info.default_value));
  if (!info.range.empty()) parts.push_back(info.range);
  return parts.empty() ? "" : cat(" (", base::join(parts, ", "), ")");
}

/// Words in lines of at most 100 characters behind `indent` blanks; the first line starts where the caller stands.
std::string wrap(const std::string& text, size_t indent) {
  std::string result;
  size_t column = indent;
  for (const std::string& word : base::split(text, ' ')) {
    if (column > indent && column + word.size() + 1 > 100) {
      result += cat("\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

std::string option_rows(base::Config& config, const Usage& usage) {
  constexpr size_t kColumn = 30;
  std::string text;
  for (const FieldInfo& info : base::describe_config(config)) {
    const bool positional = is_positional(usage, info.key);
    std::string head = cat("  ", positional ? info.key : option_name(info.key) + placeholder(info));
    head += head.size() + 2 > kColumn ? cat("\n", std::string(kColumn, ' ')) : std::string(kColumn - head.size(), ' ');
    text += cat(head, wrap(info.help + notes(info), kColumn), "\n");
  }
  return text;
}

std::string usage_line(const std::string& command, const Usage& usage, base::Config& options) {
  std::string line = cat("rqat ", command);
  for (const FieldInfo& info : base::describe_config(options)) {
    if (is_positional(usage, info.key)) {
      line += info.required ? cat(" ", info.key) : cat(" [", info.key, is_list(info) ? " ..." : "", "]");
    } else if (info.required) {
      line += cat(" ", option_name(info.key), placeholder(info));
    }
  }
  return line + " [options]";
}

}  // namespace

void CommonOptions::fields(base::FieldVisitor& v) {
  v.field("quiet", quiet, "no progress bars, warnings and errors only");
  v.field("verbose", verbose, "debug messages too");
  v.field("threads", threads, "CPU threads; 0 = OMP_NUM_THREADS, else all cores this process may use",
          base::non_negative());
}

void read_arguments(const std::string& command, const Usage& usage, const std::vector<std::string>& arguments,
                    base::Config& options, CommonOptions& common) {
  CLI::App app("", cat("rqat ", command));
  app.set_help_flag("");
  std::deque<Argument> own = arguments_of(options), shared = arguments_of(common);
  for (Argument& argument : own) declare(app, argument, usage);
  for (Argument& argument : shared) declare(app, argument, usage);
  reject_unknown_options(app, command, arguments);
  app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  require_given(own, usage, command);
  base::Faults faults;
  base::read_config(options, given_settings(own, command), "", faults);
  base::read_config(common, given_settings(shared, command), "", faults);
  if (faults.empty()) return;
  throw base::UsageError(cat(base::join(faults.lines(), "\n"), "\n`rqat ", command, " --help` explains the options"));
}

std::string command_help(const std::string& command, const std::string& summary, const Usage& usage,
                         base::Config& options) {
  std::string text =
      cat("rqat ", command, ": ", summary, "\n\n", wrap(usage.about, 0),
          "\n\nUsage: ", usage_line(command, usage, options), "\n\nOptions:\n", option_rows(options, usage));
  CommonOptions common;
  text += cat("\nCommon options:\n", option_rows(common, {}), "\n");
  text += usage.examples.size() > 1 ? "Examples:\n" : "Example:\n";
  for (const std::string& example : usage.examples) text += cat("  ", example, "\n");
  return text;
}

std::string program_help() {
  std::string text =
      "rqat: quantization-aware training for reasoning language models\n\nUsage: rqat COMMAND [options]\n\nCommands:\n";
  for (const base::EntryInfo* info : commands().infos()) {
    text += cat("  ", info->name, std::string(12 - std::min<size_t>(11, info->name.size()), ' '), info->help, "\n");
  }
  return text +
         "\n`rqat COMMAND --help` explains a command with examples; `rqat list` shows all parts that recipes can "
         "name.\n"
         "`rqat --version` prints the version. Exit codes: 0 done, 1 the run failed, 2 command line or recipe is "
         "wrong.\n\n"
         "First steps:\n  rqat env\n  rqat list recipes\n  rqat validate --config recipes/quickstart.yaml\n"
         "  rqat train --config recipes/quickstart.yaml\n";
}

}  // namespace rqat::cli
