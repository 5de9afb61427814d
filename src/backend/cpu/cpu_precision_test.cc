// What rounding may cost where values stand out: massive activations (int8 rows), keys with large biases (Q8_0 KV).
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "backend/backend.h"
#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

constexpr int kHidden = 256, kVocabulary = 48;

WeightHandle load(Backend& backend, DType dtype, int64_t rows, int64_t columns, const std::vector<float>& values,
                  WeightUse use) {
  std::vector<std::byte> bytes(row_bytes(dtype, columns) * static_cast<size_t>(rows));
  quantize(dtype, values.data(), bytes.data(), rows * columns);
  return backend.load_weight({"w", dtype, rows, columns, bytes}, use);
}

double relative_error(std::span<const float> is, std::span<const float> should) {
  double error = 0, all = 0;
  for (size_t i = 0; i < is.size(); ++i) {
    const auto difference = static_cast<double>(is[i] - should[i]);
    error += difference * difference;
    all += static_cast<double>(should[i]) * static_cast<double>(should[i]);
  }
  return std::sqrt(error / all);
}

class CpuPrecisionTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make(bool float_activations = false) const {
    BackendOptions options;
    options.threads = 2;
    options.isa = GetParam();
    options.float_activations = float_activations;
    return make_cpu_backend(options);
  }
};

// Rows of `table` through a norm and a matrix of `dtype`, in one step; beside a Q8_0 matrix, so that operands are
// rounded to int8 whatever `dtype` is.
std::vector<std::vector<float>> logits_of(Backend& backend, const std::vector<float>& table,
                                          const std::vector<float>& head, const std::vector<int32_t>& tokens,
                                          DType dtype = DType::kQ8_0) {
  const auto rows = static_cast<int64_t>(table.size()) / kHidden;
  const auto embeddings = load(backend, DType::kF32, rows, kHidden, table, WeightUse::kEmbedding);
  const auto matrix = load(backend, dtype, kVocabulary, kHidden, head, WeightUse::kLinear),
             beside = load(backend, DType::kQ8_0, kVocabulary, kHidden, head, WeightUse::kLinear);
  const auto norm = load(backend, DType::kF32, 1, kHidden, std::vector<float>(kHidden, 1.0f), WeightUse::kVector);
  const auto x = backend.make_activation(kHidden, ActivationUse::kResidual);
  backend.reserve(static_cast<int>(tokens.size()), static_cast<int>(tokens.size()), kVocabulary);
  Batch batch;
  batch.tokens = tokens;
  batch.positions.resize(tokens.size());
  batch.output_rows.resize(tokens.size());
  std::iota(batch.output_rows.begin(), batch.output_rows.end(), 0);
  batch.sequences.push_back({.first_row = 0, .rows = batch.rows(), .first_position = 0, .block_table = {}});
  backend.begin_step(batch);
  backend.embed(*embeddings, 1.0f, *x);
  backend.logits(*x, *norm, 1e-6f, *matrix, 0.0f);
  backend.wait();
  std::vector<std::vector<float>> logits;
  for (int i = 0; i < batch.rows(); ++i) {
    const auto row = backend.read_logits(i);
    logits.emplace_back(row.begin(), row.end());
  }
  return logits;
}

// Two values of row 1 are so large that int8 takes all others of their groups for 0. The matrix does not look at them,
// so that what it makes of the others can be seen.
TEST_P(CpuPrecisionTest, MassiveActivationsDoNotDrownWhatStandsBesideThem) {
  std::vector<float> table = random_floats(3 * kHidden, 1, 1.0f), head = random_floats(kVocabulary * kHidden, 2, 1.0f);
  for (const int outlier : {37, 200}) {
    table[static_cast<size_t>(kHidden + outlier)] = outlier == 37 ? 900.0f : -2500.0f;
    for (int r = 0; r < kVocabulary; ++r) head[static_cast<size_t>(r * kHidden + outlier)] = 0.0f;
  }
  for (const DType dtype : {DType::kQ8_0, DType::kBF16}) {
    const auto exact = logits_of(*make(true), table, head, {0, 1, 2}, dtype);
    const auto rounded = logits_of(*make(), table, head, {0, 1, 2}, dtype);
    for (size_t row = 0; row < 3; ++row) EXPECT_LT(relative_error(rounded[row], exact[row]), 0.012) << row;
    // And by itself or in company it is the same, as is its company.
    EXPECT_EQ(logits_of(*make(), table, head, {1}, dtype)[0], rounded[1]);
    std::vector<int32_t> many(75, 0);
    many[3] = many[40] = many[41] = 1;
    const auto crowd = logits_of(*make(), table, head, many, dtype);
    for (size_t i = 0; i < many.size(); ++i) EXPECT_EQ(crowd[i], rounded[static_cast<size_t>(many[i])]) << i;
  }
}

