#include <algorithm>

#include "rqat/answer/answer.h"
#include "rqat/base/error.h"
#include "rqat/base/folders.h"
#include "rqat/base/interrupt.h"
#include "rqat/base/log.h"
#include "rqat/base/strings.h"
#include "rqat/generate/engine.h"
#include "rqat/io/json_file.h"
#include "stage_checkpoints.h"
#include "stage_support.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using nlohmann::json;

constexpr const char* kFile = "examples.jsonl";

struct SynthesizeConfig : base::Config {
  std::string model, data;
  generate::SamplingConfig sampling;
  int64_t num_generations = 1;
  std::string keep = "all";
  int64_t batch_size = 64;
  int64_t prompts_per_part = 256;
  SynthesizeConfig() {
    sampling.temperature = 0.6;
    sampling.top_p = 0.95;
    sampling.max_new_tokens = 4096;
  }
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model that answers: a `models:` entry or a stage");
    v.required("model");
    v.field("data", data, "`data:` entry whose problems are answered");
    v.required("data");
    v.group("sampling", sampling, "how answers are generated");
    v.field("num_generations", num_generations, "answers per problem", base::Range{1, 4096});
    v.choice("keep", keep, {"all", "finished", "correct"},
             "answers that are written: all, those not cut at max_new_tokens, or those that are right");
    v.field("batch_size", batch_size, "sequences decoded at once", base::Range{1, 4096});
    v.field("prompts_per_part", prompts_per_part, "problems answered between two saves", base::Range{1, 1e6});
  }
};

class SynthesizeStage : public Stage {
 public:
  explicit SynthesizeStage(SynthesizeConfig config) : config_(std::move(config)) {}

  Uses uses() const override { return {{config_.model}, {config_.data}, {}}; }
  std::string makes() const override { return "data"; }

  /// What is written holds the whole prompt, so that nothing of the problems' entry is to be added again.
  data::DataConfig data_made(const Recipe& recipe, const fs::path& folder) const override {
    data::DataConfig made;
    made.file = (folder / kFile).string();
    made.mapping = base::Node::parse(
        "{messages: messages, reference: \"reference?\", family: \"family?\", finished: finished}", "synthesize");
    const auto problems = recipe.data.find(config_.data);
    if (problems != recipe.data.end()) made.max_length = problems->second.max_length + config_.sampling.max_new_tokens;
    made.too_long = "drop";
    return made;
  }

  void run(StageRun& run) override {
    LoadOptions options;
    options.device = run.device;
    LoadedModel loaded = load_model_folder(run.model_folder(config_.model), options);
    loaded.model->set_execution(nn::Execution::kPacked);
    const std::vector<data::Record> records = records_of(run, config_.data);
    check_records(records);
    const auto count = static_cast<int64_t>(records.size());
    base::Progress progress(run.id, count);
    StageCheckpoints checkpoints(run, "part", 0);
    base::make_folders(checkpoint_folder(run.shared_folder));
    const base::StopSection stops_are_orderly;
    for (int64_t begin = 0; begin < count; begin += config_.prompts_per_part) {
      const int64_t end = std::min(count, begin + config_.prompts_per_part);
      if (is_there(run, begin)) {
        progress.update(end, "there already");
        continue;
      }
      const std::string lines =
          answers(run, loaded, records, begin, end, [&](int64_t done) { progress.update(begin + done); });
      if (run.is_main()) base::write_file(part_file(run, begin), lines);
      const int signal = static_cast<int>(run.world->max(base::requested_stop()));
      if (signal == 0 || end == count) continue;
      base::request_stop(signal);
      checkpoints.stop(cat(end, " of ", count, " problems"));
    }
    progress.finish("");
    if (run.is_main()) join_parts(run, count);
  }

 private:
  static fs::path part_file(const StageRun& run, int64_t begin) {
    return checkpoint_folder(run.shared_folder) / cat("problems_from_", begin, ".jsonl");
  }

  /// Whether an interrupted run answered these problems; the main rank's word counts.
  static bool is_there(const StageRun& run, int64_t begin) {
    const bool there = run.continuable && run.is_main() && fs::exists(part_file(run, begin));
    return run.world->broadcast_text(there ? "yes" : "no") == "yes";
  }

  void check_records(const std::vector<data::Record>& records) const {
    for (size_t i = 0; i < records.size() && config_.keep == "correct"; ++i) {
      if (!reference_of(records[i]).empty()) continue;
      throw base::DataError(cat("data '", config_.data, "', record ", i + 1,
                                records[i].where.empty() ? "" : cat(" (", records[i].where, ")"),
                                ": keep: correct needs a right answer to compare with; map one by `reference` or "
                                "`answer`, or keep all"));
    }
  }

  /// The right final answer, as far as the record tells it.
  static std::string reference_of(const data::Record& record) {
    if (!record.problem.answer.empty()) return record.problem.answer;
    return answer::extract(record.response).value_or(base::trim(record.response));
  }

