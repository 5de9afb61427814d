// The oracle against numbers worked out by hand.
#include "backend/reference/reference_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace carronade {
namespace {

using Floats = std::vector<float>;

Rope rope_of(Rope::Pairing pairing, int dimensions, float base = 100.0f) {
  Rope rope;
  rope.pairing = pairing;
  rope.dimensions = dimensions;
  rope.base = base;
  return rope;
}

Floats identity(int n) {
  Floats values(static_cast<size_t>(n * n));
  for (int i = 0; i < n; ++i) values[static_cast<size_t>(i * n + i)] = 1.0f;
  return values;
}

// One sequence of `rows` rows at the positions from `first_position` on; blocks in the order given.
struct Step {
  Batch batch;
  std::vector<BlockId> table;

  explicit Step(int rows, int first_position = 0, std::vector<BlockId> blocks = {0, 1, 2, 3})
      : table(std::move(blocks)) {
    for (int r = 0; r < rows; ++r) {
      batch.tokens.push_back(r);
      batch.positions.push_back(first_position + r);
    }
    batch.sequences.push_back({.first_row = 0, .rows = rows, .first_position = first_position, .block_table = table});
  }
};

class ReferenceBackendTest : public testing::Test {
 protected:
  ReferenceBackendTest() : backend_(make_reference_backend({})) { backend_->reserve(64, 8, 4); }

  WeightHandle weight(int rows, int columns, const Floats& values, DType dtype = DType::kF32) {
    std::vector<std::byte> bytes(row_bytes(dtype, columns) * static_cast<size_t>(rows));
    quantize(dtype, values.data(), bytes.data(), static_cast<int64_t>(values.size()));
    return backend_->load_weight({"w", dtype, rows, columns, bytes}, WeightUse::kLinear);
  }
  ActivationHandle activation(int columns, ActivationUse use = ActivationUse::kResidual) {
    return backend_->make_activation(columns, use);
  }

  // A residual whose row r is row r of `values`: embedding of token r.
  ActivationHandle filled(const Batch& batch, int columns, const Floats& values) {
    ActivationHandle x = activation(columns);
    backend_->begin_step(batch);
    backend_->embed(*weight(static_cast<int>(values.size()) / columns, columns, values), 1.0f, *x);
    return x;
  }

  // All rows of an activation, read as the pooling of sequences of one row each.
  Floats rows_of(const Batch& batch, const Activation& x) {
    Batch single = batch;
    single.sequences.clear();
    for (int r = 0; r < batch.rows(); ++r) single.sequences.push_back({.first_row = r, .rows = 1, .block_table = {}});
    backend_->begin_step(single);
    backend_->pooled(x, nullptr, 0, Pooling::kLast);
    Floats values;
    for (int r = 0; r < batch.rows(); ++r) {
      const std::span<const float> row = backend_->read_pooled(r);
      values.insert(values.end(), row.begin(), row.end());
    }
    backend_->begin_step(batch);
    return values;
  }

  static void expect_near(const Floats& actual, const Floats& expected, float tolerance = 1e-6f) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << "at " << i;
  }

  std::unique_ptr<Backend> backend_;
};

TEST_F(ReferenceBackendTest, EmbedLooksUpRowsAndScalesThem) {
  Step step(2);
  step.batch.tokens = {2, 0};
  const auto x = activation(2);
  backend_->begin_step(step.batch);
  backend_->embed(*weight(3, 2, {1, 2, 3, 4, 5, 6}), 2.0f, *x);
  expect_near(rows_of(step.batch, *x), {10, 12, 2, 4});
}

TEST_F(ReferenceBackendTest, RmsNormDividesByTheRootOfTheMeanSquare) {
  const Step step(1);
  const auto x = filled(step.batch, 2, {3, 4});  // mean square 12.5
  const auto gains = weight(1, 2, {1, 2});
  const auto out = activation(2);
  backend_->rms_norm(*x, *gains, 0.0f, false, *out);
  const float root = std::sqrt(12.5f);
  expect_near(rows_of(step.batch, *out), {3 / root, 8 / root});
  backend_->rms_norm(*x, *gains, 0.0f, true, *out);
  expect_near(rows_of(step.batch, *out), {6 / root, 16 / root});
  backend_->rms_norm(*x, *gains, 12.5f, false, *out);  // epsilon joins the mean
  expect_near(rows_of(step.batch, *out), {3 / 5.0f, 8 / 5.0f});
}

