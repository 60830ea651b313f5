#include "rqat/base/strings.h"
#include "rqat/data/dataset.h"

namespace rqat::data {

void DataConfig::fields(base::FieldVisitor& v) {
  v.field("generators", generators, "task families to draw problems from (`rqat list tasks`)");
  v.field("file", file, "JSONL file instead of generators: messages | prompt+completion | question+answer records");
  v.choice("split", split, {"train", "test", "test_in_distribution"},
           "train; test = unseen wordings and numbers; test_in_distribution = other problems like those of training");
  v.field("num_examples", num_examples, "problems to generate, or records to take from the file", base::Range{1, 1e9});
  v.field("seed", seed, "added to the recipe's seed");
  v.field("max_length", max_length, "longest example in tokens", base::Range{8, 1e7});
  v.choice("too_long", too_long, {"error", "drop"}, "what to do with a longer example");
  v.field("system_prompt", system_prompt, "system turn; empty = what the chat template injects");
  v.field("instruction", instruction, "text put after every question");
}

std::vector<std::string> DataConfig::check() const {
  std::vector<std::string> faults;
  if (generators.empty() == file.empty()) {
    faults.push_back("give either `generators` (task families) or `file` (JSONL), not " +
                     std::string(file.empty() ? "neither" : "both"));
  }
  for (const std::string& family : generators) {
    if (tasks().find_info(family) == nullptr) faults.push_back(tasks().unknown_text(family));
  }
  return faults;
}

}  // namespace rqat::data
