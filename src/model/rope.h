// How a checkpoint says that its heads are rotated.
#pragma once

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"

namespace carronade {

// Base, extent and scaling of the frequencies, under GGUF's keys "<architecture>.rope.…":
//   linear   scaling.type = linear, scaling.factor
//   yarn     scaling.type = yarn, scaling.{factor, original_context_length, yarn_ext_factor, yarn_beta_fast,
//            yarn_beta_slow, yarn_attn_factor, yarn_log_multiplier, attn_factor}
//   llama3   the tensor rope_freqs.weight: a divisor for the frequency of each pair. Comes on top of the others
// `pairing` is the architecture's in GGUF files; a reader of another format overrides it with the metadata key
// "carronade.rope.pairing" (halves | neighbours). Throws Error{kUnsupported} for another scaling, by name,
// Error{kCorruptFile} for values that cannot be.
Rope read_rope(const Checkpoint& checkpoint, int head_dim, int context_length, Rope::Pairing pairing, float base);

}  // namespace carronade
