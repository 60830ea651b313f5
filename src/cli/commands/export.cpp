#include "rqat/export/exporter.h"

#include <algorithm>
#include <iostream>

#include "rqat/cli/command.h"
#include "rqat/io/shard_size.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct ExportOptions : base::Config {
  std::string model, out, device = "auto", check_engine, max_shard_size = io::kDefaultShardSize;
  base::Component format;
  bool overwrite = false;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder, quantized or not");
    v.required("model");
    v.component("format", format, exporting::exporters(), "file format (`rqat list exporters`)");
    v.required("format");
    v.field("out", out, "folder to write; may be left out with --check-engine, which then only answers");
    v.field("check_engine", check_engine,
            "engine that must load the files, by static rules: vllm, sglang, llama.cpp, transformers, mlx");
    v.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute the comparison");
    v.field("max_shard_size", max_shard_size, "largest file of weights, unless one tensor is larger: 300MB, 5GB, 1GiB");
    v.field("overwrite", overwrite, "replace a model folder that stands there");
  }
  std::vector<std::string> check() const override { return io::shard_size_faults(max_shard_size); }
};

class Export : public Command {
 public:
  explicit Export(ExportOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Writes a model for a serving engine, with the very codes that were trained, then reads the files back and "
        "compares codes "
        "and logits. What does not read back equal is not left there. Prints what the layers were stored as, and the "
        "line that serves the files.",
        {"rqat export --model runs/quickstart/rl --format compressed_tensors --out exported/w2",
         "rqat export --model runs/quickstart/rl --format gguf --check-engine llama.cpp"},
        {}};
  }

  void run() override {
    if (options_.out.empty() && options_.check_engine.empty()) {
      throw base::UsageError(
          "--out is missing: name the folder to write (or --check-engine to ask about an engine alone)");
    }
    if (!options_.out.empty()) require_free(options_.out, options_.overwrite, {options_.model});
    const ScratchFolder scratch;
    pipeline::LoadOptions load;
    load.device = pipeline::pick_device(options_.device);
    load.with_tokenizer = false;
    load.with_masters = false;
    const pipeline::LoadedModel loaded = pipeline::load_model_folder(as_model_folder(options_.model, scratch), load);
    const auto exporter = exporting::exporters().make(options_.format);
    exporter->set_max_shard_bytes(io::shard_bytes(options_.max_shard_size));
    if (options_.out.empty()) {
      answer(*exporter, *loaded.model);
      return;
    }
    const auto [report, trip] = exporting::export_model(*exporter, options_.format.name, *loaded.model, loaded.folder,
                                                        options_.out, options_.check_engine, {probe(*loaded.model)});
    print(report);
    std::cout << options_.out << ": " << base::format_bytes(report.total_bytes) << "; " << trip.text() << "\n";
    if (!report.serve_command.empty()) std::cout << "serve with: " << report.serve_command << "\n";
    for (const std::string& note : report.notes) std::cout << "note: " << note << "\n";
  }

 private:
  /// Whether the engine loads what would be written.
  void answer(const exporting::Exporter& exporter, model::CausalLM& model) const {
    const std::vector<std::string> faults = exporting::export_faults(exporter, model, options_.check_engine);
    if (!faults.empty()) {
      throw base::ConfigError(base::cat(options_.check_engine, " cannot serve this model as ", options_.format.name,
                                        ":\n  ", base::join(faults, "\n  ")));
    }
    const exporting::EngineAdvice advice = exporter.advise(options_.check_engine, model, "DIR");
    std::cout << options_.check_engine << " loads " << options_.format.name << " of this model: " << advice.command
              << "\n";
    for (const std::string& note : advice.notes) std::cout << "note: " << note << "\n";
  }

  /// Layers of all blocks (and experts) that are called and stored alike.
  struct Alike {
    std::string name, format, stored_as;
    int64_t count = 0, bytes = 0;
  };

  static std::vector<Alike> alike(const exporting::ExportReport& report) {
    std::vector<Alike> kinds;
    for (const auto& layer : report.layers) {
      std::vector<std::string> parts = base::split(layer.name, '.');
      for (std::string& part : parts) {
        if (part.find_first_not_of("0123456789") == std::string::npos) part.assign(1, '*');
      }
      Alike kind{base::join(parts, "."), layer.format, layer.stored_as};
      auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Alike& other) {
        return other.name == kind.name && other.format == kind.format && other.stored_as == kind.stored_as;
      });
      if (found == kinds.end()) found = kinds.insert(kinds.end(), std::move(kind));
      ++found->count;
      found->bytes += layer.bytes;
    }
    return kinds;
  }

  static void print(const exporting::ExportReport& report) {
    std::vector<std::vector<std::string>> rows{{"layers", "number", "format", "stored as", "size"}};
    for (const Alike& kind : alike(report))
      rows.push_back({kind.name, base::cat(kind.count), kind.format, kind.stored_as, base::format_bytes(kind.bytes)});
    std::cout << table_text(rows, {1, 4});
  }

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
      "export", "write files for a serving engine, read back and compared", "",
      [](const ExportOptions& options) { return std::make_unique<Export>(options); });
}

}  // namespace rqat::cli