TEST_F(ReferenceBackendTest, AddPositionsLooksUpWhereARowStands) {
  const Step step(2, 1);  // positions 1 and 2
  const auto x = filled(step.batch, 2, {1, 2, 3, 4});
  backend_->add_positions(*weight(3, 2, {100, 100, 10, 20, 30, 40}), *x);
  expect_near(rows_of(step.batch, *x), {11, 22, 33, 44});
}

TEST_F(ReferenceBackendTest, LayerNormCentresScalesAndShiftsBothOutputs) {
  const Step step(2);
  const auto x = filled(step.batch, 2, {1, 5, -3, -3});  // means 3 and -3, variances 4 and 0
  const auto gains = weight(1, 2, {1, 2}), offsets = weight(1, 2, {0.5f, -0.5f});
  const auto out = activation(2, ActivationUse::kOperand);
  backend_->layer_norm(*x, *gains, *offsets, 5.0f, *out);  // sqrt(4 + 5) = 3
  const Floats expected = {-2 / 3.0f + 0.5f, 4 / 3.0f - 0.5f, 0.5f, -0.5f};
  expect_near(rows_of(step.batch, *x), expected);
  expect_near(rows_of(step.batch, *out), expected);
}

TEST_F(ReferenceBackendTest, MlpAppliesTheExactGelu) {
  const Step step(1);
  const auto x = filled(step.batch, 2, {1, -2});
  const auto up = weight(3, 2, {1, 0, 0, 1, 1, 1});
  const auto bias = weight(1, 3, {0, 1, 1});
  const auto out = activation(3, ActivationUse::kOperand);
  backend_->mlp(*x, *up, bias.get(), *out);  // of 1, -1, 0: x Φ(x)
  expect_near(rows_of(step.batch, *out), {0.8413447f, -0.1586553f, 0.0f});
  backend_->mlp(*x, *up, nullptr, *out);  // of 1, -2, -1
  expect_near(rows_of(step.batch, *out), {0.8413447f, -0.0455003f, -0.1586553f});
}

TEST_F(ReferenceBackendTest, LinearMultipliesAddsBiasAndAccumulates) {
  const Step step(2);
  const auto x = filled(step.batch, 2, {1, 2, 3, 4});
  const auto w = weight(3, 2, {1, 0, 0, 1, 1, 1});
  const auto bias = weight(1, 3, {10, 20, 30});
  const auto out = activation(3);
  backend_->linear(*x, *w, bias.get(), false, *out);
  expect_near(rows_of(step.batch, *out), {11, 22, 33, 13, 24, 37});
  backend_->linear(*x, *w, nullptr, true, *out);
  expect_near(rows_of(step.batch, *out), {12, 24, 36, 16, 28, 44});
}

TEST_F(ReferenceBackendTest, AnAdapterAddsItsLowRankProductToItsSequenceOnly) {
  Step step(2);
  step.batch.sequences = {{.first_row = 0, .rows = 1, .block_table = step.table, .adapter = 7},
                          {.first_row = 1, .rows = 1, .block_table = step.table}};
  const auto x = filled(step.batch, 2, {1, 2, 1, 2});
  const auto w = weight(2, 2, identity(2));
  const Floats a = {1, 1}, b = {1, 10};  // rank 1: A x = 3, B A x = (3, 30)
  backend_->load_adapter(7, *w, {"a", DType::kF32, 1, 2, std::as_bytes(std::span(a))},
                         {"b", DType::kF32, 2, 1, std::as_bytes(std::span(b))}, 2.0f);
  const auto out = activation(2);
  backend_->linear(*x, *w, nullptr, false, *out);
  expect_near(rows_of(step.batch, *out), {7, 62, 1, 2});
  backend_->drop_adapter(7);
  backend_->linear(*x, *w, nullptr, false, *out);
  expect_near(rows_of(step.batch, *out), {1, 2, 1, 2});
  EXPECT_THROW(backend_->load_adapter(7, *w, {"a", DType::kF32, 1, 1, std::as_bytes(std::span(a)).first(4)},
                                      {"b", DType::kF32, 2, 1, std::as_bytes(std::span(b))}, 1.0f),
               Error);
}

