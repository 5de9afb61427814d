// What becomes of a head's queries, keys and values once they are projected: heads of every width, whoever finishes
// them.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "backend/backend.h"
#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

constexpr int kHidden = 64, kRows = 150, kBlocks = 10;

struct Result {
  std::vector<std::vector<float>> logits;  // of the output rows
  std::vector<std::byte> cache;            // of all blocks
};

// One layer over 150 rows: two sequences, of 149 positions and of one, the first `before` rows of the longer one in a
// step of their own. Heads have norms, or else keys have large biases, another for each head, where nothing turns.
Result attend(Backend& backend, const AttentionShape& shape, DType kv, int before = 0, bool norms = true) {
  const int q_rows = shape.heads * shape.head_dim, kv_rows = shape.kv_heads * shape.head_dim;
  uint32_t seed = 0;
  const auto hold = [&](int64_t rows, int64_t columns, WeightUse use, const std::vector<float>& values) {
    return backend.load_weight({"w", DType::kF32, rows, columns, std::as_bytes(std::span(values))}, use);
  };
  const auto load = [&](int64_t rows, int64_t columns, WeightUse use, float deviation) {
    return hold(rows, columns, use, random_floats(static_cast<size_t>(rows * columns), ++seed, deviation));
  };
  const auto table = load(kRows, kHidden, WeightUse::kEmbedding, 1.0f);
  const auto q = load(q_rows, kHidden, WeightUse::kLinear, 0.2f), k = load(kv_rows, kHidden, WeightUse::kLinear, 0.2f),
             v = load(kv_rows, kHidden, WeightUse::kLinear, 0.2f);
  std::vector<float> key_biases = random_floats(static_cast<size_t>(kv_rows), 99, 0.5f);
  for (size_t i = 0; i < key_biases.size(); ++i) {
    const bool turns = static_cast<int>(i) % shape.head_dim < shape.head_dim / 2;
    if (!norms && !turns) key_biases[i] *= 100.0f;
  }
  const auto q_bias = load(1, q_rows, WeightUse::kVector, 0.5f),
             k_bias = hold(1, kv_rows, WeightUse::kVector, key_biases),
             v_bias = load(1, kv_rows, WeightUse::kVector, 0.5f);
  const auto q_norm = load(1, shape.head_dim, WeightUse::kVector, 1.0f),
             k_norm = load(1, shape.head_dim, WeightUse::kVector, 1.0f);
  const auto out = load(kHidden, q_rows, WeightUse::kLinear, 0.1f), head = load(32, kHidden, WeightUse::kLinear, 0.2f),
             norm = load(1, kHidden, WeightUse::kVector, 1.0f);
  const auto x = backend.make_activation(kHidden, ActivationUse::kResidual);
  const auto normed = backend.make_activation(kHidden, ActivationUse::kOperand);
  const auto query = backend.make_activation(q_rows, ActivationUse::kQuery);
  const auto attention = backend.make_activation(q_rows, ActivationUse::kOperand);
  backend.reserve(kRows, 3, 32);
  backend.allocate_kv({1, shape.kv_heads, shape.head_dim, kv}, kBlocks + 1);

  std::vector<BlockId> blocks(kBlocks);
  std::iota(blocks.rbegin(), blocks.rend(), 0);
  const std::vector<BlockId> other = {kBlocks};
  const auto step = [&](int first, int last, bool others) {
    Batch batch;
    const auto add = [&](int row, int position) {
      batch.tokens.push_back(row);
      batch.positions.push_back(position);
    };
    for (int row = first; row < last; ++row) add(row, row);
    batch.sequences.push_back({.first_row = 0, .rows = last - first, .first_position = first, .block_table = blocks});
    if (others) {
      batch.sequences.push_back({.first_row = batch.rows(), .rows = 1, .first_position = 0, .block_table = other});
      add(kRows - 1, 0);
      batch.output_rows = {batch.rows() - 40, batch.rows() - 2, batch.rows() - 1};
    }
    Rope rope;
    rope.dimensions = shape.head_dim / 2;
    backend.begin_step(batch);
    backend.embed(*table, 1.0f, *x);
    backend.rms_norm(*x, *norm, 1e-6f, false, *normed);
    backend.qkv_rope_store(*normed,
                           {.q = q.get(),
                            .k = k.get(),
                            .v = v.get(),
                            .q_bias = q_bias.get(),
                            .k_bias = k_bias.get(),
                            .v_bias = v_bias.get(),
                            .q_norm = norms ? q_norm.get() : nullptr,
                            .k_norm = norms ? k_norm.get() : nullptr,
                            .norm_epsilon = 1e-6f},
                           shape, rope, 0, *query);
    backend.paged_attention(*query, shape, {}, 0, *attention);
    backend.linear(*attention, *out, nullptr, true, *x);
    backend.logits(*x, *norm, 1e-6f, *head, 0.0f);
    backend.wait();
  };
  if (before > 0) step(0, before, false);
  step(before, kRows - 1, true);

  Result result;
  for (int output = 0; output < 3; ++output) {
    const auto row = backend.read_logits(output);
    result.logits.emplace_back(row.begin(), row.end());
  }
  std::vector<BlockId> all(kBlocks + 1);
  std::iota(all.begin(), all.end(), 0);
  result.cache.resize(all.size() * block_bytes({1, shape.kv_heads, shape.head_dim, kv}));
  backend.read_blocks(all, result.cache);
  return result;
}

