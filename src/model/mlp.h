// The second half of a decoder block: one gated MLP, or a mixture of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rqat/model/decoder_options.h"
#include "rqat/model/model_config.h"
#include "rqat/nn/layer_factory.h"

namespace rqat::model {

class Mlp {
 public:
  virtual ~Mlp() = default;
  virtual at::Tensor forward(const at::Tensor& x_TD) = 0;
  virtual std::vector<nn::LinearBase*> linears() = 0;  ///< gate, up, down; of each expert in turn
  virtual nn::Parameter* router() { return nullptr; }  ///< [experts, D]; nullptr = there is none
};

/// `name` = "model.layers.3." The activation points "mlp_input" and "down_input" lie within.
std::unique_ptr<Mlp> make_mlp(const ModelConfig& config, const DecoderOptions& options, bool experts,
                              const std::string& name, nn::LayerFactory& factory);

}  // namespace rqat::model
