#include "block_walker.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "rqat/base/error.h"
#include "rqat/base/pulse.h"
#include "rqat/ops/linear.h"

namespace rqat::ptq {

namespace {

/// Leaves a block's forward once the wanted inputs have been seen: what comes after them would be thrown away.
struct ForwardDone {};

/// Observers of linears that go when the scope ends, however it ends.
class Observers {
 public:
  using Function = std::function<void(const at::Tensor&)>;
  Observers() = default;
  Observers(const Observers&) = delete;
  Observers& operator=(const Observers&) = delete;
  ~Observers() {
    for (nn::LinearBase* layer : layers_) layer->set_input_observer({});
  }
  void add(nn::LinearBase* layer, Function function) {
    layer->set_input_observer(std::move(function));
    layers_.push_back(layer);
  }

 private:
  std::vector<nn::LinearBase*> layers_;
};

}  // namespace

namespace {

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }
std::string place_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

/// Groups layers that no input has reached - experts that were not picked - as their like were.
void add_unreached(const std::vector<nn::LinearBase*>& layers, std::vector<InputGroup>& groups) {
  std::map<std::string, size_t> kind;  // of input, by the last part of a layer's name
  std::set<nn::LinearBase*> reached;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (nn::LinearBase* layer : groups[i]) {
      kind.emplace(last_part(layer->name()), i);
      reached.insert(layer);
    }
  }
  std::map<std::pair<std::string, size_t>, size_t> places;
  for (nn::LinearBase* layer : layers) {
    if (reached.count(layer)) continue;
    const std::pair<std::string, size_t> key{place_of(layer->name()), kind.at(last_part(layer->name()))};
    const auto [place, fresh] = places.emplace(key, groups.size());
    if (fresh) groups.emplace_back();
    groups[place->second].push_back(layer);
  }
}

}  // namespace

BlockWalker::BlockWalker(model::CausalLM& model, const Calibration& calibration, dist::Communicator& world)
    : model_(model), world_(world) {
  if (calibration.empty()) throw base::DataError("calibration: no sequences; name a data set with at least one");
  const at::NoGradGuard no_grad;
  const auto [begin, end] = world.share(static_cast<int64_t>(calibration.size()));
  for (int64_t index = begin; index < end; ++index) {
    const nn::TokenBatch& batch = calibration[static_cast<size_t>(index)];
    contexts_.push_back(model_.context(batch));
    hidden_.push_back(model_.embed(batch));
  }
}

std::vector<InputGroup> BlockWalker::input_groups() {
  const at::NoGradGuard no_grad;
  const std::vector<nn::LinearBase*> layers = model_.block_linears(block_);
  std::vector<InputGroup> groups;
  at::Tensor last;  // held, so that no later input can have its address
  Observers observers;
  for (nn::LinearBase* layer : layers) {
    observers.add(layer, [&groups, &last, layer](const at::Tensor& x) {
      if (!last.is_same(x)) groups.emplace_back();
      last = x;
      groups.back().push_back(layer);
    });
  }
  const nn::TokenBatch probe = nn::make_token_batch({{0}}).to(model_.device());
  model_.forward_block(block_, model_.embed(probe), model_.context(probe));
  add_unreached(layers, groups);
  // The compiler chooses which of two function arguments (gate, up) is evaluated first.
  const auto place = [&](nn::LinearBase* layer) { return std::find(layers.begin(), layers.end(), layer); };
  for (InputGroup& group : groups) {
    std::sort(group.begin(), group.end(), [&](nn::LinearBase* a, nn::LinearBase* b) { return place(a) < place(b); });
  }
  return groups;
}

std::vector<at::Tensor> BlockWalker::hessians(const std::vector<nn::LinearBase*>& layers) {
  const at::NoGradGuard no_grad;
  const base::PulseSection steady;
  std::vector<at::Tensor> sums(layers.size());
  std::vector<double> rows(layers.size());
  size_t seen = 0;
  Observers observers;
  for (size_t i = 0; i < layers.size(); ++i) {
    observers.add(layers[i], [&, i](const at::Tensor& x) {
      const at::Tensor matrix = x.reshape({-1, x.size(-1)});
      if (!sums[i].defined()) sums[i] = at::zeros({matrix.size(1), matrix.size(1)}, matrix.options().dtype(at::kFloat));
      ops::accumulate_tn(sums[i], matrix, matrix);
      rows[i] += static_cast<double>(matrix.size(0));
      if (++seen == layers.size()) throw ForwardDone();
    });
  }
  for (size_t batch = 0; batch < hidden_.size(); ++batch) {
    seen = 0;
    try {
      forward(batch);
    } catch (const ForwardDone&) {
    }
  }
  const at::TensorOptions options = at::TensorOptions(model_.device()).dtype(at::kFloat);
  for (size_t i = 0; i < layers.size(); ++i) {
    // A rank without sequences has seen no input, and no token may have been sent to an expert.
    const int64_t width = layers[i]->spec().in_features;
    if (!sums[i].defined()) sums[i] = at::zeros({width, width}, options);
  }
  add_over_ranks(sums, rows);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (rows[i] == 0)
      sums[i].fill_diagonal_(1);
    else
      sums[i].mul_(2.0 / rows[i]);
  }
  return sums;
}

void BlockWalker::add_over_ranks(std::vector<at::Tensor>& sums, std::vector<double>& rows) const {
  if (world_.alone()) return;
  std::vector<dist::Pending> pending;
  std::map<std::string, double> named;
  for (size_t i = 0; i < sums.size(); ++i) {
    pending.push_back(world_.start_all_reduce(sums[i]));
    named[std::to_string(i)] = rows[i];
  }
  for (dist::Pending& one : pending) one.wait();
  named = world_.sum(named);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = named.at(std::to_string(i));
}

void BlockWalker::advance() {
  const at::NoGradGuard no_grad;
  const base::PulseSection steady;
  for (size_t batch = 0; batch < hidden_.size(); ++batch) hidden_[batch] = forward(batch);
  ++block_;
}

}  // namespace rqat::ptq
