// Layers that do not depend on each other, quantised by several ranks.
#pragma once

#include <functional>
#include <vector>

#include "rqat/dist/communicator.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/fake_quant_linear.h"

namespace rqat::ptq {

/// Calls `quantize` for each layer, on one rank of `world`; the others take over its scales, zero points and master,
/// bit for bit. `done` gets the reports in the order of `layers`, on every rank. Layers are dealt out by the product of
/// rows and columns.
void for_each_shared(const std::vector<quant::FakeQuantLinear*>& layers, dist::Communicator& world,
                     const std::function<LayerReport(quant::FakeQuantLinear&)>& quantize,
                     const std::function<void(LayerReport)>& done);

}  // namespace rqat::ptq
