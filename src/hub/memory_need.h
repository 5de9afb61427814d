// How much memory a model takes, and how several share a budget.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "hub/loaded_model.h"

namespace carronade {

struct MemoryNeed {
  uint64_t weights = 0;   // bytes, as the backend holds them: some types take several times their file
  uint64_t per_step = 0;  // of those, what one token's step reads: not an embedding table that nothing multiplies by
  uint64_t kv_per_token = 0;  // bytes of keys and values; 0: not known
  uint64_t of_conversations(uint64_t count, uint64_t tokens) const { return count * tokens * kv_per_token; }
};

// From the list of tensors and the configuration; nothing is loaded. An architecture that is not supported has its
// weights only.
MemoryNeed memory_need(const Checkpoint& checkpoint, const LoadOptions& options = {});

// What an engine on this checkpoint would take, adapters left out.
struct MemoryClaim {
  uint64_t fixed = 0;      // bytes of weights and of a step's working memory
  uint64_t kv_least = 0;   // of the KV cache: one conversation
  uint64_t kv_wanted = 0;  // all conversations at once
  int max_model_len = 0;   // 0: not known before it is loaded
};

// Throws Error: kUnsupported for what cannot write text, kInvalidArgument for options that contradict each other.
MemoryClaim memory_claim(const Checkpoint& checkpoint, const LoadOptions& options);

// Bytes that a model is loaded with: at least `least`, and no more than `wanted`.
struct MemoryShare {
  uint64_t least = 0, wanted = 0;
};

// A budget's shares. Models that can be loaded side by side, counted in their order, are given shares that fit
// together: what is left over goes to their KV caches evenly, to each as much as it wants (`take_all`: more than it
// wants, until nothing is left). The others want as much as four conversations need: they come in another's place.
// `budget` 0: no bound.
std::vector<MemoryShare> share_memory(const std::vector<MemoryClaim>& claims, uint64_t budget, bool take_all);

}  // namespace carronade
