// A command that several ranks run together.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "rqat/dist/communicator.h"

namespace rqat::cli {

/// Joins the ranks named by the environment (a world of one without), runs `work` and leaves in good order. An error is
/// told to the other ranks before it goes on. Ranks beside the main one show warnings only, unless they write into a
/// log.
void run_as_rank(at::Device device, const std::function<void(dist::Communicator& world)>& work);

}  // namespace rqat::cli
