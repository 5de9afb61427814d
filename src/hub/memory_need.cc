#include "hub/memory_need.h"

#include <algorithm>

#include "base/error.h"
#include "engine/kv_budget.h"
#include "model/model.h"

namespace carronade {

namespace {

KvLayout kv_layout_of(const ModelConfig& config, DType dtype) {
  return {.layers = config.layers,
          .kv_heads = config.attention.kv_heads,
          .head_dim = config.attention.head_dim,
          .dtype = dtype};
}

uint64_t weight_bytes_of(const Checkpoint& checkpoint) {
  uint64_t bytes = 0;
  for (const TensorView& tensor : checkpoint.tensors()) bytes += tensor.bytes.size();
  return bytes;
}

uint64_t bytes_per_step(const Checkpoint& checkpoint) {
  uint64_t bytes = 0, table = 0;
  bool has_head = false;
  for (const TensorView& tensor : checkpoint.tensors()) {
    bytes += tensor.bytes.size();
    if (tensor.name == "token_embd.weight") table = tensor.bytes.size();
    has_head = has_head || tensor.name == "output.weight";
  }
  return has_head ? bytes - table : bytes;
}

}  // namespace

MemoryNeed memory_need(const Checkpoint& checkpoint, DType kv) {
  MemoryNeed need;
  need.weights = weight_bytes_of(checkpoint);
  need.per_step = bytes_per_step(checkpoint);
  try {
    need.kv_per_token = block_bytes(kv_layout_of(read_model_config(checkpoint), kv)) / kBlockPositions;
  } catch (const Error& error) {
    if (error.code != ErrorCode::kUnsupported) throw;
  }
  return need;
}

MemoryClaim memory_claim(const Checkpoint& checkpoint, const EngineOptions& options) {
  const ModelConfig config = read_model_config(checkpoint);
  if (config.encoder) {
    throw_error(ErrorCode::kUnsupported, "{}: a {} model makes vectors of texts; it cannot write text",
                checkpoint.path().string(), config.architecture);
  }
  const KvPlan plan = plan_kv(config, kv_layout_of(config, options.kv_dtype), options);
  return {weight_bytes_of(checkpoint) + plan.working, plan.kv_least, plan.kv_wanted, plan.max_model_len};
}

std::vector<MemoryShare> share_memory(const std::vector<MemoryClaim>& claims, uint64_t budget, bool take_all) {
  constexpr uint64_t kFew = 4;
  std::vector<MemoryShare> shares;
  std::vector<size_t> together;
  uint64_t left = budget;
  for (size_t i = 0; i < claims.size(); ++i) {
    const MemoryClaim& claim = claims[i];
    const uint64_t least = claim.fixed + claim.kv_least;
    shares.push_back(
        {least, claim.fixed + (budget == 0 ? claim.kv_wanted : std::min(claim.kv_wanted, kFew * claim.kv_least))});
    if (budget == 0) continue;
    shares[i].wanted = std::max(least, std::min(shares[i].wanted, budget));
    if (least > left) continue;
    left -= least;
    together.push_back(i);
  }
  // Whoever wants least is served first, so that what it leaves goes to the others.
  const auto wish = [&](size_t i) { return take_all ? left : claims[i].kv_wanted - claims[i].kv_least; };
  std::ranges::stable_sort(together, {}, wish);
  for (size_t n = 0; n < together.size(); ++n) {
    const size_t i = together[n];
    const uint64_t more = std::min(wish(i), left / (together.size() - n));
    shares[i].wanted = shares[i].least + more;
    left -= more;
  }
  return shares;
}

}  // namespace carronade
