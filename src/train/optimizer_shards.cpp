#include "optimizer_shards.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <sstream>

#include "rqat/base/strings.h"

namespace rqat::train {

namespace {

using base::cat;

/// Broadcasts under way at once; the owner holds the codes that it sends.
constexpr int64_t kWindowBytes = 256 << 20;

/// "name\tdtype\tsize size ...", one a line.
std::string list_text(const std::map<std::string, at::Tensor>& tensors) {
  std::string text;
  for (const auto& [name, tensor] : tensors) {
    text += cat(name, "\t", static_cast<int>(tensor.scalar_type()), "\t");
    for (const int64_t size : tensor.sizes()) text += cat(size, " ");
    text += "\n";
  }
  return text;
}

struct Listed {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> sizes;
};

std::vector<Listed> read_list(const std::string& text) {
  std::vector<Listed> entries;
  for (const std::string& line : base::split(text, '\n')) {
    if (line.empty()) continue;
    const std::vector<std::string> parts = base::split(line, '\t');
    Listed entry{parts.at(0), static_cast<at::ScalarType>(std::stoi(parts.at(1))), {}};
    std::istringstream sizes(parts.at(2));
    for (int64_t size = 0; sizes >> size;) entry.sizes.push_back(size);
    entries.push_back(std::move(entry));
  }
  return entries;
}

optim::Slot slot_of(nn::Parameter& parameter) {
  return {parameter.name, nn::role_name(parameter.role), &parameter.master, &parameter.grad};
}

}  // namespace

OptimizerShards::OptimizerShards(model::CausalLM& model, const nn::ParameterList& trained, int64_t stage,
                                 dist::Communicator& world)
    : sharded_(stage > 0 && !world.alone()), world_(world) {
  std::map<const nn::Parameter*, nn::LinearBase*> linear_of;
  for (nn::LinearBase* linear : model.linears()) {
    for (const nn::Parameter* parameter : linear->parameters()) linear_of[parameter] = linear;
  }
  std::map<const void*, int64_t> units;
  for (nn::Parameter* parameter : trained) {
    const auto found = linear_of.find(parameter);
    nn::LinearBase* linear = found == linear_of.end() ? nullptr : found->second;
    const void* whole = linear == nullptr ? static_cast<const void*>(parameter) : linear;
    const bool is_weight = linear != nullptr && linear->parameters().front() == parameter;
    const int64_t unit = units.emplace(whole, static_cast<int64_t>(units.size())).first->second;
    shards_.push_back({parameter, is_weight ? linear : nullptr, unit, 0, linear != nullptr && !is_weight});
  }
  if (!sharded_) return;
  deal(static_cast<int64_t>(units.size()));
  for (const Shard& shard : shards_) {
    if (!is_own(shard) && !shard.small) shard.parameter->release_master();
  }
  share();
}

void OptimizerShards::deal(int64_t units) {
  std::vector<int64_t> sizes(static_cast<size_t>(units));
  for (const Shard& shard : shards_) sizes[static_cast<size_t>(shard.unit)] += shard.parameter->master.numel();
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int64_t> load(static_cast<size_t>(world_.size()));
  std::vector<int> owner(sizes.size());
  for (const size_t unit : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owner[unit] = static_cast<int>(least - load.begin());
    *least += sizes[unit];
  }
  for (Shard& shard : shards_) shard.owner = owner[static_cast<size_t>(shard.unit)];
}

std::vector<optim::Slot> OptimizerShards::all() const {
  std::vector<optim::Slot> slots;
  for (const Shard& shard : shards_) slots.push_back(slot_of(*shard.parameter));
  return slots;
}

std::vector<optim::Slot> OptimizerShards::own() const {
  std::vector<optim::Slot> slots;
  for (const Shard& shard : shards_) {
    if (is_own(shard)) slots.push_back(slot_of(*shard.parameter));
  }
  return slots;
}

std::vector<double> OptimizerShards::over_ranks(const std::vector<double>& of_own) const {
  if (!sharded_) return of_own;
  const at::Tensor numbers = at::zeros({static_cast<int64_t>(shards_.size())}, at::kDouble);
  auto* number = numbers.mutable_data_ptr<double>();
  auto next = of_own.begin();
  for (const Shard& shard : shards_) {
    if (is_own(shard)) *number = *next++;
    ++number;
  }
  world_.all_reduce(numbers);  // one rank adds a number to zeros: nothing is rounded
  const auto* first = numbers.const_data_ptr<double>();
  return {first, first + shards_.size()};
}

void OptimizerShards::share() {
  if (!sharded_) return;
  const at::NoGradGuard no_grad;
  std::vector<dist::Pending> pending;
  int64_t bytes = 0;
  const auto wait = [&] {
    for (dist::Pending& one : pending) one.wait();
    pending.clear();
    bytes = 0;
  };
  for (const Shard& shard : shards_) {
    const at::Tensor tensor = shard.small                  ? shard.parameter->master
                              : shard.weight_of != nullptr ? shard.weight_of->shared_weight()
                                                           : shard.parameter->shared_value();
    bytes += static_cast<int64_t>(tensor.nbytes());
    pending.push_back(world_.start_broadcast(tensor, shard.owner));
    if (bytes > kWindowBytes) wait();
  }
  wait();
}

std::map<std::string, at::Tensor> OptimizerShards::gather(const std::map<std::string, at::Tensor>& own) const {
  if (!sharded_) return own;
  std::map<std::string, at::Tensor> whole = own;
  const std::vector<std::string> lists = world_.all_gather_text(list_text(own));
  at::Device device = at::kCPU;
  for (const Shard& shard : shards_) {
    if (shard.parameter->grad.defined()) device = shard.parameter->grad.device();
  }
  for (int owner = 0; owner < world_.size(); ++owner) {
    for (const Listed& entry : read_list(lists[static_cast<size_t>(owner)])) {
      const bool mine = owner == world_.rank();
      at::Tensor tensor = mine ? own.at(entry.name).to(device).contiguous()
                               : at::empty(entry.sizes, at::TensorOptions(device).dtype(entry.dtype));
      world_.broadcast(tensor, owner);
      // The other ranks lend a hand only: the main rank writes. A GPU that shards its state has no room for all of it.
      if (world_.is_main()) whole[entry.name] = tensor.cpu();
    }
  }
  return whole;
}

std::map<std::string, at::Tensor> OptimizerShards::own_state(const std::map<std::string, at::Tensor>& whole) const {
  std::set<std::string> elsewhere;
  for (const Shard& shard : shards_) {
    if (!is_own(shard)) elsewhere.insert(shard.parameter->name);
  }
  // Entries of no parameter at all are passed on: the optimizer tells what it thinks of them.
  std::map<std::string, at::Tensor> own;
  for (const auto& [name, tensor] : whole) {
    const size_t dot = name.find('.');
    if (dot == std::string::npos || elsewhere.count(name.substr(dot + 1)) == 0) own[name] = tensor;
  }
  return own;
}

void OptimizerShards::gather_masters() {
  if (!sharded_) return;
  const at::NoGradGuard no_grad;
  for (Shard& shard : shards_) {
    if (shard.weight_of == nullptr) continue;
    const nn::LinearSpec& spec = shard.weight_of->spec();
    nn::Parameter& parameter = *shard.parameter;
    at::Tensor master = is_own(shard) ? parameter.master
                                      : at::empty({spec.out_features, spec.in_features},
                                                  shard.weight_of->dense_weight().options().dtype(at::kFloat));
    world_.broadcast(master, shard.owner);
    if (!world_.is_main() || is_own(shard)) continue;
    parameter.elsewhere = false;
    parameter.master = std::move(master);
  }
}

}  // namespace rqat::train
