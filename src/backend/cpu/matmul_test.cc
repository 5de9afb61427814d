// The matmul kernels of every instruction set against sums in double over the exact weights and the rounded
// activations.
#include <gtest/gtest.h>

#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

struct Case {
  const Kernels* kernels;
  DType dtype;
};

std::vector<Case> cases(bool integer) {
  std::vector<Case> result;
  for (const Kernels* kernels : runnable_kernels()) {
    for (const DType dtype : all_dtypes()) {
      if (is_integer(layout_of(dtype)) == integer) result.push_back({kernels, dtype});
    }
  }
  return result;
}
std::string case_name(const testing::TestParamInfo<Case>& p) {
  return test_name(std::string(p.param.kernels->name) + "_" + std::string(info(p.param.dtype).name));
}

struct alignas(64) Tile {
  float y[kTileColumns][16];
};

// |y - exact| against Σ|w a|: float sums over K / 32 steps, each rounded a few times at 2^-24.
void expect_close(double y, double exact, double magnitude, int64_t columns, double lost = 0) {
  const double tolerance = 6e-8 * (4 + std::sqrt(static_cast<double>(columns) / 4)) * magnitude + lost + 1e-30;
  ASSERT_NEAR(y, exact, tolerance) << "of " << magnitude;
}

// What a row of a matrix and one of activations make: Σ w x, and Σ |w x|, which bounds the error of the sum.
struct ExactProduct {
  ExactProduct(const float* weights, const float* x, int64_t columns) {
    for (int64_t k = 0; k < columns; ++k) {
      const double product = static_cast<double>(weights[k]) * static_cast<double>(x[k]);
      sum += product;
      magnitude += std::fabs(product);
    }
  }
  double sum = 0, magnitude = 0;
};

// Σ w x of a row of weights and a rounded row, and Σ |w x|.
double product(const float* weights, const Quantized& a, int c, int64_t columns, double* magnitude = nullptr) {
  double sum = 0;
  for (int64_t k = 0; k < columns; ++k) {
    const auto at = static_cast<size_t>(c * a.k + k);
    const double each =
        static_cast<double>(weights[k]) * static_cast<double>(a.scale[at / 32]) * static_cast<double>(a.q[at]);
    sum += each;
    if (magnitude) *magnitude += std::fabs(each);
  }
  return sum;
}

// What kernels that sum whole chunks of Q4_K and Q5_K may lose of a product: of each step's dot what does not fit 16
// bits (1 of Q4_K, 2 of Q5_K), of the sum of its activations half of a sixteenth's step.
double lost_to_words(DType dtype, const std::byte* row, const Quantized& a, int c) {
  if ((dtype != DType::kQ4_K && dtype != DType::kQ5_K) || !a.has_units()) return 0;
  double lost = 0;
  for (int64_t group = 0; group < a.k / 32; ++group) {
    uint16_t halves[2];
    std::memcpy(halves, row + static_cast<size_t>(group / 8 * info(dtype).block_bytes), sizeof halves);
    const double d = std::fabs(half_to_float(halves[0])), dmin = std::fabs(half_to_float(halves[1]));
    const auto at = static_cast<size_t>(c * (a.k / 32) + group);
    lost += 63 * (d * (dtype == DType::kQ4_K ? 1 : 2) * static_cast<double>(a.scale[at]) +
                  dmin * 8 * static_cast<double>(a.unit[at / 8 * 8]));
  }
  return lost;
}

class IntegerMatmulTest : public testing::TestWithParam<Case> {
 protected:
  // One panel of `rows` rows against n columns.
  void check(int64_t rows, int64_t columns, int n, Fill fill, const std::vector<float>& x) {
    const auto& [kernels, dtype] = GetParam();
    std::vector<std::byte> source = random_blocks(dtype, rows, columns, static_cast<uint32_t>(columns + n), fill);
    source.insert(source.begin(), std::byte{0});
    const Packed packed(dtype, source.data() + 1, rows, columns);
    std::vector<float> weights(static_cast<size_t>(rows * columns));
    dequantize(dtype, source.data() + 1, weights.data(), rows * columns);
    Quantized a(*kernels, x, n, columns);
    Tile tile;
    kernels->matmul[static_cast<int>(packed.layout)](packed.panel(0), a.view(), n, tile.y[0]);
    for (int c = 0; c < n; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        double magnitude = 0;
        const double exact = product(weights.data() + r * columns, a, c, columns, &magnitude);
        const double lost =
            lost_to_words(dtype, source.data() + 1 + row_bytes(dtype, columns) * static_cast<size_t>(r), a, c);
        // A min cancels against the products: the sums on the way are larger than the result's terms.
        ASSERT_NO_FATAL_FAILURE(expect_close(tile.y[c][r], exact, 16 * magnitude, columns, lost))
            << "row " << r << " column " << c;
      }
      for (int64_t r = rows; r < 16; ++r) ASSERT_EQ(tile.y[c][r], 0.0f);
    }
  }
};

