#include "structure_check.h"

#include <algorithm>
#include <optional>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "rqat/export/exporter.h"
#include "rqat/export/import.h"
#include "rqat/pipeline/missing_model.h"
#include "rqat/pipeline/model_folder.h"
#include "rqat/pipeline/stage.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/policy.h"
#include "rqat/quant/state.h"
#include "rqat/train/trainer.h"

namespace rqat::cli {

namespace {

namespace fs = std::filesystem;
using base::cat;
using pipeline::Recipe;
using pipeline::StageEntry;

/// Where a model of the recipe comes from: its `models:` entry, and the policy of the quantize stage on the way, if
/// any.
struct Origin {
  std::string source, policy;
  bool act_order = false;  ///< the stage's initializer gives layers an input order
};

/// The initializer that a quantize stage names.
struct QuantizeInitializer : base::Config {
  base::Component initializer{"gptq"};
  void fields(base::FieldVisitor& v) override {
    v.component("initializer", initializer, ptq::initializers(), "how scales and codes are found");
  }
};

/// A component of a stage's settings, whose own struct its file keeps to itself.
template <class Part>
Part read_part(const StageEntry& entry, const std::string& key) {
  Part part;
  const base::Node settings = base::write_config(*entry.config);
  const base::Node* written = settings.find(key);
  if (written == nullptr) return part;
  base::Node node = base::Node::map(entry.where);
  node.set(key, *written);
  base::Faults faults;
  base::read_config(part, node, cat("stages.", entry.id), faults);
  faults.raise(cat(entry.type, " stage"));
  return part;
}

Origin origin_of(const Recipe& recipe, std::string id) {
  Origin origin;
  while (recipe.models.count(id) == 0) {
    const pipeline::Uses uses = recipe.find_stage(id)->stage->uses();
    if (origin.policy.empty() && !uses.quant.empty()) {
      origin.policy = uses.quant.front();
      const auto part = read_part<QuantizeInitializer>(*recipe.find_stage(id), "initializer");
      origin.act_order = ptq::initializers().make(part.initializer)->gives_act_order();
    }
    id = uses.models.front();
  }
  origin.source = id;
  return origin;
}

std::unique_ptr<model::CausalLM> build_on_meta(const fs::path& path, const quant::QuantPolicy* policy) {
  const base::Component estimator("ste");
  std::unique_ptr<nn::LayerFactory> factory = std::make_unique<nn::FloatLayerFactory>();
  const fs::path formats = path / "rqat_quant.json";
  if (policy != nullptr) {
    factory = std::make_unique<quant::QuantLayerFactory>(*policy, estimator);
  } else if (fs::exists(formats)) {
    factory = std::make_unique<quant::QuantLayerFactory>(
        quant::read_formats(base::read_file(formats), formats.string()), estimator);
  } else if (exporting::is_quantized_checkpoint(path)) {
    factory = std::make_unique<quant::QuantLayerFactory>(exporting::checkpoint_formats(path), estimator);
  }
  return std::make_unique<model::CausalLM>(pipeline::config_of(path), *factory, at::kBFloat16, at::kMeta);
}

/// The exporters an export stage names.
struct ExportFormats : base::Config {
  std::vector<base::Component> formats;
  void fields(base::FieldVisitor& v) override {
    v.components("formats", formats, exporting::exporters(), "file formats");
  }
};

/// Formats and target engine of an export stage; the engine is "" when any will do.
std::pair<std::vector<base::Component>, std::string> formats_of(const StageEntry& entry) {
  const base::Node settings = base::write_config(*entry.config);
  const base::Node* engine = settings.find("target_engine");
  const bool named = engine != nullptr && engine->value() != "any";
  return {read_part<ExportFormats>(entry, "formats").formats, named ? engine->value() : ""};
}

class Checker {
 public:
  explicit Checker(const Recipe& recipe) : recipe_(recipe) {}

  StructureReport run() {
    for (const auto& [id, source] : recipe_.models) look_at_source(id, source);
    for (const auto& [name, config] : recipe_.data) look_at_data(name, config);
    for (const StageEntry& entry : recipe_.stages) {
      if (entry.type == "quantize") check_policy(entry);
      if (entry.type == "export") check_export(entry);
      check_freeze(entry);
    }
    return report_;
  }