TEST_F(ReferenceBackendTest, GatedMlpMultipliesActivatedGateAndUp) {
  const Step step(1);
  const auto x = filled(step.batch, 2, {1, -2});
  const auto gate = weight(2, 2, identity(2)), up = weight(2, 2, {2, 0, 0, 3});
  const auto out = activation(2);
  backend_->gated_mlp(*x, *gate, *up, GateActivation::kSilu, *out);
  const float silu1 = 1 / (1 + std::exp(-1.0f)), silu2 = -2 / (1 + std::exp(2.0f));
  expect_near(rows_of(step.batch, *out), {silu1 * 2, silu2 * -6});
  backend_->gated_mlp(*x, *gate, *up, GateActivation::kGelu, *out);
  expect_near(rows_of(step.batch, *out), {0.841192f * 2, -0.0454023f * -6}, 1e-5f);
}

// With identity projections q is the row itself, rotated.
TEST_F(ReferenceBackendTest, RotationTurnsPairsByPositionTimesFrequency) {
  backend_->allocate_kv({1, 1, 4, DType::kF32}, 4);
  const Step step(1, 3);
  const auto x = filled(step.batch, 4, {1, 2, 3, 4});
  const auto eye = weight(4, 4, identity(4));
  const QkvWeights weights{.q = eye.get(), .k = eye.get(), .v = eye.get()};
  const auto q = activation(4, ActivationUse::kQuery);
  Rope rope = rope_of(Rope::Pairing::kHalves, 4);
  const float c0 = std::cos(3.0f), s0 = std::sin(3.0f), c1 = std::cos(0.3f), s1 = std::sin(0.3f);
  backend_->qkv_rope_store(*x, weights, {1, 1, 4}, rope, 0, *q);
  expect_near(rows_of(step.batch, *q), {1 * c0 - 3 * s0, 2 * c1 - 4 * s1, 1 * s0 + 3 * c0, 2 * s1 + 4 * c1}, 1e-5f);

  rope.pairing = Rope::Pairing::kNeighbours;
  backend_->qkv_rope_store(*x, weights, {1, 1, 4}, rope, 0, *q);
  expect_near(rows_of(step.batch, *q), {1 * c0 - 2 * s0, 1 * s0 + 2 * c0, 3 * c1 - 4 * s1, 3 * s1 + 4 * c1}, 1e-5f);

  rope.frequency_scale = {0.0f, 1.0f};  // the first pair stands still
  rope.magnitude = 2.0f;
  backend_->qkv_rope_store(*x, weights, {1, 1, 4}, rope, 0, *q);
  expect_near(rows_of(step.batch, *q), {2, 4, 2 * (3 * c1 - 4 * s1), 2 * (3 * s1 + 4 * c1)}, 1e-5f);

  rope = rope_of(Rope::Pairing::kHalves, 2);  // the rest passes through
  backend_->qkv_rope_store(*x, weights, {1, 1, 4}, rope, 0, *q);
  expect_near(rows_of(step.batch, *q), {1 * c0 - 2 * s0, 1 * s0 + 2 * c0, 3, 4}, 1e-5f);
}

