#include "kinds.h"

#include "rqat/cli/command.h"
#include "rqat/data/task.h"
#include "rqat/export/exporter.h"
#include "rqat/model/causal_lm.h"
#include "rqat/objective/objective.h"
#include "rqat/optim/optimizer.h"
#include "rqat/pipeline/stage.h"
#include "rqat/ptq/initializer.h"
#include "rqat/quant/estimator.h"
#include "rqat/quant/quantizer.h"
#include "rqat/rl/rollout.h"

namespace rqat::cli {

const std::vector<const base::RegistryBase*>& all_kinds() {
  static const std::vector<const base::RegistryBase*> kinds{
      &pipeline::stages(),  &data::tasks(),       &objective::objectives(), &optim::optimizers(), &quant::estimators(),
      &quant::quantizers(), &ptq::initializers(), &exporting::exporters(),  &rl::rewards(),       &model::families(),
      &commands()};
  return kinds;
}

const base::RegistryBase* find_kind(const std::string& kind) {
  for (const base::RegistryBase* registry : all_kinds()) {
    if (registry->kind() == kind) return registry;
  }
  return nullptr;
}

}  // namespace rqat::cli
