#include "shared_layers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace rqat::ptq {

namespace {

int64_t size_of(const quant::FakeQuantLinear& layer) { return layer.spec().out_features * layer.spec().in_features; }

/// Which rank quantizes which layer: the largest first, to whoever has least.
std::vector<int> deal(const std::vector<quant::FakeQuantLinear*>& layers, int ranks) {
  std::vector<size_t> order(layers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return size_of(*layers[a]) > size_of(*layers[b]); });
  std::vector<int64_t> load(static_cast<size_t>(ranks));
  std::vector<int> owner(layers.size());
  for (const size_t layer : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owner[layer] = static_cast<int>(least - load.begin());
    *least += size_of(*layers[layer]);
  }
  return owner;
}

/// The layer as rank `owner` has it.
void take_over(quant::FakeQuantLinear& layer, dist::Communicator& world, int owner) {
  quant::QuantParams params = layer.params();
  at::Tensor master = layer.master_weight();
  const at::Tensor inputs = at::arange(layer.spec().in_features, master.options().dtype(at::kLong));
  const at::Tensor order = layer.input_order().defined() ? layer.input_order() : inputs.clone();
  if (world.rank() != owner) {
    params = {at::empty_like(params.scale), at::empty_like(params.zero_point)};
    master = at::empty_like(master);
  }
  for (const at::Tensor& tensor : {params.scale, params.zero_point, master, order}) world.broadcast(tensor, owner);
  if (world.rank() == owner) return;
  layer.set_quantization(params, master, at::equal(order, inputs) ? at::Tensor() : order);
}

LayerReport report_of(const quant::FakeQuantLinear& layer, const LayerReport& own, dist::Communicator& world,
                      int owner) {
  const at::Tensor numbers = at::tensor({own.error, own.rtn_error, own.fallback ? 1.0 : 0.0, own.seconds}, at::kDouble);
  world.broadcast(numbers, owner);
  const auto* number = numbers.const_data_ptr<double>();
  return {layer.name(), layer.format().text(), number[0],
          number[1],    number[2] != 0,        world.broadcast_text(own.note, owner),
          number[3]};
}

}  // namespace

void for_each_shared(const std::vector<quant::FakeQuantLinear*>& layers, dist::Communicator& world,
                     const std::function<LayerReport(quant::FakeQuantLinear&)>& quantize,
                     const std::function<void(LayerReport)>& done) {
  if (world.alone()) {
    for (quant::FakeQuantLinear* layer : layers) done(quantize(*layer));
    return;
  }
  const std::vector<int> owner = deal(layers, world.size());
  std::vector<LayerReport> own(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    if (owner[i] == world.rank()) own[i] = quantize(*layers[i]);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    take_over(*layers[i], world, owner[i]);
    done(report_of(*layers[i], own[i], world, owner[i]));
  }
}

}  // namespace rqat::ptq