TEST_F(ReferenceBackendTest, BiasComesBeforeHeadNormAndHeadNormBeforeRotation) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  const Step step(1, 1);
  const auto x = filled(step.batch, 2, {1, 1});
  const auto eye = weight(2, 2, identity(2)), bias = weight(1, 2, {2, 3}), gains = weight(1, 2, {1, 10});
  const QkvWeights weights{
      .q = eye.get(), .k = eye.get(), .v = eye.get(), .q_bias = bias.get(), .q_norm = gains.get(), .norm_epsilon = 0};
  const auto q = activation(2, ActivationUse::kQuery);
  backend_->qkv_rope_store(*x, weights, {1, 1, 2}, rope_of(Rope::Pairing::kHalves, 2), 0, *q);
  const float root = std::sqrt(12.5f), a = 3 / root, b = 40 / root, c = std::cos(1.0f), s = std::sin(1.0f);
  expect_near(rows_of(step.batch, *q), {a * c - b * s, a * s + b * c}, 1e-5f);
}

// Attention over keys that differ in one number only, so that the softmax can be written down.
class AttentionTest : public ReferenceBackendTest {
 protected:
  // Rows hold (key, value): one head of width 2; q = (key, 0), k = (key, 0), v = (value, value).
  Floats attend(const Step& step, const Floats& keys_and_values, const AttentionOptions& options) {
    const auto x = filled(step.batch, 2, keys_and_values);
    const auto key = weight(2, 2, {1, 0, 0, 0}), value = weight(2, 2, {0, 1, 0, 1});
    const QkvWeights weights{.q = key.get(), .k = key.get(), .v = value.get()};
    const auto q = activation(2, ActivationUse::kQuery), out = activation(2);
    backend_->qkv_rope_store(*x, weights, {1, 1, 2}, {}, 0, *q);
    backend_->paged_attention(*q, {1, 1, 2}, options, 0, *out);
    Floats firsts;
    const Floats all = rows_of(step.batch, *out);
    for (size_t i = 0; i < all.size(); i += 2) firsts.push_back(all[i]);
    return firsts;
  }
};

TEST_F(AttentionTest, CausalRowsSeeThemselvesAndWhatCameBefore) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  // Query of row 1 is 2: scores 2·1 and 2·2 with scale 1.
  const float a = std::exp(2.0f), b = std::exp(4.0f);
  expect_near(attend(Step(2), {1, 10, 2, 20}, {.scale = 1.0f}), {10, (a * 10 + b * 20) / (a + b)}, 1e-5f);
}

TEST_F(AttentionTest, TheDefaultScaleIsOneOverTheRootOfTheHead) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  const float a = std::exp(2.0f / std::sqrt(2.0f)), b = std::exp(4.0f / std::sqrt(2.0f));
  expect_near(attend(Step(2), {1, 10, 2, 20}, {}), {10, (a * 10 + b * 20) / (a + b)}, 1e-5f);
}

TEST_F(AttentionTest, SoftCapBendsScores) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  const float a = std::exp(3 * std::tanh(2.0f / 3)), b = std::exp(3 * std::tanh(4.0f / 3));
  expect_near(attend(Step(2), {1, 10, 2, 20}, {.scale = 1.0f, .soft_cap = 3.0f}), {10, (a * 10 + b * 20) / (a + b)},
              1e-5f);
}

TEST_F(AttentionTest, BidirectionalRowsSeeAll) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  expect_near(attend(Step(3), {0, 10, 0, 20, 0, 60}, {.mask = AttentionMask::kBidirectional}), {30, 30, 30}, 1e-5f);
}

TEST_F(AttentionTest, AWindowCountsTheRowItself) {
  backend_->allocate_kv({1, 1, 2, DType::kF32}, 4);
  expect_near(attend(Step(3), {0, 10, 0, 20, 0, 60}, {.window = 2}), {10, 15, 40}, 1e-5f);
}