  std::string answers(const StageRun& run, LoadedModel& loaded, const std::vector<data::Record>& records, int64_t begin,
                      int64_t end, const std::function<void(int64_t)>& done) const {
    const data::DataConfig& data = run.data(config_.data);
    std::vector<generate::Request> requests;
    for (int64_t i = begin; i < end; ++i) {
      requests.push_back({data::encode_prompt(records[static_cast<size_t>(i)], data, *loaded.tokenizer, *loaded.chat),
                          config_.num_generations, i});
    }
    generate::Engine engine(*loaded.model, loaded.stop_ids, config_.batch_size,
                            loaded.model->config().max_position_embeddings, *run.world);
    const auto completions =
        engine.generate(requests, config_.sampling, stage_seed(run, "synthesize"),
                        [&](int64_t finished, int64_t) { done(finished / config_.num_generations); });
    std::string lines;
    for (int64_t i = begin; i < end; ++i) {
      for (const generate::Completion& completion : completions[static_cast<size_t>(i - begin)]) {
        json line = line_of(records[static_cast<size_t>(i)], data, loaded, completion);
        line["record"] = i + 1;
        lines += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
      }
    }
    return lines;
  }

  static json line_of(const data::Record& record, const data::DataConfig& data, const LoadedModel& loaded,
                      const generate::Completion& completion) {
    const std::string response = loaded.tokenizer->decode(completion.ids, /*skip_special=*/true);
    std::vector<text::Message> turns = data::prompt_turns(record, data);
    // A template that opens the thinking leaves the model to close it: whoever reads the answer should see both.
    const std::string opening = data::opened_thinking(loaded.chat->render(turns, /*add_generation_prompt=*/true));
    json messages = json::array();
    for (const text::Message& turn : turns) messages.push_back({{"role", turn.role}, {"content", turn.content}});
    messages.push_back({{"role", "assistant"}, {"content", opening + response}});
    json line = {{"messages", messages},
                 {"finished", completion.finished},
                 {"response_tokens", completion.ids.size()},
                 {"empty", base::trim(response).empty()}};
    const std::string reference = reference_of(record);
    if (!reference.empty()) {
      const bool known = completion.finished || !answer::ends_inside_answer(response);
      line["reference"] = reference;
      line["correct"] = known && data::check_response(record, response);
    }
    if (!record.family.empty()) line["family"] = record.family;
    return line;
  }

  bool is_kept(const json& line) const {
    if (line["empty"].get<bool>()) return false;
    if (config_.keep == "finished") return line["finished"].get<bool>();
    return config_.keep == "all" || line.value("correct", false);
  }

  /// All parts in order, without what is not kept.
  void join_parts(StageRun& run, int64_t count) const {
    base::AtomicFile file(run.folder / kFile);
    int64_t answers = 0, kept = 0, finished = 0, checked = 0, correct = 0, tokens = 0;
    for (int64_t begin = 0; begin < count; begin += config_.prompts_per_part) {
      for (const std::string& text : base::split(base::read_file(part_file(run, begin)), '\n')) {
        if (text.empty()) continue;
        json line = io::parse_json(text, part_file(run, begin).string());
        ++answers;
        finished += line["finished"].get<bool>() ? 1 : 0;
        checked += line.contains("correct") ? 1 : 0;
        correct += line.value("correct", false) ? 1 : 0;
        tokens += line["response_tokens"].get<int64_t>();
        if (!is_kept(line)) continue;
        ++kept;
        line.erase("empty");
        file.append(line.dump() + "\n");
      }
    }
    if (kept == 0) {
      throw base::DataError(cat("stage ", run.id, ": none of ", answers, " answers is kept (keep: ", config_.keep, "; ",
                                finished, " finished, ", correct, " correct); ask for more answers, raise ",
                                "sampling.max_new_tokens, or keep all"));
    }
    file.commit();
    const auto share = [&](int64_t part, int64_t all) {
      return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, all));
    };
    json& summary = *run.summary;
    summary = {{"problems", count},
               {"answers", answers},
               {"kept", kept},
               {"cut_share", 1 - share(finished, answers)},
               {"mean_response_tokens", share(tokens, answers)}};
    if (checked > 0) summary["correct_share"] = share(correct, checked);
    base::log_info(cat("stage ", run.id, ": ", kept, " of ", answers, " answers to ", count, " problems kept in ",
                       (run.folder / kFile).string(), "; ", answers - finished, " cut",
                       checked > 0 ? cat(", ", base::format_fixed(100 * share(correct, checked), 1), " % correct") : "",
                       ", mean length ", base::format_fixed(share(tokens, answers), 0), " tokens"));
  }

  SynthesizeConfig config_;
};

}  // namespace

base::Entry<Stage> synthesize_entry() {
  return base::make_entry<base::Entry<Stage>, SynthesizeConfig>(
      "synthesize",
      "a model answers the problems of a data entry, for calibration and distillation on its own words; the answers "
      "are "
      "data under the stage's id",
      "", [](const SynthesizeConfig& config) { return std::make_unique<SynthesizeStage>(config); });
}

}  // namespace rqat::pipeline