class CpuHeadsTest : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Backend> make(int threads) {
    return make_cpu_backend({.threads = threads, .isa = GetParam(), .float_activations = true});
  }
};

// Heads of 8 and 24 share their panels of sixteen outputs with other heads, the others do not.
constexpr AttentionShape kShapes[] = {{4, 2, 8}, {6, 2, 24}, {3, 3, 48}, {4, 2, 64}, {4, 2, 96}, {6, 1, 128}};

TEST_P(CpuHeadsTest, EveryWidthGivesTheReferencesLogits) {
  for (const AttentionShape& shape : kShapes) {
    const Result exact = attend(*make_reference_backend({}), shape, DType::kF32);
    const Result got = attend(*make(2), shape, DType::kF32);
    for (size_t row = 0; row < exact.logits.size(); ++row) {
      for (size_t i = 0; i < exact.logits[row].size(); ++i)
        ASSERT_NEAR(got.logits[row][i], exact.logits[row][i], 2e-4) << shape.head_dim << " " << row << " " << i;
    }
  }
}

TEST_P(CpuHeadsTest, LargeBiasesOfEachHeadsKeysCostAQ8CacheLittle) {
  for (const AttentionShape& shape : {AttentionShape{4, 2, 64}, AttentionShape{4, 2, 96}}) {
    const Result exact = attend(*make_reference_backend({}), shape, DType::kF32, 0, false);
    const Result got = attend(*make(2), shape, DType::kQ8_0, 0, false);
    double error = 0, all = 0;
    for (size_t row = 0; row < exact.logits.size(); ++row) {
      for (size_t i = 0; i < exact.logits[row].size(); ++i) {
        error += std::pow(got.logits[row][i] - exact.logits[row][i], 2.0);
        all += std::pow(exact.logits[row][i], 2.0);
      }
    }
    EXPECT_LT(std::sqrt(error / all), 0.01) << shape.head_dim;
  }
}

TEST_P(CpuHeadsTest, WhoeverFinishesAHeadItIsTheSameBits) {
  for (const AttentionShape& shape : kShapes) {
    for (const DType kv : {DType::kF16, DType::kF32, DType::kQ8_0}) {
      if (kv == DType::kQ8_0 && shape.head_dim % 32 != 0) continue;
      const Result alone = attend(*make(1), shape, kv);
      for (const int threads : {2, 5}) {
        for (const int before : {0, 70}) {
          const Result shared = attend(*make(threads), shape, kv, before);
          EXPECT_EQ(shared.cache, alone.cache) << shape.head_dim << " " << threads << " " << before;
          EXPECT_EQ(shared.logits, alone.logits) << shape.head_dim << " " << threads << " " << before;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuHeadsTest, testing::ValuesIn(available_isas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace carronade::cpu
