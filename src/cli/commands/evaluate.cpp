#include <cctype>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "one_stage.h"
#include "rqat/base/log.h"
#include "rqat/cli/command.h"
#include "rqat/data/dataset.h"
#include "rqat/generate/engine.h"
#include "rqat/io/json_file.h"
#include "rqat/pipeline/report.h"
#include "support.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;

struct EvaluateOptions : base::Config {
  std::vector<std::string> model;
  std::string teacher, out, device = "auto";
  data::DataConfig data;
  generate::SamplingConfig sampling;
  int64_t batch_size = 64, likelihood_examples = 200;
  bool overwrite = false;
  EvaluateOptions() {
    data.split = "test";
    data.num_examples = 300;
  }
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folders or GGUF files; several are compared on the same problems");
    v.required("model");
    // Not `mixture`, whose parts are other entries of a recipe, and `shuffle_buffer`, which is for training.
    v.field("generators", data.generators, "task families to draw problems from (`rqat list tasks`)");
    v.field("file", data.file,
            "file of problems instead of generators, or a pattern (data/*.parquet): .jsonl .json .csv .tsv "
            ".parquet, those of text also with .gz or .zst behind");
    v.tree("mapping", data.mapping,
           "which column of the file is what: name of a preset, or a map like {question: problem, reference: answer}");
    v.choice("split", data.split, {"train", "test", "test_in_distribution"},
             "of generators; test = unseen wordings and numbers; test_in_distribution = other problems like those of "
             "training");
    v.field("num_examples", data.num_examples, "problems to answer", base::Range{1, 1e9});
    v.field("seed", data.seed, "of the generated problems");
    v.field("max_length", data.max_length, "longest prompt, and longest worked solution, in tokens",
            base::Range{8, 1e7});
    v.choice("too_long", data.too_long, {"error", "drop", "truncate"}, "what to do with a longer one");
    v.choice("loss_on", data.loss_on, {"responses", "last_response", "all"},
             "what of a worked solution counts: all assistant turns, the last one, or all text");
    v.field("system_prompt", data.system_prompt, "system turn; empty = what the chat template injects");
    v.field("instruction", data.instruction, "text put after every question");
    v.field("teacher", teacher, "model that the KL is taken to; empty = no KL");
    sampling.fields(v);
    v.field("batch_size", batch_size, "sequences decoded at once", base::Range{1, 4096});
    v.field("likelihood_examples", likelihood_examples, "worked solutions for perplexity and KL; 0 = none",
            base::non_negative());
    v.field("out", out, "folder for results.json and all responses; empty = only the table is shown");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
    v.field("overwrite", overwrite, "replace the results that stand in --out");
  }
  std::vector<std::string> check() const override {
    if (data.generators.empty() == data.file.empty())
      return {"give problems with either --generators (`rqat list tasks`) or --file"};
    return data.check();
  }
};

class Evaluate : public Command {
 public:
  explicit Evaluate(EvaluateOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Lets models answer problems and checks the answers: accuracy by task family with 95 % intervals, response "
        "lengths, "
        "share of responses cut at the limit, perplexity on worked solutions, and KL to a teacher. Problems come from "
        "generators (`rqat list tasks`) or a JSONL file. Quantized models run on their packed codes.",
        {"rqat evaluate --model models/smollm2-135m-instruct --generators one_step_word,chain_sums --num-examples 100",
         "rqat evaluate --model runs/quickstart/gptq,runs/quickstart/rl --teacher runs/quickstart/teacher --generators "
         "one_step_word --out runs/compare"},
        {}};
  }

  void run() override {
    const ScratchFolder scratch;
    const fs::path folder = options_.out.empty() ? scratch.path() / "results" : fs::path(options_.out);
    if (!options_.out.empty()) require_free(folder, options_.overwrite, inputs(), {"results.json"});
    // The stage logs its table, which here goes to standard output.
    base::set_log_level(base::LogLevel::kWarning);
    run_one_stage(recipe(scratch), "evaluate", folder, options_.device);
    std::cout << pipeline::results_table(io::read_json(folder / "results.json"));
  }

 private:
  /// A model's last folder name as an id of a recipe, with a number where two share it.
  static std::string model_id(const std::string& path, std::set<std::string>& taken) {
    const fs::path clean = fs::path(path).lexically_normal();
    std::string name = (clean.has_filename() ? clean : clean.parent_path()).stem().string();
    for (char& c : name) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
    }
    std::string id = name;
    for (int i = 2; !taken.insert(id).second; ++i) id = base::cat(name, "_", i);
    return id;
  }

  std::vector<fs::path> inputs() const {
    std::vector<fs::path> paths(options_.model.begin(), options_.model.end());
    if (!options_.teacher.empty()) paths.emplace_back(options_.teacher);
    return paths;
  }

  base::Node recipe(const ScratchFolder& scratch) {
    std::set<std::string> taken{"scores"};
    std::map<std::string, std::string> known;  // path -> id
    base::Node models = map_node({}), ids = base::Node::list();
    const auto add = [&](const std::string& path) {
      if (known.count(path) > 0) return known[path];
      const std::string id = model_id(path, taken);
      models.set(id, map_node({{"path", text_node(as_model_folder(path, scratch).string())}}));
      return known[path] = id;
    };
    for (const std::string& path : options_.model) ids.items().push_back(text_node(add(path)));
    base::Node stage = map_node({{"id", text_node("scores")},
                                 {"type", text_node("evaluate")},
                                 {"models", ids},
                                 {"tasks", base::Node::list({text_node("problems")})},
                                 {"sampling", base::write_config(options_.sampling)},
                                 {"batch_size", number_node(options_.batch_size)},
                                 {"likelihood_examples", number_node(options_.likelihood_examples)}});
    if (!options_.teacher.empty()) stage.set("teacher", text_node(add(options_.teacher)));
    return map_node({{"name", text_node("evaluate")},
                     {"models", models},
                     {"data", map_node({{"problems", base::write_config(options_.data)}})},
                     {"stages", base::Node::list({stage})}});
  }

  EvaluateOptions options_;
};

}  // namespace

base::Entry<Command> evaluate_entry() {
  return base::make_entry<base::Entry<Command>, EvaluateOptions>(
      "evaluate", "measure models: accuracy by task family with intervals, perplexity, KL to a teacher", "",
      [](const EvaluateOptions& options) { return std::make_unique<Evaluate>(options); });
}

}  // namespace rqat::cli
