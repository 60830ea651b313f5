#include <algorithm>
#include <iostream>

#include "layer_table.h"
#include "rqat/cli/command.h"
#include "support.h"

namespace rqat::cli {

namespace {

struct InspectOptions : base::Config {
  std::string model, filter;
  void fields(base::FieldVisitor& v) override {
    v.field("model", model, "model folder, .safetensors file, or GGUF file");
    v.required("model");
    v.field("filter", filter, "show only tensors whose name has this text in it");
  }
};

class Inspect : public Command {
 public:
  explicit Inspect(InspectOptions options) : options_(std::move(options)) {}

  Usage usage() const override {
    return {
        "Shows what a model's files hold, without loading the model: for every layer its number format, shape, bits "
        "per weight "
        "(scales and zero points included), scales, zero points and size, and the totals.",
        {"rqat inspect runs/quickstart/gptq", "rqat inspect models/smollm2.gguf --filter blk.0."},
        {"model"}};
  }

  void run() override {
    const std::vector<LayerRow> rows = read_layer_rows(options_.model);
    std::vector<std::vector<std::string>> cells{
        {"tensor", "format", "shape", "bits/weight", "scale min/mean/max", "zero points", "size"}};
    int64_t bytes = 0, weights = 0;
    for (const LayerRow& row : rows) {
      if (row.name.find(options_.filter) == std::string::npos) continue;
      cells.push_back({row.name, row.format, row.shape, base::format_fixed(row.bits_per_weight(), 2), row.scales,
                       row.zero_points, base::format_bytes(row.bytes)});
      bytes += row.bytes;
      weights += row.weights;
    }
    if (cells.size() == 1)
      throw base::UsageError(base::cat("--filter: no tensor has '", options_.filter, "' in its name"));
    std::cout << table_text(cells, {3, 6}) << "\n"
              << cells.size() - 1 << " rows, " << weights << " weights, " << base::format_bytes(bytes) << ", "
              << base::format_fixed(
                     8.0 * static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(1, weights)), 2)
              << " bits per weight\n";
  }

 private:
  InspectOptions options_;
};

}  // namespace

base::Entry<Command> inspect_entry() {
  return base::make_entry<base::Entry<Command>, InspectOptions>(
      "inspect", "show formats, scales and sizes of every layer of a model's files", "",
      [](const InspectOptions& options) { return std::make_unique<Inspect>(options); });
}

}  // namespace rqat::cli
