#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "preview.h"
#include "rqat/base/error.h"
#include "rqat/base/strings.h"
#include "rqat/cli/command.h"
#include "rqat/data/stream.h"
#include "rqat/pipeline/recipe.h"
#include "rqat/pipeline/stage.h"

namespace rqat::cli {

namespace {

using base::cat;

constexpr int64_t kSurveyed = 256;

struct DataOptions : base::Config {
  std::string action, file, config, data, model, mapping, color = "auto";
  int64_t num_examples = 2, first = 1;
  std::vector<std::string> overrides;
  void fields(base::FieldVisitor& v) override {
    v.choice("action", action, {"preview"}, "preview: show examples as training sees them");
    v.required("action");
    v.field("file", file, "file of records, or a pattern");
    v.field("config", config, "recipe whose `data:` is shown, instead of a file");
    v.field("data", data, "entry of the recipe, or a stage that wrote data; default: all of them");
    v.field("model", model,
            "model folder or GGUF file whose tokenizer and chat template are used; default: the recipe's");
    v.field("mapping", mapping, "which column is what: a preset, or {question: problem, answer: solution}");
    v.field("num_examples", num_examples, "examples to show", base::Range{1, 10000});
    v.field("first", first, "number of the first one", base::positive());
    v.choice("color", color, {"auto", "always", "never"}, "auto = when the output is a terminal");
    v.field("overrides", overrides, "change the recipe: data.train.max_length=512 (repeatable)");
  }
  std::vector<std::string> check() const override {
    std::vector<std::string> faults;
    if (file.empty() == config.empty()) faults.push_back("give either a FILE or --config RECIPE");
    if (config.empty() && !data.empty()) faults.push_back("--data names an entry of a recipe: give --config as well");
    if (config.empty() && !overrides.empty())
      faults.push_back(cat("--overrides change a recipe: give --config as well"));
    if (file.empty() && !mapping.empty())
      faults.push_back("--mapping belongs to a FILE; in a recipe it is set as data.NAME.mapping");
    return faults;
  }
};

/// Tokenizer and template, where a model is known.
struct Text {
  std::string from;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::ChatTemplate> chat;
};

Text text_of(const std::string& model) {
  if (model.empty()) return {};
  return {model, text::load_tokenizer(model), text::load_chat_template(model)};
}

class Data : public Command {
 public:
  explicit Data(DataOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Shows the first examples of a file or of a recipe's data as training sees them: the text that the chat "
        "template makes of a record, which of it is learned (green; without colors under a heading), and the token "
        "ids. Of the first 256 records it tells the lengths.",
        {"rqat data preview --config recipes/quickstart.yaml --data train",
         "rqat data preview data/gsm8k/train.jsonl --mapping gsm8k --model models/smollm2-135m-instruct",
         "rqat data preview 'data/gsm8k/*.jsonl' --first 2"},
        {"action", "file"}};
  }

  void run() override {
    if (options_.config.empty()) {
      show("", file_config(), text_of(options_.model), 0);
      return;
    }
    const pipeline::Recipe recipe = pipeline::load_recipe(options_.config, options_.overrides);
    for (const std::string& name : chosen(recipe)) {
      show(name, recipe.data.at(name), text_of(options_.model.empty() ? model_for(recipe, name) : options_.model),
           recipe.seed);
    }
  }

 private:
  data::DataConfig file_config() const {
    base::Node settings = base::Node::map();
    settings.set("file", base::Node::scalar(options_.file, {}, true));
    if (!options_.mapping.empty()) settings.set("mapping", base::Node::parse(options_.mapping, "--mapping"));
    data::DataConfig config;
    base::Faults faults;
    base::read_config(config, settings, "", faults);
    faults.raise("rqat data preview: --mapping cannot be used");
    return config;
  }

  std::vector<std::string> chosen(const pipeline::Recipe& recipe) const {
    std::vector<std::string> names;
    for (const auto& [name, config] : recipe.data) {
      const bool written_later = recipe.maker_of_data(name) != nullptr && !std::filesystem::exists(config.file);
      if (options_.data.empty() ? !written_later : name == options_.data) names.push_back(name);
      if (written_later && name == options_.data) {
        throw base::DataError(cat("stage ", name, " has not run yet, which will write this data into ", config.file,
                                  "; run it first (rqat train --config ", options_.config, " --only ", name, ")"));
      }
    }
    if (!names.empty()) return names;
    for (const auto& [name, config] : recipe.data) names.push_back(name);
    const std::string near = base::nearest(options_.data, names);
    throw base::UsageError(cat("--data: the recipe has no data '", options_.data, "'",
                               near.empty() ? "" : cat("; did you mean '", near, "'?"),
                               " (known: ", names.empty() ? "none" : base::join(names, ", "), ")"));
  }

