// Mistral 7B and others that call themselves "mistral".
#include "families/family_entry.h"

namespace rqat::model {
namespace {

class Mistral : public Family {
 public:
  void set_defaults(ModelConfig& config) const override { config.sliding_window = 4096; }
  std::vector<std::string> fields() const override { return {"hidden_act", "sliding_window"}; }
  DecoderOptions options(const ModelConfig& config) const override {
    DecoderOptions options = plain_options(config);
    for (LayerOptions& layer : options.layers) layer.window = config.sliding_window;
    return options;
  }
};

}  // namespace

FamilyEntry mistral_entry() {
  return family_entry<Mistral>("mistral", "Mistral: sliding window in every layer", "2310.06825");
}

}  // namespace rqat::model
