#include "probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "calibration.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/io/json_file.h"
#include "rqat/io/safetensors.h"
#include "rqat/pipeline/estimate.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/estimator.h"
#include "rqat/train/trainer.h"
#include "settings_view.h"

namespace rqat::pipeline {

namespace {

namespace fs = std::filesystem;
using base::cat;
using base::Node;

constexpr double kProbeTokens = 1024;    ///< of one step; longer steps are scaled from it
constexpr int64_t kProbeNewTokens = 24;  ///< sampled per sequence

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Cost of `blocks` blocks from the costs of models with one and two.
double extrapolate(double one, double two, int64_t blocks) {
  return one + std::max(0.0, two - one) * static_cast<double>(blocks - 1);
}

/// Random weights of the model that config.json in `folder` describes.
void write_random_weights(const fs::path& folder) {
  nn::FloatLayerFactory factory;
  model::CausalLM structure(model::read_model_config(folder), factory, at::kBFloat16, at::kMeta);
  io::TensorMap weights;
  for (const auto& [name, shape] : structure.weight_shapes()) {
    weights[name] =
        shape.size() == 1 ? at::ones(shape, at::kBFloat16) : at::empty(shape, at::kBFloat16).normal_(0, 0.02);
  }
  io::write_safetensors(folder / "model.safetensors", weights);
}

/// The settings of `ConfigT` among those of a stage.
template <class ConfigT>
void read_part(const Node& settings, ConfigT& config) {
  Node part = Node::map();
  for (const base::FieldInfo& info : base::describe_config(config)) {
    const std::string key = info.key.substr(0, info.key.find('.'));
    if (const Node* node = settings.find(key)) part.set(key, *node);
  }
  base::Faults faults;
  base::read_config(config, part, "", faults);
  faults.raise("probe");
}

}  // namespace

/// Where a stage's model starts: configuration, tokenizer, and the examples that were encoded with it.
struct Probe::Source {
  fs::path folder;
  int64_t blocks = 0;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::ChatTemplate> chat;
};

Probe::Probe(const Recipe& recipe) : recipe_(recipe) {}
Probe::~Probe() = default;

const Probe::Source& Probe::source_of(const std::string& model) {
  std::string id = model;
  while (const StageEntry* stage = recipe_.find_stage(id)) id = stage->stage->uses().models.front();
  const auto known = sources_.find(id);
  if (known != sources_.end()) return known->second;
  Source source;
  source.folder = recipe_.models.at(id).path;
  if (needs_import(source.folder)) {
    const fs::path imported = fs::path(recipe_.output_dir) / id;  // of an earlier run
    fs::path folder = fs::exists(imported / "stage.json") ? imported : scratch_.path() / id;
    if (!fs::exists(folder)) import_model(source.folder, folder, "bfloat16");
    source.folder = std::move(folder);
  }
  source.blocks = model::read_model_config(source.folder).num_hidden_layers;
  source.tokenizer = text::load_tokenizer(source.folder);
  source.chat = text::load_chat_template(source.folder);
  return sources_.emplace(id, std::move(source)).first->second;
}

fs::path Probe::small_model(const Source& source, int64_t blocks) {
  fs::path folder =
      scratch_.path() / cat(base::hex64(base::stable_hash(source.folder.string())), "_", blocks, "_blocks");
  if (fs::exists(folder)) return folder;
  fs::create_directories(folder);
  copy_model_files(source.folder, folder);
  nlohmann::json config = io::read_json(folder / "config.json");
  config["num_hidden_layers"] = blocks;
  config.erase("layer_types");  // one entry per layer
  io::write_json(folder / "config.json", config);
  write_random_weights(folder);
  return folder;
}

const quant::QuantPolicy* Probe::policy_of(const std::string& model) const {
  std::string id = model;
  while (const StageEntry* stage = recipe_.find_stage(id)) {
    const Uses uses = stage->stage->uses();
    if (!uses.quant.empty()) return &recipe_.quant.at(uses.quant.front());
    id = uses.models.front();
  }
  return nullptr;
}

StageWork Probe::measure(const StageEntry& entry) {
  const std::vector<std::string> models = entry.stage->uses().models;
  if (models.empty() || !source_config(recipe_, models.front())) return {};
  if (entry.type == "train") return train(entry);
  if (entry.type == "quantize") return quantize(entry);
  if (entry.type == "reinforce") return reinforce(entry);
  if (entry.type == "evaluate") return evaluate(entry);
  if (entry.type == "synthesize") return synthesize(entry);
  return {};
}

const data::DataConfig& Probe::data_of(const std::string& name) const {
  for (const std::string& part : recipe_.parts_of_data(name)) {
    const StageEntry* maker = recipe_.maker_of_data(part);
    if (maker != nullptr && !fs::exists(recipe_.data.at(part).file)) return data_of(maker->stage->uses().data.front());
  }
  return recipe_.data.at(name);
}

double Probe::step_seconds(const StageEntry& entry, const Node& settings, const std::string& objective,
                           const std::string& companion, double tokens_per_step) {
  const std::string model = entry.stage->uses().models.front();
  const Source& source = source_of(model);
  LoadOptions options;
  options.device = pick_device(recipe_.device);
  options.policy = policy_of(model);
  options.estimator = component_of(settings, "estimator", quant::estimators());
  options.with_tokenizer = false;
  // Examples of 128 tokens of which the second half counts.
  const auto count = static_cast<int64_t>(std::max(1.0, std::min(tokens_per_step, kProbeTokens) / 128));
  std::vector<data::Example> examples(static_cast<size_t>(count));
  for (data::Example& example : examples) {
    for (int64_t i = 0; i < 128; ++i) example.ids.push_back(10 + (i * 37) % 200);
    example.loss_mask.assign(128, 0);
    std::fill(example.loss_mask.begin() + 64, example.loss_mask.end(), 1);
  }
  double best[2];
  for (int64_t blocks : {1, 2}) {
    LoadedModel student = load_model_folder(small_model(source, blocks), options);
    LoadedModel teacher;
    if (!companion.empty()) {
      LoadOptions plain = options;
      plain.policy = nullptr;
      teacher = load_model_folder(small_model(source_of(companion), blocks), plain);
    }
    train::SupervisedConfig config;
    if (objective.empty()) {
      read_part(settings, config);
    } else {
      train::LoopConfig& loop = config;
      read_part(settings, loop);
      config.objective = base::Component(objective);
    }
    config.max_steps = 4;
    config.batch_size = count;
    config.logging_steps = 1;
    config.eval_steps = 0;
    config.divergence_factor = 0;
    double& seconds = best[blocks - 1];
    seconds = 1e30;
    train::Callbacks callbacks;
    callbacks.on_metrics = [&](int64_t step, const train::Metrics& metrics) {
      if (step > 0) seconds = std::min(seconds, metrics.at("step_seconds"));
    };
    train::train_supervised(*student.model, teacher.model.get(), examples, config, 1, callbacks);
  }
  const double scale = std::max(1.0, tokens_per_step / (128.0 * static_cast<double>(count)));
  return extrapolate(best[0], best[1], source.blocks) * scale;
}

double Probe::sampled_tokens_per_second(const std::string& model, const std::string& data, int64_t sequences) {
  const Source& source = source_of(model);
  const quant::QuantPolicy* policy = policy_of(model);
  const std::string key =
      cat(source.folder.string(), "/", policy == nullptr ? "float" : policy->text(), "/", sequences);
  const auto known = sampling_.find(key);
  if (known != sampling_.end()) return known->second;
  data::DataConfig some = data_of(data);
  some.num_examples = 1;
  const std::vector<data::Record> records = data::load_records(some, recipe_.seed);
  const generate::Request request{data::encode_prompt(records.front(), some, *source.tokenizer, *source.chat),
                                  sequences};
  double seconds[2];
  for (int64_t blocks : {1, 2}) {
    LoadOptions options;
    options.device = pick_device(recipe_.device);
    options.policy = policy;
    options.with_tokenizer = false;
    LoadedModel loaded = load_model_folder(small_model(source, blocks), options);
    loaded.model->set_execution(nn::Execution::kPacked);
    const int64_t length = static_cast<int64_t>(request.prompt.size()) + kProbeNewTokens;
    generate::Engine engine(*loaded.model, {}, sequences, length);  // no stop token: all sequences stay alive
    generate::SamplingConfig sampling;
    sampling.max_new_tokens = kProbeNewTokens;
    const double start = seconds_now();
    engine.generate({request}, sampling, 1);
    seconds[blocks - 1] = seconds_now() - start;
  }
  const double whole = extrapolate(seconds[0], seconds[1], source.blocks);
  return sampling_[key] = static_cast<double>(sequences * kProbeNewTokens) / whole;
}

Probe::Lengths Probe::lengths_of(const std::string& model, const std::string& data) {
  const Source& source = source_of(model);
  data::DataConfig some = data_of(data);
  some.num_examples = std::min<int64_t>(some.num_examples.value_or(64), 64);
  const std::vector<data::Record> records = data::load_records(some, recipe_.seed);
  Lengths lengths;
  for (const data::Record& record : records) {
    lengths.prompt += static_cast<double>(data::encode_prompt(record, some, *source.tokenizer, *source.chat).size());
    if (!record.response.empty())
      lengths.response += static_cast<double>(source.tokenizer->encode(record.response).size()) + 1;
  }
  lengths.prompt /= static_cast<double>(records.size());
  lengths.response /= static_cast<double>(records.size());
  return lengths;
}

/// As perplexity and KL are measured: hidden states of all tokens, logits of half of them.
double Probe::forward_tokens_per_second(const std::string& model) {
  const Source& source = source_of(model);
  const auto known = forward_.find(source.folder.string());
  if (known != forward_.end()) return known->second;
  const at::NoGradGuard no_grad;
  constexpr int64_t kRows = 8, kLength = 128;
  const std::vector<int64_t> row(kLength, 11);
  double best[2];
  for (int64_t blocks : {1, 2}) {
    LoadOptions options;
    options.device = pick_device(recipe_.device);
    options.with_tokenizer = false;
    LoadedModel loaded = load_model_folder(small_model(source, blocks), options);
    const nn::TokenBatch batch = nn::make_token_batch(std::vector(kRows, row)).to(options.device);
    double& seconds = best[blocks - 1];
    seconds = 1e30;
    for (int repetition = 0; repetition < 3; ++repetition) {
      const double start = seconds_now();
      loaded.model->logits(loaded.model->hidden(batch).slice(0, 0, kRows * kLength / 2));
      seconds = std::min(seconds, seconds_now() - start);
    }
  }
  const double whole = extrapolate(best[0], best[1], source.blocks);
  return forward_[source.folder.string()] = static_cast<double>(kRows * kLength) / whole;
}

double Probe::example_tokens(const StageEntry& entry, const std::string& data) {
  const std::string model = entry.stage->uses().models.front();
  data::DataConfig some = data_of(data);
  if (&data_of(data) != &recipe_.data.at(data)) {
    // A stage will write the answers.
    const Lengths lengths = lengths_of(model, data);
    return lengths.prompt + (lengths.response > 0 ? lengths.response : static_cast<double>(some.max_length) / 2);
  }
  some.num_examples = std::min<int64_t>(some.num_examples.value_or(64), 64);
  const Source& source = source_of(model);
  const std::vector<data::Example> examples =
      data::encode_examples(data::load_records(some, recipe_.seed), some, *source.tokenizer, *source.chat);
  double tokens = 0;
  for (const data::Example& example : examples) tokens += static_cast<double>(example.ids.size());
  return tokens / static_cast<double>(examples.size());
}

StageWork Probe::train(const StageEntry& entry) {
  const Node settings = base::write_config(*entry.config);
  const double tokens = example_tokens(entry, text_at(settings, "data"));
  const double steps = number_at(settings, "max_steps", 0), batch = number_at(settings, "batch_size", 1);
  StageWork work;
  work.tokens = steps * batch * tokens;
  work.seconds = steps * step_seconds(entry, settings, "", text_at(settings, "teacher"), batch * tokens);
  work.what = cat(steps, " steps x ", batch, " examples of ", base::format_fixed(tokens, 0), " tokens");
  return work;
}

StageWork Probe::quantize(const StageEntry& entry) {
  const Node settings = base::write_config(*entry.config);
  const Source& source = source_of(entry.stage->uses().models.front());
  const base::Component initializer = component_of(settings, "initializer", ptq::initializers());
  LoadOptions options;
  options.device = pick_device(recipe_.device);
  options.policy = &recipe_.quant.at(text_at(settings, "quant"));
  options.with_tokenizer = false;
  LoadedModel loaded = load_model_folder(small_model(source, 1), options);
  StageWork work;
  ptq::Calibration batches;
  CalibrationConfig calibration;
  base::Faults faults;
  base::read_config(calibration, *settings.find("calibration"), "", faults);
  if (!calibration.data.empty()) {
    const data::DataConfig& data = data_of(calibration.data);
    const bool is_there = &data == &recipe_.data.at(calibration.data);
    std::vector<std::vector<int64_t>> samples(static_cast<size_t>(calibration.num_samples));
    if (is_there) {
      samples = calibration_samples(calibration, data, *source.tokenizer, *source.chat, recipe_.seed);
    } else {
      const int64_t length = calibration.sequence_length > 0
                                 ? calibration.sequence_length
                                 : static_cast<int64_t>(example_tokens(entry, calibration.data));
      for (std::vector<int64_t>& sample : samples) sample.assign(static_cast<size_t>(length), 11);
    }
    for (const std::vector<int64_t>& sample : samples) work.tokens += static_cast<double>(sample.size());
    batches = calibration_batches(samples, calibration.max_tokens_per_batch, options.device);
  }
  const double start = seconds_now();
  ptq::initializers().make(initializer)->initialize(*loaded.model, batches, {});
  work.seconds = (seconds_now() - start) * static_cast<double>(source.blocks);
  work.what = cat(initializer.name, " of ", source.blocks * 7, " linears");
  return work;
}

StageWork Probe::reinforce(const StageEntry& entry) {
  const Node settings = base::write_config(*entry.config);
  const std::string model = entry.stage->uses().models.front();
  const double steps = number_at(settings, "max_steps", 0), length = number_at(settings, "max_completion_length", 0);
  const double answers = number_at(settings, "prompts_per_step", 1) * number_at(settings, "num_generations", 1);
  const auto slots = static_cast<int64_t>(std::min(answers, number_at(settings, "max_slots", 1)));
  const double rate = sampled_tokens_per_second(model, text_at(settings, "data"), slots);
  StageWork work;
  const Lengths lengths = lengths_of(model, text_at(settings, "data"));
  const double answer = lengths.answer(length);
  // A group shares its prompt.
  const double trained = number_at(settings, "prompts_per_step", 1) * lengths.prompt + answers * answer;
  work.tokens = steps * answers * answer;
  work.seconds =
      work.tokens / rate + steps * number_at(settings, "num_iterations", 1) *
                               step_seconds(entry, settings, "cross_entropy", text_at(settings, "reference"), trained);
  work.what = cat(steps, " steps x ", answers, " answers of about ", base::format_fixed(answer, 0), " tokens");
  return work;
}

StageWork Probe::evaluate(const StageEntry& entry) {
  const Node settings = base::write_config(*entry.config);
  const Uses uses = entry.stage->uses();
  const double length = number_at(settings, "sampling.max_new_tokens", 0);
  double problems = 0, sampled = 0, read = 0;
  for (const std::string& name : uses.data) {
    const Lengths lengths = lengths_of(uses.models.front(), name);
    const auto count = static_cast<double>(data::count_records(data_of(name), recipe_.seed));
    problems += count;
    // Models that were trained for it answer as the data does, others up to the limit.
    sampled += count * (lengths.answer(length) + length) / 2;
    read += count * (lengths.prompt + lengths.response);
  }
  StageWork work;
  const double passes = text_at(settings, "teacher").empty() ? 1 : 2;
  const Node* models = settings.find("models");
  for (const Node& model : models->items()) {
    const auto slots = static_cast<int64_t>(std::min(problems, number_at(settings, "batch_size", 1)));
    work.tokens += sampled;
    work.seconds += sampled / sampled_tokens_per_second(model.value(), uses.data.front(), slots) +
                    passes * read / forward_tokens_per_second(model.value());
  }
  work.what = cat(models->items().size(), " models x ", problems, " answers of about ",
                  base::format_fixed(sampled / std::max(1.0, problems), 0), " tokens");
  return work;
}

StageWork Probe::synthesize(const StageEntry& entry) {
  const Node settings = base::write_config(*entry.config);
  const Uses uses = entry.stage->uses();
  const Lengths lengths = lengths_of(uses.models.front(), uses.data.front());
  const double answers = static_cast<double>(data::count_records(data_of(uses.data.front()), recipe_.seed)) *
                         number_at(settings, "num_generations", 1);
  const double answer = lengths.answer(number_at(settings, "sampling.max_new_tokens", 0));
  const auto slots = static_cast<int64_t>(std::min(answers, number_at(settings, "batch_size", 1)));
  StageWork work;
  work.tokens = answers * answer;
  work.seconds = work.tokens / sampled_tokens_per_second(uses.models.front(), uses.data.front(), slots);
  work.what = cat(answers, " answers of about ", base::format_fixed(answer, 0), " tokens");
  return work;
}

}  // namespace rqat::pipeline
