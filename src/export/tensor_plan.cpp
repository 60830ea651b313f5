#include "tensor_plan.h"

#include <ATen/ATen.h>

#include "rqat/base/progress.h"

namespace rqat::exporting {

int64_t TensorPlan::add(const std::string& name, at::ScalarType dtype, std::vector<int64_t> shape,
                        std::function<at::Tensor()> maker) {
  const int64_t bytes = c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
  layout_[name] = {dtype, std::move(shape)};
  make_[name] = std::move(maker);
  return bytes;
}

int64_t TensorPlan::add(const std::string& name, const at::Tensor& tensor) {
  return add(name, tensor.scalar_type(), tensor.sizes().vec(), [tensor] { return tensor; });
}

void TensorPlan::write(const std::filesystem::path& file) const {
  base::Progress progress("packing", static_cast<int64_t>(layout_.size()));
  int64_t done = 0;
  io::write_safetensors_streamed(file, layout_, [&](const std::string& name) {
    progress.update(++done);
    return make_.at(name)();
  });
}

}  // namespace rqat::exporting
