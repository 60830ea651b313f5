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

}  // namespace

OptimizerShards::OptimizerShards(std::vector<optim::Slot> slots, int64_t stage, dist::Communicator& world)
    : slots_(std::move(slots)), world_(world) {
  if (stage == 0 || world.alone()) return;
  std::vector<size_t> order(slots_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](size_t a, size_t b) { return slots_[a].master->numel() > slots_[b].master->numel(); });
  owner_.resize(slots_.size());
  std::vector<int64_t> load(static_cast<size_t>(world.size()));
  for (const size_t slot : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owner_[slot] = static_cast<int>(least - load.begin());
    *least += slots_[slot].master->numel();
  }
}

std::vector<optim::Slot> OptimizerShards::own() const {
  if (!sharded()) return slots_;
  std::vector<optim::Slot> own;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (owner_[i] == world_.rank()) own.push_back(slots_[i]);
  }
  return own;
}

void OptimizerShards::share_masters() {
  if (!sharded()) return;
  const at::NoGradGuard no_grad;
  std::vector<dist::Pending> pending;
  for (size_t i = 0; i < slots_.size(); ++i) pending.push_back(world_.start_broadcast(*slots_[i].master, owner_[i]));
  for (dist::Pending& one : pending) one.wait();
}

std::map<std::string, at::Tensor> OptimizerShards::whole_state(const std::map<std::string, at::Tensor>& own) const {
  if (!sharded()) return own;
  std::map<std::string, at::Tensor> whole = own;
  const std::vector<std::string> lists = world_.all_gather_text(list_text(own));
  const at::Device device = slots_.front().master->device();
  for (int owner = 0; owner < world_.size(); ++owner) {
    for (const Listed& entry : read_list(lists[static_cast<size_t>(owner)])) {
      const bool mine = owner == world_.rank();
      at::Tensor tensor = mine ? own.at(entry.name).to(device).clone()
                               : at::empty(entry.sizes, at::TensorOptions(device).dtype(entry.dtype));
      world_.broadcast(tensor, owner);
      // The other ranks lend a hand only: the main rank writes.
      if (!mine && world_.is_main()) whole[entry.name] = tensor;
    }
  }
  return whole;
}

std::map<std::string, at::Tensor> OptimizerShards::own_state(const std::map<std::string, at::Tensor>& whole) const {
  if (!sharded()) return whole;
  std::set<std::string> elsewhere;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (owner_[i] != world_.rank()) elsewhere.insert(slots_[i].name);
  }
  // Entries of no slot at all are passed on: the optimizer tells what it thinks of them.
  std::map<std::string, at::Tensor> own;
  for (const auto& [name, tensor] : whole) {
    const size_t dot = name.find('.');
    if (dot == std::string::npos || elsewhere.count(name.substr(dot + 1)) == 0) own[name] = tensor;
  }
  return own;
}

}  // namespace rqat::train
