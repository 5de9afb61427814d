// How much memory a model takes.
#pragma once

#include <cstdint>
#include <optional>

#include "checkpoint/checkpoint.h"

namespace carronade {

struct MemoryNeed {
  uint64_t weights = 0;       // bytes, as held while it runs
  uint64_t kv_per_token = 0;  // bytes of keys and values; 0: not known
  uint64_t of_conversations(uint64_t count, uint64_t tokens) const { return count * tokens * kv_per_token; }
};

// From the list of tensors and the configuration; nothing is loaded. An architecture that is not supported has its
// weights only.
MemoryNeed memory_need(const Checkpoint& checkpoint, DType kv = DType::kF16);

}  // namespace carronade
