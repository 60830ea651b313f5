#include "gradient_sync.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <set>

namespace rqat::train {

namespace {

constexpr int64_t kBucketBytes = 25 << 20;

}  // namespace

GradientSync::GradientSync(model::CausalLM& model, dist::Communicator& world)
    : model_(model), world_(world), next_block_(model.num_blocks() - 1) {
  std::set<const nn::Parameter*> of_linears;
  for (nn::LinearBase* linear : model.linears()) {
    for (const nn::Parameter* parameter : linear->parameters()) of_linears.insert(parameter);
  }
  for (nn::Parameter* parameter : model.parameters()) {
    if (parameter->trainable && of_linears.count(parameter) == 0) others_.push_back(parameter);
  }
}

GradientSync::~GradientSync() {
  if (!world_.alone()) model_.set_block_backward_observer({});
}

void GradientSync::expect_last_backward() {
  if (world_.alone()) return;
  model_.set_block_backward_observer([this](int64_t index) { add_block(index); });
}

void GradientSync::add_block(int64_t index) {
  const at::NoGradGuard no_grad;
  for (nn::LinearBase* linear : model_.block_linears(index)) {
    for (const at::Tensor& gradient : linear->accumulated_gradients()) add(gradient);
  }
  next_block_ = index - 1;
}

void GradientSync::add(const at::Tensor& gradient) {
  open_.push_back(gradient);
  open_bytes_ += static_cast<int64_t>(gradient.nbytes());
  if (open_bytes_ >= kBucketBytes) send();
}

void GradientSync::send() {
  if (open_.empty()) return;
  Bucket bucket;
  bucket.parts = std::move(open_);
  if (bucket.parts.size() == 1 && bucket.parts.front().is_contiguous()) {
    bucket.flat = bucket.parts.front();
  } else {
    std::vector<at::Tensor> flat;
    for (const at::Tensor& part : bucket.parts) flat.push_back(part.reshape({-1}));
    bucket.flat = at::cat(flat);
  }
  bucket.sum = world_.start_all_reduce(bucket.flat);
  sent_.push_back(std::move(bucket));
  open_.clear();
  open_bytes_ = 0;
}

void GradientSync::finish() {
  if (world_.alone()) return;
  const at::NoGradGuard no_grad;
  model_.set_block_backward_observer({});
  // A rank without a micro-batch sends its zeros in the same order.
  while (next_block_ >= 0) add_block(next_block_);
  next_block_ = model_.num_blocks() - 1;
  for (nn::Parameter* parameter : others_) add(parameter->grad_buffer());
  send();
  for (Bucket& bucket : sent_) {
    bucket.sum.wait();
    if (bucket.flat.is_same(bucket.parts.front())) continue;
    int64_t begin = 0;
    for (at::Tensor& part : bucket.parts) {
      part.copy_(bucket.flat.narrow(0, begin, part.numel()).view(part.sizes()));
      begin += part.numel();
    }
  }
  sent_.clear();
}

}  // namespace rqat::train
