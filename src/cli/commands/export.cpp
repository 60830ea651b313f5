#include "rqat/export/exporter.h"

#include <iostream>

#include "rqat/cli/command.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct ExportOptions : base::Config {
  std::string model, out, device = "auto";
  base::Component format;
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder, quantised or not");
    v.required("model");
    v.component("format", format, exporting::exporters(), "file format (`rqat list exporters`)");
    v.required("format");
    v.field("out", out, "folder to write");
    v.required("out");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute the comparison");
    v.field("overwrite", overwrite, "replace a model folder that stands there");
  }
};

class Export : public Command {
 public:
  explicit Export(ExportOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Writes a model for a serving engine, with the very codes that were trained, then reads the files back and "
        "compares codes "
        "and logits. What does not read back equal is not left there.",
        {"rqat export --model runs/quickstart/rl --format compressed_tensors --out exported/w2"},
        {}};
  }

  void run() override {
    require_free(options_.out, options_.overwrite);
    const ScratchFolder scratch;
    pipeline::LoadOptions load;
    load.device = pipeline::pick_device(options_.device);
    const pipeline::LoadedModel loaded = pipeline::load_model_folder(as_model_folder(options_.model, scratch), load);
    const auto exporter = exporting::exporters().make(options_.format);
    const std::vector<std::string> faults = exporter->check(loaded.model->linears());
    if (!faults.empty()) {
      throw base::ConfigError(base::cat(options_.format.name, " cannot hold this model: ", base::join(faults, "; ")));
    }
    const exporting::ExportReport report = exporter->write(*loaded.model, loaded.folder, options_.out);
    const exporting::RoundTrip trip =
        exporter->verify(*loaded.model, loaded.folder, options_.out, {probe(*loaded.model)});
    if (!trip.codes_equal) {
      std::filesystem::remove_all(options_.out);
      throw base::DataError(base::cat(options_.out, ": read back differs, removed: ", trip.text()));
    }
    std::cout << options_.out << ": " << base::format_bytes(report.total_bytes) << "; " << trip.text() << "\n";
    if (!report.serve_command.empty()) std::cout << "serve with: " << report.serve_command << "\n";
  }

 private:
  static std::vector<int64_t> probe(const model::CausalLM& model) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 48; ++i) ids.push_back((i * 7919 + 13) % model.config().vocab_size);
    return ids;
  }

  ExportOptions options_;
};

}  // namespace

base::Entry<Command> export_entry() {
  return base::make_entry<base::Entry<Command>, ExportOptions>(
      "export", "files for a serving engine, read back and compared", "",
      [](const ExportOptions& options) { return std::make_unique<Export>(options); });
}

}  // namespace rqat::cli
