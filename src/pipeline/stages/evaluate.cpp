#include <algorithm>

#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/eval/evaluate.h"
#include "rqat/io/json_file.h"
#include "rqat/pipeline/report.h"
#include "rqat/quant/fake_quant_linear.h"
#include "stage_support.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

struct EvaluateConfig : base::Config {
  std::vector<std::string> models, tasks, compare;
  std::string teacher;
  generate::SamplingConfig sampling;
  int64_t batch_size = 64;
  int64_t likelihood_examples = 200;
  void fields(base::FieldVisitor& v) override {
    v.field("models", models, "models to measure, in the order of the table");
    v.required("models");
    v.field("tasks", tasks, "`data:` entries with problems to answer");
    v.required("tasks");
    v.field("teacher", teacher, "model that the KL is taken to; empty = no KL");
    v.field("compare", compare,
            "pairs 'a->b' whose accuracy is compared on the same problems; default: neighbours in `models`");
    v.group("sampling", sampling, "how answers are generated");
    v.field("batch_size", batch_size, "sequences decoded at once", base::Range{1, 4096});
    v.field("likelihood_examples", likelihood_examples, "worked solutions per task set for perplexity and KL; 0 = none",
            base::non_negative());
  }
};

json to_json(const eval::Proportion& p) {
  return {{"successes", p.successes}, {"total", p.total}, {"value", p.value}, {"low", p.low}, {"high", p.high}};
}

json to_json(const eval::TaskResult& result) {
  json families = json::object();
  for (const auto& [family, p] : result.by_family) families[family] = to_json(p);
  return {{"overall", to_json(result.overall)},
          {"by_family", families},
          {"mean_response_tokens", result.mean_response_tokens},
          {"cut_share", result.cut_share},
          {"seconds", result.seconds},
          {"tokens_per_second", result.tokens_per_second},
          {"correct", result.correct}};
}

class EvaluateStage : public Stage {
 public:
  explicit EvaluateStage(EvaluateConfig config) : config_(std::move(config)) {}

  Uses uses() const override {
    Uses uses{config_.models, config_.tasks, {}};
    if (!config_.teacher.empty()) uses.models.push_back(config_.teacher);
    return uses;
  }
  std::string makes() const override { return "table"; }

  std::vector<std::string> check(const Recipe&) const override {
    std::vector<std::string> faults;
    for (const auto& [from, to] : pairs()) {
      for (const std::string& id : {from, to}) {
        if (std::find(config_.models.begin(), config_.models.end(), id) == config_.models.end()) {
          faults.push_back("compare: '" + id + "' is not among `models` (write pairs as \"a->b\")");
        }
      }
    }
    return faults;
  }

  /// Measured as soon as the model and the teacher of the KL exist.
  void model_ready(StageRun& run, const std::string&) override {
    for (const std::string& id : config_.models) {
      if (!run.ready(id) || (!config_.teacher.empty() && !run.ready(config_.teacher))) continue;
      if (!cached(run, id)) measure(run, id);
    }
  }

  void run(StageRun& run) override {
    json rows = json::array();
    for (const std::string& id : config_.models) {
      if (!cached(run, id)) measure(run, id);
      if (run.is_main()) rows.push_back(io::read_json(cache_file(run, id)));
    }
    if (!run.is_main()) return;
    json results = {{"teacher", config_.teacher}, {"task_sets", config_.tasks}, {"models", rows}};
    results["differences"] = differences(rows, run);
    io::write_json(run.folder / "results.json", results);
    write_events(rows, run);
    (*run.summary)["models"] = config_.models.size();
    base::log_info(cat("results of stage ", run.id, ":\n", results_table(results)));
  }

 private:
  /// One point per model and task set: lines of several runs can be laid side by side.
  void write_events(const json& rows, const StageRun& run) const {
    std::map<std::string, double> values;
    for (const json& row : rows) {
      for (const auto& [task, cell] : row["tasks"].items()) {
        const std::string prefix = cat(row["model"].get<std::string>(), "/", task, "/");
        values[prefix + "accuracy"] = cell["overall"]["value"];
        for (const char* key : {"perplexity", "kl_to_teacher"}) {
          if (cell.contains(key)) values[prefix + key] = cell[key];
        }
      }
    }
    io::EventWriter(run.folder / "tensorboard").scalars(0, values);
  }

