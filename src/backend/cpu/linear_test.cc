// The one rule, through the backend: a row's product with a matrix is the same bits in every batch. Every instruction
// set, AVX-512 in emulation too, and every type of weights.
#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

constexpr int kMaxRows = 130, kRows = 40;  // two panels and a half

class LinearTest : public testing::TestWithParam<const Kernels*> {};
INSTANTIATE_TEST_SUITE_P(Isas, LinearTest, testing::ValuesIn(runnable_kernels()),
                         [](const auto& p) { return test_name(p.param->name); });

// What linear() makes of rows [first, first + count) of a table, each a sequence of its own.
class Product {
 public:
  Product(const Kernels& kernels, DType dtype, int columns) : backend_(two_threads(), kernels) {
    const std::vector<float> table = random_floats(static_cast<size_t>(kMaxRows * columns), 31),
                             ones(static_cast<size_t>(columns), 1.0f);
    const std::vector<std::byte> weight = random_blocks(dtype, kRows, columns, 32);
    table_ = load("table", DType::kF32, kMaxRows, columns, std::as_bytes(std::span(table)), WeightUse::kEmbedding);
    norm_ = load("norm", DType::kF32, 1, columns, std::as_bytes(std::span(ones)), WeightUse::kVector);
    weight_ = load("weight", dtype, kRows, columns, weight, WeightUse::kLinear);
    x_ = backend_.make_activation(columns, ActivationUse::kResidual);
    in_ = backend_.make_activation(columns, ActivationUse::kOperand);
    out_ = backend_.make_activation(kRows, ActivationUse::kResidual);
    backend_.reserve(kMaxRows, 1, kMaxRows);
  }

  std::vector<float> of(int first, int count) {
    Batch batch;
    for (int i = 0; i < count; ++i) {
      batch.sequences.push_back({i, 1, 0, {}, kNoAdapter});
      batch.tokens.push_back(first + i);
      batch.positions.push_back(0);
    }
    backend_.begin_step(batch);
    backend_.embed(*table_, 1.0f, *x_);
    backend_.rms_norm(*x_, *norm_, 1e-6f, false, *in_);
    backend_.linear(*in_, *weight_, nullptr, false, *out_);
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
  static BackendOptions two_threads() {
    BackendOptions options;
    options.threads = 2;
    return options;
  }
  WeightHandle load(std::string_view name, DType dtype, int64_t rows, int64_t columns, std::span<const std::byte> bytes,
                    WeightUse use) {
    return backend_.load_weight({name, dtype, rows, columns, bytes}, use);
  }
  CpuBackend backend_;
  WeightHandle table_, norm_, weight_;
  ActivationHandle x_, in_, out_;
};

// Two super-blocks; for floats also a row that ends within a group, and one whose BF16 would lie 4096 bytes apart.
std::vector<int> columns_of(DType dtype) {
  if (dtype == DType::kBF16) return {512, 47, 2048};
  return is_float(dtype) ? std::vector{512, 47} : std::vector{512};
}

TEST_P(LinearTest, EveryRowIsTheSameBitsInEveryBatchOfUpTo130) {
  for (const DType dtype : all_dtypes()) {
    for (const int columns : columns_of(dtype)) {
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

}  // namespace
}  // namespace carronade::cpu
