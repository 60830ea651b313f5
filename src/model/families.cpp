#include "families/family_entry.h"

namespace rqat::model {

#define RQAT_ENTRY(name) FamilyEntry name##_entry();
#include "families.def"
#undef RQAT_ENTRY

const base::Registry<Family>& families() {
  static const base::Registry<Family> registry("families", {
#define RQAT_ENTRY(name) name##_entry(),
#include "families.def"
#undef RQAT_ENTRY
                                                           });
  return registry;
}

DecoderOptions plain_options(const ModelConfig& config) {
  DecoderOptions options;
  if (config.hidden_act == "gelu_pytorch_tanh") options.activation = nn::GatedActivation::kGeluTanh;
  options.ropes = {config.rope};
  options.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  return options;
}

void set_windows(const ModelConfig& config, bool (*usual)(const ModelConfig&, int64_t layer), DecoderOptions& options) {
  if (config.local_rope) options.ropes.push_back(*config.local_rope);
  for (size_t layer = 0; layer < options.layers.size(); ++layer) {
    const bool slides = config.layer_types.empty() ? usual(config, static_cast<int64_t>(layer))
                                                   : config.layer_types.at(layer) == "sliding_attention";
    if (!slides) continue;
    options.layers[layer].window = config.sliding_window;
    if (config.local_rope) options.layers[layer].rope = 1;
  }
}

}  // namespace rqat::model