  std::vector<std::pair<std::string, std::string>> pairs() const {
    std::vector<std::pair<std::string, std::string>> found;
    for (const std::string& text : config_.compare) {
      const size_t arrow = text.find("->");
      found.emplace_back(base::trim(text.substr(0, arrow)),
                         arrow == std::string::npos ? "" : base::trim(text.substr(arrow + 2)));
    }
    if (!found.empty()) return found;
    for (size_t i = 1; i < config_.models.size(); ++i) found.emplace_back(config_.models[i - 1], config_.models[i]);
    return found;
  }

  fs::path cache_file(const StageRun& run, const std::string& id) const {
    return run.folder / cat("model_", id, ".json");
  }

  std::string cache_key(const StageRun& run, const std::string& id) const {
    return cat(run.settings_hash, "/", run.fingerprint(id), "/",
               config_.teacher.empty() ? "" : run.fingerprint(config_.teacher));
  }

  bool cached(const StageRun& run, const std::string& id) const {
    // The main rank's folder counts: all measure, or none.
    const bool here = run.is_main() && fs::exists(cache_file(run, id)) &&
                      io::read_json(cache_file(run, id)).value("key", "") == cache_key(run, id);
    return run.world->broadcast_text(here ? "yes" : "no") == "yes";
  }

  void measure(StageRun& run, const std::string& id) {
    const auto start = std::chrono::steady_clock::now();
    LoadOptions options;
    options.device = run.device;
    LoadedModel loaded = load_model_folder(run.model_folder(id), options);
    LoadedModel teacher;
    if (!config_.teacher.empty() && config_.teacher != id) {
      options.with_tokenizer = false;
      teacher = load_model_folder(run.model_folder(config_.teacher), options);
    }
    json row = {{"model", id}, {"key", cache_key(run, id)}, {"tasks", json::object()}};
    add_size(row, loaded);
    for (const std::string& name : config_.tasks) row["tasks"][name] = measure_task(run, loaded, teacher, id, name);
    row["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    io::write_json(cache_file(run, id), row);
    log_row(run, row);
  }

  /// The first likelihood_examples records with a text to predict.
  std::vector<data::Record> worked_solutions(const std::vector<data::Record>& records) const {
    std::vector<data::Record> some;
    for (const data::Record& record : records) {
      if (static_cast<int64_t>(some.size()) == config_.likelihood_examples) break;
      if (!record.response.empty()) some.push_back(record);
    }
    return some;
  }

  json measure_task(StageRun& run, LoadedModel& loaded, LoadedModel& teacher, const std::string& id,
                    const std::string& name) {
    const std::vector<data::Record> records = records_of(run, name);
    const data::DataConfig& data = run.data(name);
    json cell = json::object();
    const std::vector<data::Record> some = worked_solutions(records);
    if (some.empty() && config_.likelihood_examples > 0) {
      base::log_warning(cat("stage ", run.id, ": data.", name,
                            " has answers but no worked solutions: no perplexity and no KL are measured on it"));
    }
    if (!some.empty()) {
      loaded.model->set_execution(nn::Execution::kTrain);
      model::CausalLM* reference = config_.teacher == id ? loaded.model.get() : teacher.model.get();
      const eval::LikelihoodResult likelihood = eval::evaluate_likelihood(
          *loaded.model, reference, data::encode_examples(some, data, *loaded.tokenizer, *loaded.chat), 4096,
          *run.world);
      cell["perplexity"] = likelihood.perplexity;
      if (likelihood.kl_to_teacher) cell["kl_to_teacher"] = *likelihood.kl_to_teacher;
    }
    loaded.model->set_execution(nn::Execution::kPacked);
    base::Progress progress(cat(run.id, " ", id, " ", name), static_cast<int64_t>(records.size()));
    const eval::TaskResult result = eval::evaluate_tasks(
        *loaded.model, *loaded.tokenizer, *loaded.chat, loaded.stop_ids, records, data, config_.sampling,
        config_.batch_size, run.seed, [&](int64_t done, int64_t) { progress.update(done); }, *run.world);
    progress.finish(cat("accuracy ", base::format_fixed(100 * result.overall.value, 1), " %"));
    cell.update(to_json(result));
    write_responses(run, id, name, records, result);
    return cell;
  }

  static void write_responses(const StageRun& run, const std::string& id, const std::string& name,
                              const std::vector<data::Record>& records, const eval::TaskResult& result) {
    std::string lines;
    for (size_t i = 0; i < records.size(); ++i) {
      lines += json({{"family", records[i].family},
                     {"question", records[i].prompt},
                     {"solution", records[i].response},
                     {"response", result.responses[i]},
                     {"correct", result.correct[i] != 0}})
                   .dump(-1, ' ', false, json::error_handler_t::replace) +
               "\n";
    }
    base::write_file(run.folder / cat("responses_", id, "_", name, ".jsonl"), lines);
  }

  /// Size of the weights as served: codes, scales and zero points of quantized layers, everything else as stored.
  static void add_size(json& row, LoadedModel& loaded) {
    double linear_bits = 0, linear_weights = 0, other_bytes = 0;
    const double float_bits = loaded.model->dtype() == at::kFloat ? 32 : 16;
    for (nn::LinearBase* linear : loaded.model->linears()) {
      const double count = static_cast<double>(linear->spec().in_features * linear->spec().out_features);
      const auto* fake_quant = dynamic_cast<quant::FakeQuantLinear*>(linear);
      linear_weights += count;
      linear_bits +=
          count * (fake_quant ? fake_quant->format().bits_per_weight(linear->spec().in_features) : float_bits);
    }
    other_bytes = static_cast<double>(loaded.model->embedding().compute.nbytes());
    if (&loaded.model->head() != &loaded.model->embedding())
      other_bytes += static_cast<double>(loaded.model->head().compute.nbytes());
    row["bits_per_weight"] = linear_bits / linear_weights;
    row["size_bytes"] = linear_bits / 8 + other_bytes;
  }

  void log_row(const StageRun& run, const json& row) const {
    std::string text = cat(run.id, ": ", row["model"].get<std::string>());
    for (const std::string& name : config_.tasks) {
      const json& cell = row["tasks"][name];
      text += cat("  ", name, " ", base::format_fixed(100 * cell["overall"]["value"].get<double>(), 1), " %");
      if (cell.contains("kl_to_teacher"))
        text += cat(" (KL ", base::format_fixed(cell["kl_to_teacher"].get<double>(), 4), ")");
    }
    base::log_info(text);
  }

  /// Per task set, and over all problems of all sets when there are several.
  json differences(const json& rows, const StageRun& run) const {
    json found = json::array();
    const auto compare = [&](const std::string& from, const std::string& to, const std::vector<std::string>& tasks,
                             const std::string& title) {
      const eval::PairedDifference d =
          eval::paired_difference(outcomes(rows, from, tasks), outcomes(rows, to, tasks), run.seed);
      found.push_back({{"from", from},
                       {"to", to},
                       {"task_set", title},
                       {"mean", d.mean},
                       {"low", d.low},
                       {"high", d.high},
                       {"shown", d.shown}});
    };
    for (const auto& [from, to] : pairs()) {
      for (const std::string& task : config_.tasks) compare(from, to, {task}, task);
      if (config_.tasks.size() > 1) compare(from, to, config_.tasks, base::join(config_.tasks, " + "));
    }
    return found;
  }

  /// Right or wrong, problem by problem, of one model on several task sets.
  static std::vector<uint8_t> outcomes(const json& rows, const std::string& id, const std::vector<std::string>& tasks) {
    std::vector<uint8_t> all;
    for (const json& row : rows) {
      if (row["model"] != id) continue;
      for (const std::string& task : tasks) {
        const auto correct = row["tasks"][task]["correct"].get<std::vector<uint8_t>>();
        all.insert(all.end(), correct.begin(), correct.end());
      }
    }
    return all;
  }

  EvaluateConfig config_;
};

}  // namespace

base::Entry<Stage> evaluate_entry() {
  return base::make_entry<base::Entry<Stage>, EvaluateConfig>(
      "evaluate",
      "accuracy by task family with intervals (a response cut inside its answer is wrong), KL to a teacher, "
      "perplexity, lengths; paired comparisons",
      "", [](const EvaluateConfig& config) { return std::make_unique<EvaluateStage>(config); });
}

}  // namespace rqat::pipeline
