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

// What an engine takes beside its weights.
struct KvPlan {
  uint64_t working = 0;    // bytes of a step's working memory
  uint64_t kv_least = 0;   // of the KV cache: one sequence
  uint64_t kv_wanted = 0;  // every sequence at once, at most options.kv_bytes where those are given
  int max_model_len = 0;   // as far as it is known before the memory is: 0 for kLongestThatFits
};

// Of a model that is not loaded yet. A max_model_len past what the model was trained for counts as that. Throws
// Error{kInvalidArgument} for options that contradict each other.
KvPlan plan_kv(const ModelConfig& config, const KvLayout& layout, EngineOptions options);

// What a running engine may grow to: weights, KV cache and working memory.
uint64_t most_bytes(const Engine& engine);

}  // namespace carronade