  /// The model that the first stage with this data starts from, or the recipe's only one.
  static std::string model_for(const pipeline::Recipe& recipe, const std::string& data) {
    for (const pipeline::StageEntry& entry : recipe.stages) {
      const pipeline::Uses uses = entry.stage->uses();
      bool reads = false;
      for (const std::string& name : uses.data) {
        const std::vector<std::string> parts = recipe.parts_of_data(name);
        reads = reads || name == data || std::find(parts.begin(), parts.end(), data) != parts.end();
      }
      if (!reads || uses.models.empty()) continue;
      std::string id = uses.models.front();
      while (const pipeline::StageEntry* stage = recipe.find_stage(id)) id = stage->stage->uses().models.front();
      return path_of(recipe, id);
    }
    return recipe.models.empty() ? "" : path_of(recipe, recipe.models.begin()->first);
  }

  static std::string path_of(const pipeline::Recipe& recipe, const std::string& id) {
    const std::string& path = recipe.models.at(id).path;
    if (std::filesystem::exists(path)) return path;
    std::cerr << "models." << id << ": " << path
              << " does not exist: records are shown without chat template and ids\n";
    return "";
  }

  bool colored() const {
    if (options_.color != "auto") return options_.color == "always";
    return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  }

  void show(const std::string& name, const data::DataConfig& config, const Text& text, int64_t seed) const {
    const std::unique_ptr<data::RecordStream> stream = data::open_records(config, seed);
    std::cout << (name.empty() ? config.file : cat("data.", name, config.file.empty() ? "" : cat(" = ", config.file)))
              << (text.from.empty() ? "; no --model, so no chat template and no ids" : cat("; text by ", text.from))
              << "\n";
    for (int64_t i = 1; i < options_.first; ++i) {
      if (!stream->skip())
        throw base::DataError(cat("there are only ", i - 1, " records; lower --first (", options_.first, ")"));
    }
    data::Record record;
    int64_t number = options_.first;
    for (; number < options_.first + options_.num_examples && stream->next(record); ++number)
      show_record(record, number, config, text);
    if (number == options_.first)
      throw base::DataError(cat("there is no record ", number, number == 1 ? ": the data set is empty" : ""));
    if (text.tokenizer) survey(config, text, seed);
    std::cout << "\n";
  }

  void show_record(const data::Record& record, int64_t number, const data::DataConfig& config, const Text& text) const {
    std::cout << "\nrecord " << number << (record.where.empty() ? "" : cat(" (", record.where, ")"));
    if (!text.tokenizer) {
      std::cout << "\n" << record_text(record);
      return;
    }
    try {
      const data::Example example = encoded(record, config, text);
      std::cout << ": " << example.ids.size() << " tokens, " << example.num_targets() << " learned"
                << (example.num_targets() == 0 ? " (a problem without a response)" : "") << "\n"
                << example_text(example, *text.tokenizer, colored());
      if (!record.problem.answer.empty()) std::cout << "right answer: " << record.problem.answer << "\n";
    } catch (const data::TooLong& error) {
      std::cout << ": " << error.what() << "\n";
    }
  }

  static data::Example encoded(const data::Record& record, const data::DataConfig& config, const Text& text) {
    if (!record.text.empty() || !record.response.empty())
      return data::encode_example(record, config, *text.tokenizer, *text.chat);
    data::Example prompt;
    prompt.ids = data::encode_prompt(record, config, *text.tokenizer, *text.chat);
    prompt.loss_mask.assign(prompt.ids.size(), 0);
    return prompt;
  }

  static void survey(data::DataConfig config, const Text& text, int64_t seed) {
    const int64_t limit = config.max_length;
    config.max_length = static_cast<int64_t>(1e9);
    const std::unique_ptr<data::RecordStream> stream = data::open_records(config, seed);
    std::vector<size_t> lengths;
    int64_t learned = 0, all = 0, too_long = 0;
    data::Record record;
    while (static_cast<int64_t>(lengths.size()) < kSurveyed && stream->next(record)) {
      const data::Example example = encoded(record, config, text);
      lengths.push_back(example.ids.size());
      all += static_cast<int64_t>(example.ids.size());
      learned += example.num_targets();
      too_long += static_cast<int64_t>(example.ids.size()) > limit ? 1 : 0;
    }
    std::sort(lengths.begin(), lengths.end());
    std::cout << "\nfirst " << lengths.size() << " records: " << lengths.front() << " to " << lengths.back()
              << " tokens, median " << lengths[lengths.size() / 2] << ", "
              << base::format_fixed(100 * static_cast<double>(learned) / static_cast<double>(all), 0) << " % learned; "
              << too_long << " longer than max_length " << limit
              << (too_long > 0 ? cat(" (too_long: ", config.too_long, ")") : "") << "\n";
  }

  DataOptions options_;
};

}  // namespace

base::Entry<Command> data_entry() {
  return base::make_entry<base::Entry<Command>, DataOptions>(
      "data", "look at data: text, token ids, and what is learned", "",
      [](const DataOptions& options) { return std::make_unique<Data>(options); });
}

}  // namespace rqat::cli