 private:
  void look_at_source(const std::string& id, const pipeline::ModelSource& source) {
    if (!fs::exists(source.path)) {
      report_.missing.push_back(cat("models.", id, ": '", source.path,
                                    "' does not exist; its structure was not checked",
                                    pipeline::missing_model_advice(source.path)));
      return;
    }
    const auto model = build_on_meta(source.path, nullptr);
    report_.notes.push_back(cat("models.", id, ": ", model->config().model_type, ", ", model->num_blocks(),
                                " blocks of width ", model->config().hidden_size, ", ", model->linears().size(),
                                " linears"));
  }

  /// The first record of a file is read, as the stages will read it.
  void look_at_data(const std::string& name, data::DataConfig config) {
    if (config.file.empty() || recipe_.maker_of_data(name) != nullptr) return;
    config.num_examples = 1;
    try {
      const data::Record first = data::load_records(config, recipe_.seed).at(0);
      for (const StageEntry& entry : recipe_.stages) look_at_record(entry, name, first);
    } catch (const base::IoError& error) {
      report_.missing.push_back(cat("data.", name, ".file: ", error.what(), "; its records were not looked at"));
    } catch (const base::Error& error) {
      report_.faults.push_back(cat(config.where.text(), ": data.", name, ": ", error.what()));
    }
  }

  void look_at_record(const StageEntry& entry, const std::string& name, const data::Record& record) {
    const std::vector<std::string> used = entry.stage->uses().data;
    if (std::find(used.begin(), used.end(), name) == used.end()) return;
    const bool answers = entry.type == "reinforce" || entry.type == "evaluate" || entry.type == "synthesize";
    if (answers && !record.text.empty())
      fault(entry, cat("data.", name, ": ", record.where, " is plain text, which has no prompt to answer"));
    if (entry.type == "train" && name == used.front() && record.text.empty() && record.response.empty())
      fault(entry, cat("data.", name, ": ", record.where, " has no response to learn; map one by `answer`"));
  }

  bool exists(const Origin& origin) const { return fs::exists(recipe_.models.at(origin.source).path); }

  void fault(const StageEntry& entry, const std::string& text) {
    report_.faults.push_back(cat(entry.where.text(), ": stages.", entry.id, ": ", text));
  }

  void check_policy(const StageEntry& entry) {
    const Origin origin = origin_of(recipe_, entry.id);
    if (origin.policy.empty() || !exists(origin)) return;
    const auto model = build_on_meta(recipe_.models.at(origin.source).path, nullptr);
    std::vector<nn::LinearSpec> specs;
    for (nn::LinearBase* linear : model->linears()) specs.push_back(linear->spec());
    for (const std::string& text : recipe_.quant.at(origin.policy).faults(specs))
      fault(entry, cat("quant.", origin.policy, ": ", text));
  }

  void check_freeze(const StageEntry& entry) {
    const auto* loop = dynamic_cast<const train::LoopConfig*>(entry.config.get());
    if (loop == nullptr || loop->tied_freeze_fault().empty()) return;
    const Origin origin = origin_of(recipe_, entry.stage->uses().models.front());
    if (!exists(origin) || !pipeline::config_of(recipe_.models.at(origin.source).path).tie_word_embeddings) return;
    fault(entry, loop->tied_freeze_fault());
  }

  void check_export(const StageEntry& entry) {
    const Origin origin = origin_of(recipe_, entry.stage->uses().models.front());
    if (!exists(origin)) return;
    std::optional<quant::QuantPolicy> policy;
    if (!origin.policy.empty()) {
      policy = recipe_.quant.at(origin.policy);
      policy->act_order = origin.act_order;
    }
    const auto model = build_on_meta(recipe_.models.at(origin.source).path, policy ? &*policy : nullptr);
    const auto [formats, engine] = formats_of(entry);
    for (const base::Component& format : formats) {
      const auto exporter = exporting::exporters().make(format);
      const std::vector<std::string> unfit = exporting::export_faults(*exporter, *model, "");
      for (const std::string& text : unfit) fault(entry, cat("format ", format.name, " cannot hold the model: ", text));
      if (!unfit.empty()) continue;
      for (const std::string& text : exporting::export_faults(*exporter, *model, engine)) {
        fault(entry, cat("target_engine ", engine, " cannot load format ", format.name, ": ", text));
      }
    }
  }

  const Recipe& recipe_;
  StructureReport report_;
};

}  // namespace

StructureReport check_structure(const Recipe& recipe) { return Checker(recipe).run(); }

void require_sound_structure(const Recipe& recipe) {
  const StructureReport report = check_structure(recipe);
  if (report.faults.empty()) return;
  throw base::ConfigError(cat("the recipe does not fit its models:\n  ", base::join(report.faults, "\n  ")));
}

}  // namespace rqat::cli
