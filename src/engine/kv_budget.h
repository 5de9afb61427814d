// How much KV cache there is room for.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "engine/engine.h"
#include "model/model.h"

namespace carronade {

// What options.memory_bytes leaves for the KV cache beside `weight_bytes` and a step's working memory; where both are
// given, no more than options.kv_bytes. 0: neither was given. Throws Error{kInvalidArgument} when nothing is left.
uint64_t kv_bytes_within(const EngineOptions& options, uint64_t weight_bytes);

// Fills in whatever `options` leaves to be chosen and returns the number of KV blocks. `available` is what memory there
// is, in bytes; 0: not known. Throws Error{kInvalidArgument} for options that contradict each other or the model,
// Error{kUnavailable} when there is not memory for one sequence: with the numbers and the remedy.
int choose_limits(const ModelConfig& config, const KvLayout& layout, uint64_t available, EngineOptions& options);

}  // namespace carronade
