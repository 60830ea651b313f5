#pragma once

#include <ATen/ATen.h>

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "rqat/base/error.h"
#include "rqat/optim/optimizer.h"

namespace rqat::optim {

/// Parameters with their gradients, at addresses that stay.
class Parameters {
 public:
  void add(const std::string& name, const std::string& group, at::Tensor master) {
    tensors_.push_back({std::move(master), at::Tensor()});
    slots_.push_back({name, group, &tensors_.back().master, &tensors_.back().grad});
  }
  const std::vector<Slot>& slots() const { return slots_; }
  at::Tensor& master(size_t index) { return *slots_.at(index).master; }
  at::Tensor& grad(size_t index) { return *slots_.at(index).grad; }

 private:
  struct Tensors {
    at::Tensor master, grad;
  };
  std::list<Tensors> tensors_;
  std::vector<Slot> slots_;
};

inline std::unique_ptr<Optimizer> make_optimizer(const Parameters& parameters, const std::string& yaml = "{}",
                                                 const std::string& name = "adamw") {
  base::Component chosen(name);
  chosen.config = optimizers().find_info(name)->make_config();
  base::Faults faults;
  base::read_config(*chosen.config, base::Node::parse(yaml, "test"), name, faults);
  faults.raise("test");
  return optimizers().make(chosen, parameters.slots());
}

}  // namespace rqat::optim