TEST_F(AttentionTest, ChunksAndScatteredBlocksChangeNothing) {
  backend_->allocate_kv({1, 1, 2, DType::kF16}, 5);
  Floats rows;
  for (int i = 0; i < 40; ++i) rows.insert(rows.end(), {std::sin(static_cast<float>(i)), static_cast<float>(i)});
  const Floats whole = attend(Step(40), rows, {});
  const std::vector<BlockId> scattered = {4, 0, 2};
  Floats chunked;
  for (const auto& [first, count] : {std::pair{0, 7}, {7, 20}, {27, 13}}) {
    const Floats part(rows.begin() + first * 2, rows.begin() + (first + count) * 2);
    const Floats out = attend(Step(count, first, scattered), part, {});
    chunked.insert(chunked.end(), out.begin(), out.end());
  }
  EXPECT_EQ(chunked, whole);  // bit for bit
}

TEST_F(AttentionTest, QueriesOfAGroupShareTheirKeys) {
  backend_->allocate_kv({1, 2, 2, DType::kF32}, 1);
  const Step step(1);
  const auto x = filled(step.batch, 2, {3, 5});
  const auto q_weight = weight(8, 2, Floats(16)), key = weight(4, 2, Floats(8)),
             value = weight(4, 2, {1, 0, 1, 0, 0, 1, 0, 1});
  const QkvWeights weights{.q = q_weight.get(), .k = key.get(), .v = value.get()};
  const auto q = activation(8, ActivationUse::kQuery), out = activation(8);
  backend_->qkv_rope_store(*x, weights, {4, 2, 2}, {}, 0, *q);
  backend_->paged_attention(*q, {4, 2, 2}, {}, 0, *out);
  expect_near(rows_of(step.batch, *out), {3, 3, 3, 3, 5, 5, 5, 5});
}

TEST_F(AttentionTest, KeysAndValuesHaveTheCachesPrecision) {
  const float value = 1.0f + 1.0f / 4096;  // between two numbers of F16
  backend_->allocate_kv({1, 1, 2, DType::kF16}, 1);
  EXPECT_EQ(attend(Step(1), {0, value}, {})[0], half_to_float(float_to_half(value)));
  EXPECT_THROW(make_reference_backend({})->allocate_kv({1, 1, 48, DType::kQ8_0}, 1), Error);
  EXPECT_THROW(make_reference_backend({})->allocate_kv({1, 1, 64, DType::kQ4_0}, 1), Error);
}

TEST_F(ReferenceBackendTest, LogitsAreOfTheOutputRowsOnly) {
  Step step(3);
  step.batch.output_rows = {0, 2};
  const auto x = filled(step.batch, 2, {1, 1, 5, 5, -2, 2});
  const auto gains = weight(1, 2, {1, 1}), head = weight(4, 2, {1, 0, 0, 1, 1, 1, 2, 0});
  backend_->logits(*x, *gains, 0, *head, 0);
  backend_->wait();
  const std::span<const float> first = backend_->read_logits(0), second = backend_->read_logits(1);
  expect_near(Floats(first.begin(), first.end()), {1, 1, 2, 2});
  expect_near(Floats(second.begin(), second.end()), {-1, 1, 0, -2});
  EXPECT_EQ(backend_->argmax(0), 2);  // the lowest of two equals
  std::vector<Candidate> best;
  backend_->top_k(0, 3, best);
  ASSERT_EQ(best.size(), 3u);
  EXPECT_EQ(best[0].token, 2);
  EXPECT_EQ(best[1].token, 3);
  EXPECT_EQ(best[2].token, 0);

  const std::vector<uint32_t> mask = {0b0011};
  backend_->apply_mask(0, mask);
  backend_->wait();
  EXPECT_EQ(backend_->argmax(0), 0);
  EXPECT_EQ(backend_->read_logits(0)[2], -INFINITY);
  EXPECT_EQ(backend_->argmax(1), 1);

  backend_->logits(*x, *gains, 0, *head, 2.0f);
  EXPECT_NEAR(backend_->read_logits(0)[2], 2 * std::tanh(1.0f), 1e-6f);
}

