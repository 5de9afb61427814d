#include "engine/kv_budget.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace carronade {
namespace {

constexpr int kDefaultLength = 4096;
constexpr int kDefaultRows = 256;  // of a step: past this many rows a CPU's matrix kernels gain nothing

constexpr int kMostSequences = 4096, kMostRows = 65536;

// Tables, buffers of sockets and texts: what a busy server takes beside what is counted.
constexpr uint64_t kOtherBytes = 64ull << 20;

std::string human(uint64_t bytes) { return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1u << 30)); }

void check_positive(const char* name, int64_t value) {
  if (value < 0)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is {}, but must be at least 1 (0: chosen)", name, value),
                name);
}

// At least one block's, so that what is too little is refused with the numbers of it.
int longest_that_fits(const ModelConfig& config, const KvLayout& layout, uint64_t available, uint64_t kv_bytes) {
  const uint64_t budget = kv_bytes > 0 ? kv_bytes : available / 2;
  if (budget == 0) return config.context_length;  // not known
  const uint64_t positions = std::max<uint64_t>(1, budget / block_bytes(layout)) * kBlockPositions;
  return static_cast<int>(std::min<uint64_t>(positions, static_cast<uint64_t>(config.context_length)));
}

// Logits, activations as float, int8 and BF16, and the rest.
uint64_t working_bytes(const ModelConfig& config, const EngineOptions& options) {
  const auto rows = static_cast<uint64_t>(options.max_num_batched_tokens);
  const uint64_t row = 5ull * (6ull * static_cast<uint64_t>(config.hidden) + 2ull * static_cast<uint64_t>(config.ffn));
  return static_cast<uint64_t>(max_outputs(options)) * static_cast<uint64_t>(config.vocabulary) * sizeof(float) +
         rows * row + kOtherBytes;
}

// What options.memory_bytes leaves for the KV cache; where both are given, no more than options.kv_bytes. 0: neither.
uint64_t kv_bytes_within(const ModelConfig& config, const EngineOptions& options, uint64_t weight_bytes) {
  if (options.memory_bytes == 0) return options.kv_bytes;
  const uint64_t working = working_bytes(config, options), taken = weight_bytes + working;
  if (options.memory_bytes <= taken) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("a memory budget of {} holds no KV cache: the weights take {}, and the working memory of {} "
                    "sequences {}; raise it, lower max_num_seqs, or choose a smaller model",
                    human(options.memory_bytes), human(weight_bytes), options.max_num_seqs, human(working)),
        "memory_budget");
  }
  const uint64_t left = options.memory_bytes - taken;
  return options.kv_bytes > 0 ? std::min(left, options.kv_bytes) : left;
}

void check_at_most(const char* name, int value, int most) {
  if (value > most)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is {}, but must be at most {}", name, value, most), name);
}

// Sequences and rows of a step.
void choose_counts(EngineOptions& options) {
  check_positive("max_num_seqs", options.max_num_seqs);
  check_positive("max_num_batched_tokens", options.max_num_batched_tokens);
  check_at_most("max_num_seqs", options.max_num_seqs, kMostSequences);
  check_at_most("max_num_batched_tokens", options.max_num_batched_tokens, kMostRows);
  if (options.max_num_seqs == 0) {
    options.max_num_seqs = kDefaultSequences;
    if (options.max_num_batched_tokens > 0)
      options.max_num_seqs = std::clamp(options.max_num_batched_tokens - 1, 1, kDefaultSequences);
  }
  if (options.max_num_batched_tokens == 0)
    options.max_num_batched_tokens = std::max(kDefaultRows, 2 * options.max_num_seqs);
  if (options.max_num_batched_tokens <= options.max_num_seqs) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("max_num_batched_tokens ({}) must be greater than max_num_seqs ({}): each running sequence "
                            "takes a row, and prompts need one",
                            options.max_num_batched_tokens, options.max_num_seqs),
                "max_num_batched_tokens");
  }
}

void choose_length(const ModelConfig& config, const KvLayout& layout, uint64_t available, EngineOptions& options) {
  if (options.max_model_len == kLongestThatFits)
    options.max_model_len = longest_that_fits(config, layout, available, options.kv_bytes);
  check_positive("max_model_len", options.max_model_len);
  if (options.max_model_len > config.context_length) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("max_model_len is {}, but the model was trained for {} positions", options.max_model_len,
                            config.context_length),
                "max_model_len");
  }
  if (options.max_model_len == 0) options.max_model_len = std::min(config.context_length, kDefaultLength);
}

}  // namespace

int max_outputs(const EngineOptions& options) {
  return std::min(options.max_num_batched_tokens, options.max_num_seqs + 32);
}

KvPlan plan_kv(const ModelConfig& config, const KvLayout& layout, EngineOptions options) {
  choose_counts(options);
  const bool longest = options.max_model_len == kLongestThatFits;
  if (longest) options.max_model_len = 0;
  options.max_model_len = std::min(options.max_model_len, config.context_length);
  choose_length(config, layout, 0, options);
  const uint64_t block = block_bytes(layout);
  const auto of = [&](int positions) {
    return (static_cast<uint64_t>(positions) + kBlockPositions - 1) / kBlockPositions * block;
  };
  KvPlan plan;
  plan.working = working_bytes(config, options);
  plan.kv_least = of(options.max_model_len);
  plan.kv_wanted = of(longest ? config.context_length : options.max_model_len) *
                   (longest ? 1 : static_cast<uint64_t>(options.max_num_seqs));
  if (options.kv_bytes > 0) plan.kv_wanted = options.kv_bytes;
  plan.kv_wanted = std::max(plan.kv_wanted, plan.kv_least);
  plan.max_model_len = longest ? 0 : options.max_model_len;
  return plan;
}

uint64_t most_bytes(const Engine& engine) {
  return engine.weight_bytes() + engine.options().kv_bytes + working_bytes(engine.model_config(), engine.options());
}

int choose_limits(const ModelConfig& config, const KvLayout& layout, uint64_t available, uint64_t weight_bytes,
                  EngineOptions& options) {
  choose_counts(options);
  options.kv_bytes = kv_bytes_within(config, options, weight_bytes);
  choose_length(config, layout, available, options);
  const uint64_t block = block_bytes(layout);
  const uint64_t of_one = (static_cast<uint64_t>(options.max_model_len) + kBlockPositions - 1) / kBlockPositions;
  uint64_t blocks = of_one * static_cast<uint64_t>(options.max_num_seqs);
  const bool asked = options.kv_bytes > 0;
  const uint64_t budget = asked ? options.kv_bytes : available > 0 ? available / 2 : blocks * block;
  blocks = asked ? budget / block : std::min(blocks, budget / block);
  blocks = std::min<uint64_t>(blocks, 1u << 30);
  if (blocks < of_one) {
    throw Error(
        asked ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable,
        fmt::format(
            "one sequence of {} positions needs {} of KV cache, but there is {}: lower max_model_len to {} or {}",
            options.max_model_len, human(of_one * block), human(budget), blocks * kBlockPositions,
            asked ? "give the KV cache more" : "free memory"),
        "max_model_len");
  }
  options.kv_bytes = blocks * block;
  return static_cast<int>(blocks);
}

}  // namespace carronade
