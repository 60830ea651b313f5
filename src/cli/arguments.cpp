#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <deque>
#include <map>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::cli {

namespace {

using base::cat;
using base::FieldInfo;
using base::Node;

std::string option_name(const std::string& key) { return cat("--", base::replace_all(key, "_", "-")); }

std::string upper_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

bool is_flag(const FieldInfo& info) { return info.type == "true|false"; }
bool is_list(const FieldInfo& info) { return base::starts_with(info.type, "list of"); }

bool is_positional(const Usage& usage, const std::string& key) {
  return std::find(usage.positionals.begin(), usage.positionals.end(), key) != usage.positionals.end();
}

/// An option as help and messages call it: --num-bits; a positional: INPUT.
std::string shown_name(const Usage& usage, const std::string& key) {
  return is_positional(usage, key) ? upper_case(key) : option_name(key);
}

std::string help_hint(const std::string& command) { return cat("`rqat ", command, " --help` explains the options"); }

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
    missing.push_back(cat(shown_name(usage, key), " (", argument.info.help, ")"));
  }
  if (missing.empty()) return;
  throw base::UsageError(
      cat("rqat ", command, ": missing ", base::join(missing, ", "), "; `rqat ", command, " --help` shows an example"));
}

/// The settings as a recipe would write them.
Node given_settings(const std::deque<Argument>& arguments, const Usage& usage, const std::string& command) {
  Node node = Node::map(base::Location{cat("rqat ", command)});
  for (const Argument& argument : arguments) {
    const base::Location where{shown_name(usage, argument.info.key)};
    const bool text = argument.info.type == "text" || is_list(argument.info);
    const bool split_at_commas = is_list(argument.info) && !is_positional(usage, argument.info.key);
    std::vector<Node> items;
    for (const std::string& value : argument.values) {
      items.push_back(argument.info.type == "any"
                          ? Node::parse(value, where.file)
                          : Node::scalar(split_at_commas ? base::trim(value) : value, where, text));
    }
    if (!argument.flag.empty()) items.push_back(Node::scalar(argument.flag, where));
    if (items.empty()) continue;
    node.set(argument.info.key, is_list(argument.info) ? Node::list(std::move(items), where) : items.front(), where);
  }
  return node;
}

/// CLI11 complains of what is missing before what is unknown; a misspelt option is both.
void reject_unknown_options(const CLI::App& app, const std::string& command, const Usage& usage,
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
    const bool starts_another = !usage.examples.empty() && usage.examples[0].find(" -- ") != std::string::npos;
    std::string advice = near.empty() ? "" : cat("; did you mean ", near, "?");
    if (near.empty() && starts_another)
      advice = cat("; options of the command that is started stand behind it and `--`: ", usage.examples[0]);
    throw base::UsageError(cat("rqat ", command, ": unknown option ", name, advice, " (", help_hint(command), ")"));
  }
}

/// CLI11's faults in our words: which command, what, and where to look.
void parse(CLI::App& app, const std::string& command, const std::vector<std::string>& arguments) {
  app.allow_extras();
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string option = base::split(error.what(), ':').front();
    throw base::UsageError(cat("rqat ", command, ": ", option, " needs one value (", help_hint(command), ")"));
  } catch (const CLI::Error& error) {
    throw base::UsageError(cat("rqat ", command, ": ", error.what(), " (", help_hint(command), ")"));
  }
  if (app.remaining_size() == 0) return;
  throw base::UsageError(
      cat("rqat ", command, ": unexpected argument '", app.remaining().front(), "' (", help_hint(command), ")"));
}

/// "--threads: threads: expected ..." says it twice: recipes speak of keys, a command line of options.
std::vector<std::string> without_keys(std::vector<std::string> faults, const std::deque<Argument>& arguments,
                                      const Usage& usage) {
  for (std::string& fault : faults) {
    for (const Argument& argument : arguments) {
      const std::string name = cat(shown_name(usage, argument.info.key), ": "),
                        both = cat(name, argument.info.key, ": ");
      if (base::starts_with(fault, both)) fault.erase(name.size(), both.size() - name.size());
    }
  }
  return faults;
}

std::string placeholder(const FieldInfo& info) {
  if (is_flag(info)) return "";
  static const std::map<std::string, const char*> kOwn{
      {"check_engine", " ENGINE"},     {"explain", " KEY"}, {"mapping", " NAME|MAP"}, {"max_shard_size", " SIZE"},
      {"rdzv_endpoint", " HOST:PORT"}, {"model", " PATH"},  {"teacher", " PATH"}};
  if (const auto own = kOwn.find(info.key); own != kOwn.end() && !is_list(info)) return own->second;
  if (base::starts_with(info.type, "integer")) return " N";
  if (base::starts_with(info.type, "number")) return " X";
  if (is_list(info)) return " A,B";
  if (base::starts_with(info.type, "one of ")) return cat(" ", info.type.substr(7));
  if (base::starts_with(info.type, "component")) return " NAME";
  if (info.key == "config" || info.help.find("file") != std::string::npos) return " FILE";
  return info.help.find("folder") != std::string::npos ? " DIR" : " TEXT";
}

std::string notes(const FieldInfo& info) {
  std::vector<std::string> parts;
  if (info.required) parts.push_back("required");
  const bool plain = info.required || is_flag(info) || info.default_value == "[]" || info.default_value == "\"\"" ||
                     info.default_value == "''" || info.default_value == "null";
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
    std::string head = cat("  ", shown_name(usage, info.key), positional ? "" : placeholder(info));
    head += head.size() + 2 > kColumn ? cat("\n", std::string(kColumn, ' ')) : std::string(kColumn - head.size(), ' ');
    text += cat(head, wrap(info.help + notes(info), kColumn), "\n");
  }
  return text;
}

std::string usage_line(const std::string& command, const Usage& usage, base::Config& options) {
  std::string line = cat("rqat ", command);
  for (const FieldInfo& info : base::describe_config(options)) {
    if (is_positional(usage, info.key)) {
      const std::string name = cat(upper_case(info.key), is_list(info) ? " ..." : "");
      line += info.required ? cat(" ", name) : cat(" [", name, "]");
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
          base::Range{0, 4096});
}

void read_arguments(const std::string& command, const Usage& usage, const std::vector<std::string>& arguments,
                    base::Config& options, CommonOptions& common) {
  CLI::App app("", cat("rqat ", command));
  app.set_help_flag("");
  std::deque<Argument> own = arguments_of(options), shared = arguments_of(common);
  for (Argument& argument : own) declare(app, argument, usage);
  for (Argument& argument : shared) declare(app, argument, usage);
  reject_unknown_options(app, command, usage, arguments);
  parse(app, command, arguments);
  require_given(own, usage, command);
  base::Faults faults;
  base::read_config(options, given_settings(own, usage, command), "", faults);
  base::read_config(common, given_settings(shared, {}, command), "", faults);
  if (faults.empty()) return;
  const std::vector<std::string> lines = without_keys(without_keys(faults.lines(), own, usage), shared, {});
  const std::string lead = cat("rqat ", command, ": ");
  std::string text = base::starts_with(lines[0], lead) ? "" : lead;
  throw base::UsageError(cat(text, base::join(lines, "\n"), "\n", help_hint(command)));
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
         "First steps:\n  rqat env\n  rqat recipes ls\n  rqat validate --config recipes/quickstart.yaml\n"
         "  rqat train --config recipes/quickstart.yaml\n";
}

}  // namespace rqat::cli