TEST_P(IntegerMatmulTest, MatchesExactSums) {
  const int block = info(GetParam().dtype).block_elements;
  check(16, 512, 1, Fill::kRandom, random_floats(512, 1));
  check(11, 256, 3, Fill::kRandom, random_floats(3 * 256, 2));
  check(16, 768, 9, Fill::kRandom, random_floats(9 * 768, 3));
  check(16, 256, 32, Fill::kRandom, random_floats(32 * 256, 4));
  if (block == 256) return;
  check(16, 32, 2, Fill::kRandom, random_floats(2 * 32, 5));
  check(7, 896, 4, Fill::kRandom, random_floats(4 * 896, 6));
  check(16, 288, 13, Fill::kRandom, random_floats(13 * 288, 7));
}

TEST_P(IntegerMatmulTest, LargestMagnitudesDoNotOverflow) {
  std::vector<float> up(9 * 2560, 127.0f), down(9 * 2560, -127.0f), alternating(9 * 2560), by_pairs(9 * 2560);
  for (size_t i = 0; i < alternating.size(); ++i) {
    alternating[i] = i % 2 ? -127.0f : 127.0f;
    by_pairs[i] = i / 2 % 2 ? -127.0f : 127.0f;
  }
  for (const Fill fill : {Fill::kLargest, Fill::kSmallest}) {
    for (const auto& x : {up, down, alternating, by_pairs}) {
      for (const int n : {1, 2, 4, 9}) check(16, 2560, n, fill, {x.begin(), x.begin() + n * 2560});
    }
  }
}

TEST_P(IntegerMatmulTest, FactorsOfAnySizeAreTaken) {
  for (const Fill fill : {Fill::kTinyFactors, Fill::kHugeFactors}) {
    for (const int n : {1, 9}) check(16, 512, n, fill, random_floats(static_cast<size_t>(n * 512), 8));
  }
}

TEST_P(IntegerMatmulTest, WhatIsNoNumberIsNotLost) {
  const auto& [kernels, dtype] = GetParam();
  const std::vector<std::byte> source = random_blocks(dtype, 16, 512, 15);
  const Packed packed(dtype, source.data(), 16, 512);
  std::vector<float> x = random_floats(2 * 512, 16);
  x[300] = std::numeric_limits<float>::infinity();
  Quantized a(*kernels, x, 2, 512);
  Tile tile;
  kernels->matmul[static_cast<int>(packed.layout)](packed.panel(0), a.view(), 2, tile.y[0]);
  for (int r = 0; r < 16; ++r) {
    EXPECT_TRUE(std::isnan(tile.y[0][r]));
    EXPECT_TRUE(std::isfinite(tile.y[1][r]));
  }
}

// One rule: a row's result does not depend on the rows beside it.
TEST_P(IntegerMatmulTest, AColumnIsTheSameBitsWhateverTheNumberOfColumns) {
  const auto& [kernels, dtype] = GetParam();
  const int64_t columns = info(dtype).block_elements == 256 ? 512 : 416;
  const std::vector<std::byte> source = random_blocks(dtype, 16, columns, 11);
  const Packed packed(dtype, source.data(), 16, columns);
  Quantized a(*kernels, random_floats(static_cast<size_t>(kTileColumns * columns), 12), kTileColumns, columns);
  const MatmulKernel kernel = kernels->matmul[static_cast<int>(packed.layout)];
  Tile alone;
  for (int c = 0; c < kTileColumns; ++c) kernel(packed.panel(0), a.view().row(c), 1, alone.y[c]);
  for (int n = 2; n <= kTileColumns; ++n) {
    Tile together;
    kernel(packed.panel(0), a.view(), n, together.y[0]);
    ASSERT_EQ(std::memcmp(&together, &alone, sizeof(float) * 16 * static_cast<size_t>(n)), 0) << n << " columns";
  }
}

