// The one rule, through the backend: a row's product with a matrix is the same bits in every batch. Every instruction
// set, AVX-512 in emulation too, and every type of weights.
#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

constexpr int kMaxRows = 130, kRows = 40;  // two panels and a half

class LinearTest : public testing::TestWithParam<const Kernels*> {};
INSTANTIATE_TEST_SUITE_P(Isas, LinearTest, testing::ValuesIn(runnable_bfloat_kernels()),
                         [](const auto& p) { return test_name(p.param->name); });

// What linear() makes of rows [first, first + count) of a table, each a sequence of its own; with `ffn` what a gated
// MLP makes of them, whose last matrix the weight is.
class Product {
 public:
  Product(const Kernels& kernels, DType dtype, int columns, int ffn = 0, int threads = 2)
      : backend_({.threads = threads}, kernels) {
    const int width = ffn > 0 ? ffn : columns;
    const std::vector<float> table = random_floats(static_cast<size_t>(kMaxRows * columns), 31),
                             ones(static_cast<size_t>(columns), 1.0f);
    const std::vector<std::byte> weight = random_blocks(dtype, kRows, width, 32);
    table_ = load("table", DType::kF32, kMaxRows, columns, std::as_bytes(std::span(table)), WeightUse::kEmbedding);
    norm_ = load("norm", DType::kF32, 1, columns, std::as_bytes(std::span(ones)), WeightUse::kVector);
    weight_ = load("weight", dtype, kRows, width, weight, WeightUse::kLinear);
    if (ffn > 0) {
      gate_ =
          load("gate", DType::kQ8_0, ffn, columns, random_blocks(DType::kQ8_0, ffn, columns, 33), WeightUse::kLinear);
      up_ = load("up", DType::kQ8_0, ffn, columns, random_blocks(DType::kQ8_0, ffn, columns, 34), WeightUse::kLinear);
      made_ = backend_.make_activation(ffn, ActivationUse::kOperand);
      const std::vector<float> a = random_floats(static_cast<size_t>(columns), 35),
                               b = random_floats(static_cast<size_t>(ffn), 36);
      backend_.load_adapter(kAdapter, *gate_, {"a", DType::kF32, 1, columns, std::as_bytes(std::span(a))},
                            {"b", DType::kF32, ffn, 1, std::as_bytes(std::span(b))}, 1.0f);
    }
    x_ = backend_.make_activation(columns, ActivationUse::kResidual);
    in_ = backend_.make_activation(columns, ActivationUse::kOperand);
    out_ = backend_.make_activation(kRows, ActivationUse::kResidual);
    backend_.reserve(kMaxRows, 1, kMaxRows);
  }

  // The last row's sequence may have an adapter of the gate.
  std::vector<float> of(int first, int count, bool adapted = false) {
    Batch batch;
    for (int i = 0; i < count; ++i) {
      batch.sequences.push_back({i, 1, 0, {}, adapted && i + 1 == count ? kAdapter : kNoAdapter});
      batch.tokens.push_back(first + i);
      batch.positions.push_back(0);
    }
    backend_.begin_step(batch);
    backend_.embed(*table_, 1.0f, *x_);
    backend_.rms_norm(*x_, *norm_, 1e-6f, false, *in_);
    if (gate_) backend_.gated_mlp(*in_, *gate_, *up_, GateActivation::kSilu, *made_);
    backend_.linear(gate_ ? *made_ : *in_, *weight_, nullptr, false, *out_);
    backend_.pooled(*out_, nullptr, 0.0f, Pooling::kFirst);
    backend_.wait();
    std::vector<float> values;
    for (int i = 0; i < count; ++i) {
      const std::span<const float> row = backend_.read_pooled(i);
      values.insert(values.end(), row.begin(), row.end());
    }
    return values;
  }

 private:
  static constexpr int kAdapter = 7;
  WeightHandle load(std::string_view name, DType dtype, int64_t rows, int64_t columns, std::span<const std::byte> bytes,
                    WeightUse use) {
    return backend_.load_weight({name, dtype, rows, columns, bytes}, use);
  }
  CpuBackend backend_;
  WeightHandle table_, norm_, weight_, gate_, up_;
  ActivationHandle x_, in_, made_, out_;
};

// Two super-blocks; for floats also a row that ends within a group, and one whose BF16 would lie 4096 bytes apart.
std::vector<int> columns_of(DType dtype) {
  if (dtype == DType::kBF16) return {512, 47, 2048};
  return is_float(dtype) ? std::vector{512, 47} : std::vector{512};
}

TEST_P(LinearTest, EveryRowIsTheSameBitsInEveryBatchOfUpTo130) {
  for (const DType dtype : all_dtypes()) {
    if (GetParam() == amx_emulated_kernels() && dtype != DType::kBF16) continue;  // the same kernels once more
    for (const int columns : columns_of(dtype)) {
      if (GetParam() == amx_emulated_kernels() && columns > 512) continue;  // too slow
      SCOPED_TRACE(testing::Message() << info(dtype).name << ", " << columns << " columns");
      Product product(*GetParam(), dtype, columns);
      std::vector<float> alone;
      for (int row = 0; row < kMaxRows; ++row) {
        const std::vector<float> one = product.of(row, 1);
        ASSERT_EQ(one.size(), static_cast<size_t>(kRows));
        alone.insert(alone.end(), one.begin(), one.end());
      }
      for (int count = 2; count <= kMaxRows; ++count) {
        const std::vector<float> together = product.of(0, count);
        ASSERT_EQ(std::memcmp(together.data(), alone.data(), sizeof(float) * static_cast<size_t>(kRows * count)), 0)
            << count << " rows";
      }
    }
  }
}

// What stands between the matrices of a gated MLP is rounded by chunks: as soon as the last group of one is made, or
// (one thread, three tiles) a chunk at once; and in a pass of its own beside an adapter.
TEST_P(LinearTest, AGatedMlpIsTheSameBitsHoweverItIsSharedOut) {
  if (GetParam() == amx_emulated_kernels()) GTEST_SKIP() << "multiplies whole numbers as avx512_simde does";
  constexpr int kColumns = 64, kFfn = 1536;
  for (const DType dtype : {DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    SCOPED_TRACE(info(dtype).name);
    Product one(*GetParam(), dtype, kColumns, kFfn, 1), three(*GetParam(), dtype, kColumns, kFfn, 3);
    std::vector<float> alone;
    for (int row = 0; row < kMaxRows; ++row) {
      const std::vector<float> values = three.of(row, 1);
      alone.insert(alone.end(), values.begin(), values.end());
    }
    const auto expect_alone = [&](const std::vector<float>& together, int count) {
      EXPECT_EQ(std::memcmp(together.data(), alone.data(), sizeof(float) * static_cast<size_t>(kRows * count)), 0)
          << count << " rows";
    };
    for (const int count : {65, kMaxRows}) {
      expect_alone(one.of(0, count), count);
      expect_alone(three.of(0, count), count);
      expect_alone(three.of(0, count, true), count - 1);
    }
    EXPECT_NE(three.of(0, 1, true), three.of(0, 1));
  }
}

}  // namespace
}  // namespace carronade::cpu
