// A decoder block that keeps only its input for the backward and computes the rest there once more.
#pragma once

#include <memory>

#include "decoder_block.h"
#include "rqat/nn/batch.h"

namespace rqat::model {

/// A forward's context that outlives it, for backwards that run blocks again.
struct KeptContext {
  nn::TokenBatch batch;
  ForwardContext forward;  ///< its batch is the one above
};
std::shared_ptr<const KeptContext> keep_context(const ForwardContext& context);

/// block.forward(hidden_TD, context) with the same output and the same gradients, bit for bit; of the block's
/// activations only hidden_TD is held until the backward, which takes one more forward of the block (1604.06174).
/// The block must outlive the graph.
at::Tensor checkpointed_forward(DecoderBlock& block, const at::Tensor& hidden_TD,
                                const std::shared_ptr<const KeptContext>& context);

}  // namespace rqat::model
