// How much KV cache there is room for.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "engine/engine.h"
#include "model/model.h"

namespace carronade {

// Fills in whatever `options` leaves to be chosen and returns the number of KV blocks. `available` is what memory there
// is, in bytes; 0: not known. Throws Error{kInvalidArgument}
// for options that contradict each other or the model, Error{kUnavailable} when there is not memory for one sequence:
// with the numbers and the remedy.
int choose_limits(const ModelConfig& config, const KvLayout& layout, uint64_t available, EngineOptions& options);

}  // namespace carronade