// Rows of activations may lie further apart than they are long.
TEST_P(IntegerMatmulTest, PaddedRowsAreTheSameBits) {
  constexpr int64_t kColumns = 512, kStride = kColumns + 128;
  constexpr int kCount = 9;
  const auto& [kernels, dtype] = GetParam();
  const std::vector<std::byte> source = random_blocks(dtype, 16, kColumns, 13);
  const Packed packed(dtype, source.data(), 16, kColumns);
  const std::vector<float> x = random_floats(kCount * kColumns, 14);
  Quantized close(*kernels, x, kCount, kColumns);
  Quantized apart(*kernels, std::vector<float>(kCount * kStride, 1000.0f), kCount, kStride);
  QuantizedRows padded = apart.view();
  padded.k = kColumns;
  for (int r = 0; r < kCount; ++r) kernels->quantize_row(x.data() + r * kColumns, kColumns, padded.row(r));
  const MatmulKernel kernel = kernels->matmul[static_cast<int>(packed.layout)];
  for (const int n : {1, 4, kCount}) {
    Tile expected, found;
    kernel(packed.panel(0), close.view(), n, expected.y[0]);
    kernel(packed.panel(0), padded, n, found.y[0]);
    ASSERT_EQ(std::memcmp(&expected, &found, sizeof(float) * 16 * static_cast<size_t>(n)), 0) << n << " columns";
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, IntegerMatmulTest, testing::ValuesIn(cases(true)), case_name);

// What 16 bits lose of Q4_K's and Q5_K's dots leans to neither side.
TEST(WholeChunks, LoseNothingOnAverage) {
  int tables = 0;
  for (const Kernels* kernels : runnable_kernels()) {
    if (!Quantized(*kernels, random_floats(256, 1), 1, 256).has_units()) continue;
    ++tables;
    for (const DType dtype : {DType::kQ4_K, DType::kQ5_K}) {
      SCOPED_TRACE(testing::Message() << kernels->name << ' ' << info(dtype).name);
      double error = 0, bound = 0;
      for (uint32_t seed = 0; seed < 40; ++seed) {
        const std::vector<std::byte> source = random_blocks(dtype, 16, 256, 100 + seed);
        const Packed packed(dtype, source.data(), 16, 256);
        std::vector<float> weights(16 * 256);
        dequantize(dtype, source.data(), weights.data(), 16 * 256);
        Quantized a(*kernels, random_floats(kTileColumns * 256, 200 + seed), kTileColumns, 256);
        Tile tile;
        kernels->matmul[static_cast<int>(packed.layout)](packed.panel(0), a.view(), kTileColumns, tile.y[0]);
        for (int c = 0; c < kTileColumns; ++c) {
          for (int64_t r = 0; r < 16; ++r) {
            const std::byte* row = source.data() + row_bytes(dtype, 256) * static_cast<size_t>(r);
            uint16_t d;
            std::memcpy(&d, row, sizeof d);
            const double difference = static_cast<double>(tile.y[c][r]) - product(weights.data() + r * 256, a, c, 256);
            error += half_to_float(d) < 0 ? -difference : difference;
            bound += lost_to_words(dtype, row, a, c);
          }
        }
      }
      EXPECT_LT(std::fabs(error), 0.01 * bound);
    }
  }
  if (tables == 0) GTEST_SKIP() << "neither this processor nor an emulation has AVX-512";
}

class FloatMatmulTest : public testing::TestWithParam<Case> {};

TEST_P(FloatMatmulTest, MatchesExactSumsWhateverTheNumberOfColumns) {
  const auto& [kernels, dtype] = GetParam();
  for (const int64_t columns : {1, 31, 64, 897}) {
    const std::vector<std::byte> source = random_blocks(dtype, 16, columns, 21);
    const Packed packed(dtype, source.data(), 16, columns);
    std::vector<float> weights(static_cast<size_t>(16 * columns));
    dequantize(dtype, source.data(), weights.data(), 16 * columns);
    const int64_t stride = columns + 3;
    const std::vector<float> x = random_floats(static_cast<size_t>(8 * stride), 22);
    const FloatMatmulKernel kernel = kernels->matmul_float[static_cast<int>(packed.layout) - kIntegerLayouts];
    for (int n = 1; n <= 8; ++n) {
      Tile together, alone;
      kernel(packed.panel(0), x.data(), stride, columns, n, together.y[0]);
      for (int c = 0; c < n; ++c) {
        kernel(packed.panel(0), x.data() + c * stride, stride, columns, 1, alone.y[c]);
        for (int r = 0; r < 16; ++r) {
          const ExactProduct exact(weights.data() + r * columns, x.data() + c * stride, columns);
          ASSERT_NO_FATAL_FAILURE(expect_close(together.y[c][r], exact.sum, 4 * exact.magnitude, columns));
        }
      }
      ASSERT_EQ(std::memcmp(&together, &alone, sizeof(float) * 16 * static_cast<size_t>(n)), 0) << n << " columns";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, FloatMatmulTest, testing::ValuesIn(cases(false)), case_name);

// Products of BF16 are exact in float, so all that is left is the error of the sums.
TEST(BFloatMatmul, MatchesExactSumsOfRoundedActivationsWhateverTheNumberOfColumns) {
  int tables = 0;
  for (const Kernels* kernels : runnable_bfloat_kernels()) {
    if (!kernels->matmul_bfloat) continue;
    ++tables;
    for (const int64_t columns : {1, 31, 64, 256, 897}) {
      SCOPED_TRACE(testing::Message() << kernels->name << ", " << columns << " columns");
      const std::vector<std::byte> source = random_blocks(DType::kBF16, 16, columns, 23);
      const Packed packed(DType::kBF16, source.data(), 16, columns);
      std::vector<float> weights(static_cast<size_t>(16 * columns));
      dequantize(DType::kBF16, source.data(), weights.data(), 16 * columns);
      const int64_t stride = columns + 3, pair_stride = (columns + 31) / 32 * 16 + 1;
      const std::vector<float> x = random_floats(static_cast<size_t>(kTileColumns * stride), 24);
      std::vector<uint32_t> pairs(static_cast<size_t>(kTileColumns * pair_stride));
      for (int c = 0; c < kTileColumns; ++c)
        kernels->to_bfloat(x.data() + c * stride, columns, pairs.data() + c * pair_stride);
      Tile alone;
      for (int c = 0; c < kTileColumns; ++c) {
        kernels->matmul_bfloat(packed.panel(0), pairs.data() + c * pair_stride, pair_stride, columns, 1, alone.y[c]);
        std::vector<float> rounded;
        for (int64_t k = 0; k < columns; ++k)
          rounded.push_back(bfloat16_to_float(float_to_bfloat16(x[static_cast<size_t>(c * stride + k)])));
        for (int r = 0; r < 16; ++r) {
          const ExactProduct exact(weights.data() + r * columns, rounded.data(), columns);
          ASSERT_NO_FATAL_FAILURE(expect_close(alone.y[c][r], exact.sum, 4 * exact.magnitude, columns));
        }
      }
      for (int n = 2; n <= kTileColumns; ++n) {
        Tile together;
        kernels->matmul_bfloat(packed.panel(0), pairs.data(), pair_stride, columns, n, together.y[0]);
        ASSERT_EQ(std::memcmp(&together, &alone, sizeof(float) * 16 * static_cast<size_t>(n)), 0) << n << " columns";
      }
    }
  }
  if (tables == 0) GTEST_SKIP() << "neither this processor nor an emulation has AVX-512 BF16";
}

// A panel's end is the next one's beginning, which no kernel takes for its own.
TEST(BFloatMatmul, NothingBeyondThePanelIsRead) {
  for (const Kernels* kernels : runnable_bfloat_kernels()) {
    if (!kernels->matmul_bfloat) continue;
    for (const int64_t columns : {1, 31, 33, 897}) {
      SCOPED_TRACE(testing::Message() << kernels->name << ", " << columns << " columns");
      std::vector<std::byte> source = random_blocks(DType::kBF16, 32, columns, 28);
      std::fill(source.begin() + static_cast<std::ptrdiff_t>(row_bytes(DType::kBF16, columns)) * 16, source.end(),
                std::byte{0xff});  // NaN
      const Packed packed(DType::kBF16, source.data(), 32, columns);
      const int64_t stride = (columns + 31) / 32 * 16;
      const std::vector<float> x = random_floats(static_cast<size_t>(3 * columns), 29);
      std::vector<uint32_t> pairs(static_cast<size_t>(3 * stride));
      for (int c = 0; c < 3; ++c) kernels->to_bfloat(x.data() + c * columns, columns, pairs.data() + c * stride);
      Tile tile;
      kernels->matmul_bfloat(packed.panel(0), pairs.data(), stride, columns, 3, tile.y[0]);
      for (int c = 0; c < 3; ++c) {
        for (int r = 0; r < 16; ++r) ASSERT_TRUE(std::isfinite(tile.y[c][r]));
      }
    }
  }
}

// What the emulation takes tiles to do is what they do: the order of sums, denormals, infinity.
TEST(BFloatMatmul, TilesDoWhatTheirEmulationSays) {
  const auto amx = std::find_if(known_isas().begin(), known_isas().end(),
                                [](const Isa& isa) { return std::string_view(isa.name) == "amx" && isa.available; });
  const Kernels* emulated = amx_emulated_kernels();
  if (amx == known_isas().end() || !emulated) GTEST_SKIP() << "no AMX here, or no emulation";
  for (const int64_t columns : {33, 256, 897}) {
    std::vector<std::byte> source = random_blocks(DType::kBF16, 16, columns, 26);
    const uint16_t special[] = {0x0001, 0x807f, 0x0080, 0x7f80};  // denormals, the smallest normal, infinity
    for (size_t i = 0; i < std::size(special); ++i)               // one a row, so that infinity spoils but its own
      std::memcpy(source.data() + row_bytes(DType::kBF16, columns) * (3 * i) + 2 * i, &special[i], 2);
    const Packed packed(DType::kBF16, source.data(), 16, columns);
    const int64_t pair_stride = (columns + 31) / 32 * 16;
    for (const float deviation : {1.0f, 1e30f, 1e-37f}) {
      const std::vector<float> x = random_floats(static_cast<size_t>(kTileColumns * columns), 27, deviation);
      std::vector<uint32_t> pairs(static_cast<size_t>(kTileColumns * pair_stride));
      for (int c = 0; c < kTileColumns; ++c)
        emulated->to_bfloat(x.data() + c * columns, columns, pairs.data() + c * pair_stride);
      for (const int n : {1, 17, 40, kTileColumns}) {
        Tile native, expected;
        amx->kernels().matmul_bfloat(packed.panel(0), pairs.data(), pair_stride, columns, n, native.y[0]);
        emulated->matmul_bfloat(packed.panel(0), pairs.data(), pair_stride, columns, n, expected.y[0]);
        ASSERT_EQ(std::memcmp(&native, &expected, sizeof(float) * 16 * static_cast<size_t>(n)), 0)
            << columns << " columns, " << n << " rows, deviation " << deviation;
      }
    }
  }
}

// Large sums, sums that nearly cancel, sums of values far apart, and a NaN, side by side: each stays in its own column.
TEST(FloatMatmuls, ExtremesStayInTheirColumns) {
  constexpr int64_t kLong = 8960, kPairs = kLong / 2;
  for (const Kernels* kernels : runnable_bfloat_kernels()) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << kernels->name << ' ' << info(dtype).name);
      const std::vector<std::byte> source = random_blocks(dtype, 16, kLong, 25);
      const Packed packed(dtype, source.data(), 16, kLong);
      std::vector<float> weights(static_cast<size_t>(16 * kLong)), x(static_cast<size_t>(4 * kLong), 0x1p100f);
      dequantize(dtype, source.data(), weights.data(), 16 * kLong);
      for (int64_t k = 0; k < kLong; ++k) {
        x[static_cast<size_t>(kLong + k)] = k % 2 ? 0x1p100f : -0x1p100f;
        x[static_cast<size_t>(2 * kLong + k)] = k % 3 ? 0x1p-100f : 0x1p100f;
        x[static_cast<size_t>(3 * kLong + k)] = k == kLong / 2 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
      }
      std::vector<uint32_t> pairs(static_cast<size_t>(4 * kPairs));
      const auto check = [&](auto&& multiply) {
        Tile together, alone;
        multiply(0, 4, together.y[0]);
        for (int c = 0; c < 4; ++c) {
          multiply(c, 1, alone.y[c]);
          for (int r = 0; r < 16; ++r) {
            const ExactProduct exact(weights.data() + r * kLong, x.data() + c * kLong, kLong);
            if (c == 3)
              ASSERT_TRUE(std::isnan(together.y[c][r]));
            else
              ASSERT_LE(std::fabs(static_cast<double>(together.y[c][r]) - exact.sum), 1e-6 * exact.magnitude) << c;
          }
        }
        ASSERT_EQ(std::memcmp(&together, &alone, sizeof(float) * 16 * 3), 0);
      };
      const FloatMatmulKernel kernel = kernels->matmul_float[static_cast<int>(packed.layout) - kIntegerLayouts];
      check([&](int first, int n, float* y) { kernel(packed.panel(0), x.data() + first * kLong, kLong, kLong, n, y); });
      if (dtype != DType::kBF16 || !kernels->matmul_bfloat) continue;
      for (int c = 0; c < 4; ++c) kernels->to_bfloat(x.data() + c * kLong, kLong, pairs.data() + c * kPairs);
      check([&](int first, int n, float* y) {
        kernels->matmul_bfloat(packed.panel(0), pairs.data() + first * kPairs, kPairs, kLong, n, y);
      });
    }
  }
}

}  // namespace
}  // namespace carronade::cpu
