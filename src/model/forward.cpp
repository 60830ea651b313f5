#include "rqat/model/forward.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "rqat/base/error.h"
#include "rqat/base/strings.h"

namespace rqat::model {

at::Tensor forward_logits(CausalLM& model, const std::vector<std::vector<int64_t>>& ids) {
  const at::NoGradGuard no_grad;
  const nn::TokenBatch batch = nn::make_token_batch(ids).to(model.device());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].size() != ids[0].size()) {
      throw base::DataError(base::cat("token list ", i + 1, " has ", ids[i].size(), " ids, the first has ",
                                      ids[0].size(), "; expected lists of one length"));
    }
  }
  const auto count = static_cast<int64_t>(ids.size());
  return model.logits(model.hidden(batch)).view({count, batch.size() / count, model.config().vocab_size});
}

}  // namespace rqat::model
