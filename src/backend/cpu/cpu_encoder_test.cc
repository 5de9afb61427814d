// The ops of encoders through a small one: against the reference backend, and against itself under other company and
// threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "backend/backend.h"
#include "backend/cpu/testing.h"

namespace carronade {
namespace {

constexpr int kHidden = 96, kFfn = 224, kVocabulary = 50, kPositions = 300, kMaxRows = 400, kBlocks = 32;
constexpr AttentionShape kShape{3, 3, 32};

// Its tokens follow from the number.
struct Text {
  int number, length, adapter = kNoAdapter;
};

// Two layers that share one layer's KV, as model/ does it.
class Encoder {
 public:
  Encoder(Backend& backend, DType dtype) : backend_(backend), dtype_(dtype) {
    table_ = load(kVocabulary, kHidden, WeightUse::kEmbedding, 1.0f);
    positions_ = load(kPositions, kHidden, WeightUse::kEmbedding, 0.5f);
    gains_ = vector(kHidden, 1.0f);
    offsets_ = vector(kHidden, 0.3f);
    for (Layer& layer : layers_) {
      for (WeightHandle* matrix : {&layer.q, &layer.k, &layer.v, &layer.o}) {
        *matrix = load(kHidden, kHidden, WeightUse::kLinear, 0.12f);
      }
      layer.up = load(kFfn, kHidden, WeightUse::kLinear, 0.12f);
      layer.down = load(kHidden, kFfn, WeightUse::kLinear, 0.07f);
      layer.bias = vector(kHidden, 0.3f);
      layer.up_bias = vector(kFfn, 0.3f);
    }
    x_ = backend.make_activation(kHidden, ActivationUse::kResidual);
    operand_ = backend.make_activation(kHidden, ActivationUse::kOperand);
    q_ = backend.make_activation(kHidden, ActivationUse::kQuery);
    attention_ = backend.make_activation(kHidden, ActivationUse::kOperand);
    inner_ = backend.make_activation(kFfn, ActivationUse::kOperand);
    backend.reserve(kMaxRows, 1, kVocabulary);
    backend.allocate_kv({1, kShape.kv_heads, kShape.head_dim, DType::kF32}, kBlocks);
  }

  // One vector a text.
  std::vector<std::vector<float>> embed(const std::vector<Text>& texts, Pooling pooling = Pooling::kMean) {
    Batch batch;
    std::vector<std::vector<BlockId>> tables;
    BlockId next = 0;
    for (const Text& text : texts) {
      std::vector<BlockId>& table = tables.emplace_back(static_cast<size_t>((text.length + 15) / 16));
      std::iota(table.begin(), table.end(), next);
      next += static_cast<BlockId>(table.size());
    }
    for (size_t t = 0; t < texts.size(); ++t) {
      const Text& text = texts[t];
      batch.sequences.push_back(
          {.first_row = batch.rows(), .rows = text.length, .block_table = tables[t], .adapter = text.adapter});
      for (int i = 0; i < text.length; ++i) {
        batch.tokens.push_back((i * 37 + text.number * 11 + i * i) % kVocabulary);
        batch.positions.push_back(i);
      }
    }
    run(batch);
    backend_.pooled(*x_, nullptr, 0, pooling);
    backend_.wait();
    std::vector<std::vector<float>> vectors;
    for (size_t t = 0; t < texts.size(); ++t) {
      const auto row = backend_.read_pooled(static_cast<int>(t));
      vectors.emplace_back(row.begin(), row.end());
    }
    return vectors;
  }

  const Weight& up() const { return *layers_[0].up; }

 private:
  struct Layer {
    WeightHandle q, k, v, o, up, down, bias, up_bias;
  };
  void run(const Batch& batch) {
    Backend& b = backend_;
    b.begin_step(batch);
    b.embed(*table_, 1.0f, *x_);
    b.add_positions(*positions_, *x_);
    b.layer_norm(*x_, *gains_, *offsets_, 1e-5f, *operand_);
    for (const Layer& l : layers_) {
      const QkvWeights qkv{.q = l.q.get(), .k = l.k.get(), .v = l.v.get(), .q_bias = l.bias.get()};
      b.qkv_rope_store(*operand_, qkv, kShape, Rope{}, 0, *q_);
      b.paged_attention(*q_, kShape, {.mask = AttentionMask::kBidirectional}, 0, *attention_);
      b.linear(*attention_, *l.o, l.bias.get(), true, *x_);
      b.layer_norm(*x_, *gains_, *offsets_, 1e-5f, *operand_);
      b.mlp(*operand_, *l.up, l.up_bias.get(), *inner_);
      b.linear(*inner_, *l.down, l.bias.get(), true, *x_);
      b.layer_norm(*x_, *gains_, *offsets_, 1e-5f, *operand_);
    }
  }
  WeightHandle load(int64_t rows, int64_t columns, WeightUse use, float deviation) {
    const DType dtype = use == WeightUse::kVector ? DType::kF32 : dtype_;
    const auto values = cpu::random_floats(static_cast<size_t>(rows * columns), ++seed_, deviation);
    std::vector<std::byte> bytes(row_bytes(dtype, columns) * static_cast<size_t>(rows));
    quantize(dtype, values.data(), bytes.data(), rows * columns);
    return backend_.load_weight({"w", dtype, rows, columns, bytes}, use);
  }
  WeightHandle vector(int64_t n, float deviation) { return load(1, n, WeightUse::kVector, deviation); }

