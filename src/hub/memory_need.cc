#include "hub/memory_need.h"

#include <algorithm>
#include <optional>

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

// As model/ loads it; nullopt: it does not.
std::optional<WeightUse> use_of(const TensorView& tensor, bool tied) {
  if (tensor.name == "rope_freqs.weight" || tensor.name == "token_types.weight") return std::nullopt;
  if (tensor.name == "token_embd.weight") return tied ? WeightUse::kTied : WeightUse::kEmbedding;
  if (tensor.name == "position_embd.weight") return WeightUse::kEmbedding;
  return tensor.shape.size() == 1 ? WeightUse::kVector : WeightUse::kLinear;
}

uint64_t held_bytes(const TensorView& tensor, WeightUse use, const LoadOptions& options) {
  const bool becomes_float = tensor.name == "position_embd.weight";
  const WeightSource source{
      tensor.name, becomes_float ? DType::kF32 : tensor.dtype, tensor.rows(), tensor.columns(), {}};
  return options.backend_name == "reference" ? reference_weight_bytes(source)
                                             : cpu_weight_bytes(source, use, options.backend);
}

struct WeightBytes {
  uint64_t all = 0, per_step = 0;
};
WeightBytes weight_bytes_of(const Checkpoint& checkpoint, bool encoder, const LoadOptions& options) {
  WeightBytes bytes;
  const bool tied = !encoder && !checkpoint.find("output.weight");
  for (const TensorView& tensor : checkpoint.tensors()) {
    const std::optional<WeightUse> use = use_of(tensor, tied);
    if (!use) continue;
    const uint64_t held = held_bytes(tensor, *use, options);
    bytes.all += held;
    if (*use != WeightUse::kEmbedding) bytes.per_step += held;
  }
  return bytes;
}

// nullopt: its architecture is not supported.
std::optional<ModelConfig> config_of(const Checkpoint& checkpoint) {
  try {
    return read_model_config(checkpoint);
  } catch (const Error& error) {
    if (error.code != ErrorCode::kUnsupported) throw;
    return std::nullopt;
  }
}

}  // namespace

MemoryNeed memory_need(const Checkpoint& checkpoint, const LoadOptions& options) {
  const std::optional<ModelConfig> config = config_of(checkpoint);
  const WeightBytes weights = weight_bytes_of(checkpoint, config && config->encoder, options);
  MemoryNeed need{.weights = weights.all, .per_step = weights.per_step};
  if (config) need.kv_per_token = block_bytes(kv_layout_of(*config, options.engine.kv_dtype)) / kBlockPositions;
  return need;
}

MemoryClaim memory_claim(const Checkpoint& checkpoint, const LoadOptions& options) {
  const ModelConfig config = read_model_config(checkpoint);
  if (config.encoder) {
    throw_error(ErrorCode::kUnsupported, "{}: a {} model makes vectors of texts; it cannot write text",
                checkpoint.path().string(), config.architecture);
  }
  const KvPlan plan = plan_kv(config, kv_layout_of(config, options.engine.kv_dtype), options.engine);
  return {weight_bytes_of(checkpoint, config.encoder, options).all + plan.working, plan.kv_least, plan.kv_wanted,
          plan.max_model_len};
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