// One layer of attention over 40 positions whose keys have large biases in the pairs that hardly turn.
std::vector<float> attended(Backend& backend, DType kv, Rope::Pairing pairing) {
  constexpr int kDim = 64, kRows = 40;
  const AttentionShape shape{2, 1, kDim};
  const auto matrix = [&](int64_t rows, uint32_t seed) {
    return load(backend, DType::kF32, rows, kHidden, random_floats(static_cast<size_t>(rows * kHidden), seed, 0.08f),
                WeightUse::kLinear);
  };
  const auto table =
      load(backend, DType::kF32, kRows, kHidden, random_floats(kRows * kHidden, 1, 1.0f), WeightUse::kEmbedding);
  const auto q = matrix(2 * kDim, 2), k = matrix(kDim, 3), v = matrix(kDim, 4);
  const auto out =
      load(backend, DType::kF32, kHidden, 2 * kDim, random_floats(kHidden * 2 * kDim, 5, 0.1f), WeightUse::kLinear);
  const auto head = matrix(kVocabulary, 6);
  const auto norm = load(backend, DType::kF32, 1, kHidden, std::vector<float>(kHidden, 1.0f), WeightUse::kVector);
  std::vector<float> bias(kDim, 0.1f);
  for (const int pair : {29, 30, 31}) {
    const bool halves = pairing == Rope::Pairing::kHalves;
    bias[static_cast<size_t>(halves ? pair : 2 * pair)] = 100.0f;
    bias[static_cast<size_t>(halves ? pair + 32 : 2 * pair + 1)] = -140.0f;
  }
  const auto k_bias = load(backend, DType::kF32, 1, kDim, bias, WeightUse::kVector);
  const auto x = backend.make_activation(kHidden, ActivationUse::kResidual);
  const auto normed = backend.make_activation(kHidden, ActivationUse::kOperand);
  const auto query = backend.make_activation(2 * kDim, ActivationUse::kQuery);
  const auto attention = backend.make_activation(2 * kDim, ActivationUse::kOperand);
  backend.reserve(kRows, 1, kVocabulary);
  backend.allocate_kv({1, 1, kDim, kv}, 3);

  Batch batch;
  batch.tokens.resize(kRows);
  batch.positions.resize(kRows);
  std::iota(batch.tokens.begin(), batch.tokens.end(), 0);
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  const std::vector<BlockId> blocks = {2, 0, 1};
  batch.sequences.push_back({.first_row = 0, .rows = kRows, .first_position = 0, .block_table = blocks});
  batch.output_rows = {kRows - 1};
  Rope rope;
  rope.pairing = pairing;
  rope.dimensions = kDim;
  rope.base = 1e6f;
  QkvWeights weights;
  weights.q = q.get(), weights.k = k.get(), weights.v = v.get(), weights.k_bias = k_bias.get();
  backend.begin_step(batch);
  backend.embed(*table, 1.0f, *x);
  backend.rms_norm(*x, *norm, 1e-6f, false, *normed);
  backend.qkv_rope_store(*normed, weights, shape, rope, 0, *query);
  backend.paged_attention(*query, shape, {}, 0, *attention);
  backend.linear(*attention, *out, nullptr, false, *x);
  backend.logits(*x, *norm, 1e-6f, *head, 0.0f);
  backend.wait();
  const auto row = backend.read_logits(0);
  return {row.begin(), row.end()};
}

TEST_P(CpuPrecisionTest, LargeBiasesOfKeysCostAQ8CacheNothing) {
  for (const Rope::Pairing pairing : {Rope::Pairing::kHalves, Rope::Pairing::kNeighbours}) {
    const auto reference = make_reference_backend({});
    const std::vector<float> exact = attended(*reference, DType::kF32, pairing);
    EXPECT_LT(relative_error(attended(*make(true), DType::kF32, pairing), exact), 1e-3);
    EXPECT_LT(relative_error(attended(*make(true), DType::kQ8_0, pairing), exact), 0.02);
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuPrecisionTest, testing::ValuesIn(available_isas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace carronade::cpu