  Backend& backend_;
  DType dtype_;
  uint32_t seed_ = 1;
  WeightHandle table_, positions_, gains_, offsets_;
  Layer layers_[2];
  ActivationHandle x_, operand_, q_, attention_, inner_;
};

class CpuEncoderTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make(int threads = 2, bool float_activations = false) {
    return make_cpu_backend({.threads = threads, .isa = GetParam(), .float_activations = float_activations});
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, CpuEncoderTest, testing::ValuesIn(available_isas()),
                         [](const auto& p) { return p.param; });

void expect_near(const std::vector<float>& got, const std::vector<float>& exact, float tolerance) {
  ASSERT_EQ(got.size(), exact.size());
  for (size_t i = 0; i < exact.size(); ++i) ASSERT_NEAR(got[i], exact[i], tolerance) << i;
}

TEST_P(CpuEncoderTest, FloatActivationsGiveTheReferencesVectors) {
  const std::vector<Text> texts = {{1, 270}, {2, 1}, {3, 40}};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    SCOPED_TRACE(info(dtype).name);
    const auto reference = make_reference_backend(BackendOptions{}), backend = make(2, true);
    Encoder expected(*reference, dtype), model(*backend, dtype);
    for (const Pooling pooling : {Pooling::kMean, Pooling::kFirst, Pooling::kLast}) {
      const auto exact = expected.embed(texts, pooling), got = model.embed(texts, pooling);
      for (size_t t = 0; t < texts.size(); ++t) expect_near(got[t], exact[t], 2e-5f);
    }
  }
}

// The norms make rows of deviation 1; what rounding to 1/127 of a group's largest adds, twice a layer, is far below.
TEST_P(CpuEncoderTest, RoundedActivationsStayCloseToTheReference) {
  for (const DType dtype : {DType::kQ8_0, DType::kBF16}) {
    const auto reference = make_reference_backend(BackendOptions{}), backend = make();
    Encoder expected(*reference, dtype), model(*backend, dtype);
    expect_near(model.embed({{3, 40}})[0], expected.embed({{3, 40}})[0], 0.1f);
  }
}

TEST_P(CpuEncoderTest, CompanyAndThreadsChangeNoBit) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ8_0}) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 5}) {
      const auto backend = make(threads);
      Encoder model(*backend, dtype);
      const auto alone = model.embed({{1, 270}})[0];
      if (expected.empty()) expected = alone;
      ASSERT_EQ(alone, expected) << threads;
      ASSERT_EQ(model.embed({{5, 77}, {1, 270}, {6, 3}})[1], expected) << threads;
    }
  }
}

TEST_P(CpuEncoderTest, AnAdapterChangesItsTextOnlyAndAsTheReferenceDoes) {
  const auto reference = make_reference_backend(BackendOptions{}), backend = make();
  Encoder expected(*reference, DType::kF32), model(*backend, DType::kF32);
  const auto before = model.embed({{1, 20}})[0];
  const auto a = cpu::random_floats(5 * kHidden, 77, 0.3f), b = cpu::random_floats(kFfn * 5, 78, 0.3f);
  const auto load = [&](Backend& on, const Weight& target) {
    on.load_adapter(4, target, {"a", DType::kF32, 5, kHidden, std::as_bytes(std::span(a))},
                    {"b", DType::kF32, kFfn, 5, std::as_bytes(std::span(b))}, 0.7f);
  };
  load(*reference, expected.up());
  load(*backend, model.up());
  const auto exact = expected.embed({{1, 20, 4}, {1, 20}}), got = model.embed({{1, 20, 4}, {1, 20}});
  expect_near(got[0], exact[0], 2e-5f);
  EXPECT_EQ(got[1], before);
  EXPECT_NE(got[0], before);
}

}  // namespace
}  // namespace carronade