TEST_F(ReferenceBackendTest, PoolingTakesTheFirstTheLastOrTheMean) {
  Step step(3);
  step.batch.sequences = {{.first_row = 0, .rows = 2, .block_table = step.table},
                          {.first_row = 2, .rows = 1, .block_table = step.table}};
  const auto x = filled(step.batch, 2, {1, 2, 3, 6, 3, 4});
  const auto pool = [&](Pooling pooling, const Weight* norm = nullptr) {
    backend_->pooled(*x, norm, 0, pooling);
    const std::span<const float> a = backend_->read_pooled(0), b = backend_->read_pooled(1);
    return Floats{a[0], a[1], b[0], b[1]};
  };
  expect_near(pool(Pooling::kFirst), {1, 2, 3, 4});
  expect_near(pool(Pooling::kLast), {3, 6, 3, 4});
  expect_near(pool(Pooling::kMean), {2, 4, 3, 4});
  const auto gains = weight(1, 2, {1, 1});
  expect_near(pool(Pooling::kLast, gains.get()),
              {3 / std::sqrt(22.5f), 6 / std::sqrt(22.5f), 3 / std::sqrt(12.5f), 4 / std::sqrt(12.5f)});
}

TEST_F(ReferenceBackendTest, QuantizedWeightsAreMultipliedByTheirExactValues) {
  const Step step(1);
  Floats values(64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 0.3f;
  Floats input(32);
  std::iota(input.begin(), input.end(), -16.0f);
  const auto x = filled(step.batch, 32, input);
  std::vector<std::byte> bytes(row_bytes(DType::kQ8_0, 32) * 2);
  quantize(DType::kQ8_0, values.data(), bytes.data(), 64);
  Floats exact(64);
  dequantize(DType::kQ8_0, bytes.data(), exact.data(), 64);
  const auto out = activation(2);
  backend_->linear(*x, *backend_->load_weight({"w", DType::kQ8_0, 2, 32, bytes}, WeightUse::kLinear), nullptr, false,
                   *out);
  double expected[2] = {};
  for (size_t i = 0; i < 64; ++i) expected[i / 32] += static_cast<double>(exact[i]) * input[i % 32];
  expect_near(rows_of(step.batch, *out), {static_cast<float>(expected[0]), static_cast<float>(expected[1])}, 1e-5f);
}

TEST_F(ReferenceBackendTest, BlocksAreCopiedReadAndWrittenWhole) {
  const KvLayout layout{2, 1, 2, DType::kF16};
  backend_->allocate_kv(layout, 4);
  const size_t bytes = block_bytes(layout);
  std::vector<std::byte> content(2 * bytes), read(2 * bytes);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7);
  const BlockId first[] = {3, 1}, second[] = {0, 1};
  backend_->write_blocks(first, content);
  const BlockCopy copy[] = {{3, 0}};
  backend_->copy_blocks(copy);
  backend_->read_blocks(second, read);
  EXPECT_EQ(read, content);
}

TEST_F(ReferenceBackendTest, CountsItsMemoryAndRefusesWhatItCannotHold) {
  const uint64_t before = backend_->memory_in_use();
  {
    const auto w = weight(2, 32, Floats(64), DType::kQ8_0);
    EXPECT_EQ(backend_->memory_in_use(), before + 2 * 34);
  }
  EXPECT_EQ(backend_->memory_in_use(), before);
  const std::vector<std::byte> bytes(100);
  EXPECT_THROW(backend_->load_weight({"w", DType::kQ8_0, 1, 33, bytes}, WeightUse::kLinear), Error);
  EXPECT_THROW(backend_->load_weight({"w", DType::kF32, 5, 6, bytes}, WeightUse::kLinear), Error);
}

#if !defined(NDEBUG) && !defined(__SANITIZE_THREAD__)
TEST(GuardedMemoryDeathTest, ItsMemoryIsUnreadableOutsideItsOps) {
  uint64_t counter = 0;
  const reference::GuardedMemory memory(64, counter);
  {
    const reference::Access access{&memory, nullptr, &memory};
    memory.floats()[0] = 1.0f;
  }
  EXPECT_DEATH(std::fprintf(stderr, "%f", static_cast<double>(*static_cast<volatile float*>(memory.floats()))), "");
}
#endif

}  // namespace
}  // namespace carronade
