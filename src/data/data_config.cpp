#include <cstdlib>

#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"
#include "rqat/data/mapping.h"

namespace rqat::data {

namespace {

using base::cat;

/// The weight, or nothing where the node is no number above 0.
std::optional<double> weight_of(const base::Node& node) {
  if (!node.is_scalar() || node.value().empty()) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(node.value().c_str(), &end);
  if (*end != '\0' || !(value > 0) || value > 1e9) return std::nullopt;
  return value;
}

}  // namespace

void DataConfig::fields(base::FieldVisitor& v) {
  v.field("generators", generators, "task families to draw problems from (`rqat list tasks`)");
  v.field(
      "file", file,
      "file of records instead of generators, or a pattern (data/*.parquet): .jsonl .json .csv .tsv .parquet, those "
      "of text also with .gz or .zst behind");
  v.tree("mapping", mapping,
         "which column of the file is what: name of a preset, or a map; default: messages | conversations | prompt + "
         "completion | question + answer | problem + solution | text");
  v.tree("mixture", mixture, "other `data:` entries or stages that write data, and their weights: {a: 0.7, b: 0.3}");
  v.choice("split", split, {"train", "test", "test_in_distribution"},
           "train; test = unseen wordings and numbers; test_in_distribution = other problems like those of training");
  v.field(
      "num_examples", num_examples,
      "problems to generate (default 1000), or records to take from the file (default all); of a mixture: parts that "
      "run out before begin anew (default: it ends with the first that runs out)",
      base::Range{1, 1e9});
  v.field("seed", seed, "added to the recipe's seed");
  v.field("max_length", max_length, "longest example in tokens", base::Range{8, 1e7});
  v.choice("too_long", too_long, {"error", "drop", "truncate"}, "what to do with a longer example");
  v.choice("loss_on", loss_on, {"responses", "last_response", "all"},
           "tokens that are learned: those of all assistant turns, of the last one, or all");
  v.field("shuffle_buffer", shuffle_buffer,
          "0 = training reads all records at its start; else it reads them as it goes, and shuffles so many at a time",
          base::Range{0, 1e8});
  v.field("system_prompt", system_prompt, "system turn; empty = what the chat template injects");
  v.field("instruction", instruction, "text put after every question");
}

std::vector<std::string> DataConfig::check() const {
  std::vector<std::string> faults;
  const int sources = (generators.empty() ? 0 : 1) + (file.empty() ? 0 : 1) + (mixture.is_null() ? 0 : 1);
  if (sources != 1) {
    faults.push_back(cat("give one of `generators` (task families), `file` and `mixture`, not ",
                         sources == 0 ? "none of them" : "several"));
  }
  for (const std::string& family : generators) {
    if (tasks().find_info(family) == nullptr) faults.push_back(tasks().unknown_text(family));
  }
  if (file.empty() && !mapping.is_null()) faults.push_back(cat("`mapping` has no effect without `file`"));
  base::Faults found;
  read_mapping(mapping, found);
  faults.insert(faults.end(), found.lines().begin(), found.lines().end());
  if (!mixture.is_null() && (!mixture.is_map() || mixture.entries().empty()))
    faults.push_back(cat("mixture: a map of names and weights is expected, found ", mixture.describe()));
  for (const base::Node::Entry& entry : mixture.entries()) {
    if (!weight_of(entry.value))
      faults.push_back(cat("mixture.", entry.key, ": a weight above 0 is expected, found ", entry.value.describe()));
  }
  return faults;
}

std::vector<DataConfig::Part> mixture_parts(const DataConfig& config) {
  std::vector<DataConfig::Part> parts;
  for (const base::Node::Entry& entry : config.mixture.entries())
    parts.push_back({entry.key, weight_of(entry.value).value_or(1), nullptr});
  return parts;
}

}  // namespace rqat::data
