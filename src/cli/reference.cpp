#include "reference.h"

#include "arguments.h"
#include "kinds.h"
#include "rqat/base/strings.h"
#include "rqat/data/mapping.h"
#include "rqat/pipeline/metrics.h"
#include "rqat/pipeline/recipe.h"

namespace rqat::cli {

namespace {

using base::cat;
using base::FieldInfo;

constexpr const char* kNotice = "<!-- Written by `rqat list --markdown docs/reference`: do not edit. -->\n\n";

/// Text inside a table cell.
std::string cell(const std::string& text) { return base::replace_all(text, "|", "\\|"); }
std::string code(const std::string& text) { return text.empty() ? "" : cat("`", cell(text), "`"); }

std::string default_text(const FieldInfo& info) {
  if (info.required) return "required";
  return info.default_value == "\"\"" || info.default_value == "''" ? "empty" : code(info.default_value);
}

/// "component: optimizers" with a link to the page of that kind.
std::string type_text(const FieldInfo& info) {
  const size_t colon = info.type.find("s: ");
  const size_t single = info.type.find("component: ");
  if (colon == std::string::npos && single == std::string::npos) {
    return base::starts_with(info.type, "one of ") ? cell(base::replace_all(info.type, "|", " | ")) : cell(info.type);
  }
  const std::string kind = info.type.substr(info.type.find(": ") + 2);
  return cat(single != std::string::npos ? "one of the [" : "some of the [", kind, "](", kind, ".md)");
}

std::string field_table(base::Config& config) {
  const std::vector<FieldInfo> rows = base::describe_config(config);
  if (rows.empty()) return "No settings.\n";
  std::string text = "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n";
  for (const FieldInfo& info : rows) {
    text += cat("| `", info.key, "` | ", type_text(info), " | ", default_text(info), " | ", cell(info.range), " | ",
                cell(info.help), " |\n");
  }
  return text;
}

template <class ConfigT>
std::string noun(const char* title, const char* about) {
  ConfigT config;
  return cat("## ", title, "\n\n", about, "\n\n", field_table(config), "\n");
}

std::string recipe_page() {
  std::string text = cat(kNotice, "# Keys of a recipe\n\n",
                         "Named nouns first, then `stages`, a list of maps with `id` and `type` that refer to them. ",
                         "Overrides: `a.b=c` sets, `+a.b=c` adds, `~a.b` removes; items of lists go by their `id`. ",
                         "`rqat validate --explain KEY` tells the same about one key.\n\n");
  text += noun<pipeline::Recipe>(
      "The recipe itself",
      "`include` (a file or a list of them: later keys win), `models`, `quant`, `data`, `stages`, and:");
  text += noun<pipeline::ModelSource>("models.NAME", "A model that the run starts from.");
  text += noun<quant::QuantPolicy>("quant.NAME", "A number format, and exceptions by layer.");
  text += noun<data::DataConfig>("data.NAME", "Problems from generators, records of files, or a mixture.");
  text +=
      noun<data::Mapping>("data.NAME.mapping",
                          "Which column of a file is what: these keys, or the name of a preset alone. `a.b` is column "
                          "b inside a; a column that ends with `?` may be missing.");
  text += "| preset | data sets and their columns |\n|---|---|\n";
  for (const data::MappingPreset& preset : data::mapping_presets())
    text += cat("| `", preset.name, "` | ", cell(preset.help), " |\n");
  text += "\n";
  return text + "## stages\n\nEach has `id`, `type` and the keys of its type: see [stages](stages.md).\n";
}

std::string paper_text(const base::EntryInfo& info) {
  return info.paper.empty() ? "" : cat(" ([arXiv ", info.paper, "](https://arxiv.org/abs/", info.paper, "))");
}

std::string kind_page(const base::RegistryBase& registry) {
  std::string text = cat(kNotice, "# ", registry.kind(), "\n");
  for (const base::EntryInfo* info : registry.infos()) {
    text += cat("\n## ", info->name, "\n\n", info->help, paper_text(*info), "\n\n", field_table(*info->make_config()));
  }
  return text;
}

/// Help as the program prints it: options are no recipe keys.
std::string command_page() {
  std::string text = cat(kNotice, "# Commands\n");
  for (const base::EntryInfo* info : commands().infos()) {
    base::Component component(info->name);
    component.config = info->make_config();
    const Usage usage = commands().make(component)->usage();
    text += cat("\n## ", info->name, "\n\n```text\n", command_help(info->name, info->help, usage, *component.config),
                "```\n");
  }
  return text;
}

std::string metrics_page() {
  std::string text = cat(kNotice, "# Metrics\n");
  for (const pipeline::MetricTable& table : pipeline::metric_tables()) {
    text += cat("\n## ", table.title, "\n\nIn ", table.where,
                ".\n\n| name | unit | better | meaning |\n|---|---|---|---|\n");
    for (const pipeline::MetricInfo& info : table.metrics) {
      text += cat("| `", info.name, "` | ", info.unit, " | ", info.better, " | ", cell(info.meaning), " |\n");
    }
  }
  return text;
}

}  // namespace

std::map<std::string, std::string> reference_pages() {
  std::map<std::string, std::string> pages{{"recipe.md", recipe_page()}, {"metrics.md", metrics_page()}};
  std::string links = cat(kNotice, "# Reference\n\n- [keys of a recipe](recipe.md)\n");
  for (const base::RegistryBase* registry : all_kinds()) {
    const bool is_commands = registry->kind() == "commands";
    pages[registry->kind() + ".md"] = is_commands ? command_page() : kind_page(*registry);
    links += cat("- [", registry->kind(), "](", registry->kind(), ".md): ", base::join(registry->names(), ", "), "\n");
  }
  pages["README.md"] = links + "- [metrics](metrics.md)\n";
  return pages;
}

}  // namespace rqat::cli
