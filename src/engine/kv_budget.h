// How much KV cache there is room for.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "engine/engine.h"
#include "model/model.h"

namespace carronade {

// Rows with logits in one step: one for each sequence, and some for drafts and for the log-probabilities of prompts.
int max_outputs(const EngineOptions& options);

// Fills in whatever `options` leaves to be chosen and returns the number of KV blocks. `available` is what memory there
// is, in bytes; 0: not known. Throws Error{kInvalidArgument} for options that contradict each other or the model,
// Error{kUnavailable} when there is not memory for one sequence: with the numbers and the remedy.
// options.memory_bytes is what weights, KV blocks and a step's working memory may take together.
int choose_limits(const ModelConfig& config, const KvLayout& layout, uint64_t available, uint64_t weight_bytes,
                  EngineOptions& options);

}  // namespace carronade
