// The kernels over single rows and the attention kernel, of every instruction set, against plain loops in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

class RowsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels() const { return *GetParam(); }
};

std::string table_name(const testing::TestParamInfo<const Kernels*>& p) { return p.param->name; }
INSTANTIATE_TEST_SUITE_P(Isas, RowsTest, testing::ValuesIn(runnable_kernels()), table_name);

TEST_P(RowsTest, QuantizingKeepsEveryValueWithinHalfAStep) {
  for (const int64_t n : {1, 31, 32, 33, 64, 256, 896, 1000}) {
    std::vector<float> x = random_floats(static_cast<size_t>(n), static_cast<uint32_t>(n));
    x[static_cast<size_t>(n / 2)] = -37.5f;
    Quantized a(kernels(), x, 1, n);
    const bool by_chunks = a.has_units();
    EXPECT_EQ(by_chunks, n >= 256 && rounds_by_chunks(kernels()));
    for (int64_t g = 0; g < a.k / 32; ++g) {
      const auto group = static_cast<size_t>(g);
      const float scale = a.scale[group];
      int pairs[4] = {0, 0, 0, 0};
      float largest = 0;
      for (int64_t i = 32 * g; i < 32 * g + 32; ++i) {
        const auto at = static_cast<size_t>(i);
        const float value = i < n ? x[at] : 0.0f;
        largest = std::max(largest, std::fabs(value));
        ASSERT_LE(std::abs(a.q[at]), 127);
        ASSERT_NEAR(static_cast<float>(a.q[at]) * scale, value, 0.501f * scale);
        pairs[i % 32 / 16 * 2 + i % 4 / 2] += a.q[at];
      }
      const int sum = pairs[0] + pairs[1] + pairs[2] + pairs[3];
      for (size_t h = 0; h < 2; ++h) ASSERT_EQ(a.half_sum[2 * group + h], pairs[2 * h] + pairs[2 * h + 1]);
      ASSERT_EQ(a.sum[group], scale * static_cast<float>(sum));
      if (by_chunks && g / 8 * 256 + 256 <= n) {
        const float unit = a.unit[group / 8 * 8];
        ASSERT_EQ(scale, static_cast<float>(a.factor[group]) * unit);
        ASSERT_GE(scale, largest / 127.0f * (1 - 1e-6f));
        ASSERT_LE(scale, largest / 127.0f + unit);
        ASSERT_LE(a.factor[group], 127);
        ASSERT_LE(std::abs(16 * a.factor_sum[group] - a.factor[group] * sum), 8);
        for (size_t h = 0; h < 2; ++h) ASSERT_EQ(a.half_offset[2 * group + h], -32 * a.half_sum[2 * group + h]);
      } else {
        ASSERT_FLOAT_EQ(scale, largest / 127.0f);
      }
      if (rounds_by_chunks(kernels())) continue;  // whose kernels read no pair sums
      for (size_t i = 0; i < 4; ++i) ASSERT_EQ(a.pair_sum[4 * group + i], pairs[i]);
    }
  }
}

// Of a chunk: groups of nothing, of values far below the largest, and the largest of what there is.
TEST_P(RowsTest, QuantizingAChunkOfValuesFarApart) {
  std::vector<float> x(256, 0.0f);
  x[0] = 1e30f;
  x[33] = -1e30f;
  x[64] = 1e20f;
  x[96] = 1e-5f;
  Quantized a(kernels(), x, 1, 256);
  EXPECT_EQ(a.q[0], 127);
  EXPECT_EQ(a.q[33], -127);
  EXPECT_EQ(a.scale[4], 0.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    const float scale = a.scale[i / 32];
    ASSERT_TRUE(std::isfinite(scale));
    ASSERT_NEAR(scale * static_cast<float>(a.q[i]), x[i], 0.501f * scale) << i;
  }
}

TEST_P(RowsTest, PairsOfBFloatsRoundToNearestEvenUpToWholeGroups) {
  if (!kernels().to_bfloat) GTEST_SKIP() << "multiplies no BF16";
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.0f,       -0.0f,   1.00390625f, 1.01171875f, -1.00390625f,   kInfinity,
                                      -kInfinity, 3.4e38f, 1e-42f,      -1e-42f,     1.17549435e-38f};
  for (const int64_t n : {1, 31, 32, 33, 64, 1000}) {
    std::vector<float> x = random_floats(static_cast<size_t>(n), 3);
    for (size_t i = 0; i < std::min(x.size(), special.size()); ++i) x[x.size() - 1 - i] = special[i];
    const auto words = static_cast<size_t>((n + 31) / 32 * 16);
    std::vector<uint32_t> pairs(words + 1, 0xabcdef01u);
    kernels().to_bfloat(x.data(), n, pairs.data());
    EXPECT_EQ(pairs[words], 0xabcdef01u);
    for (size_t i = 0; i < 2 * words; ++i) {
      const float value = i < x.size() ? x[i] : 0.0f;
      const bool tiny = std::fabs(value) < std::numeric_limits<float>::min();
      const auto found = static_cast<uint16_t>(pairs[i / 2] >> (16 * (i % 2)));
      EXPECT_EQ(found, float_to_bfloat16(tiny ? std::copysign(0.0f, value) : value)) << value;
    }
    x[0] = std::numeric_limits<float>::quiet_NaN();
    kernels().to_bfloat(x.data(), n, pairs.data());
    EXPECT_TRUE(std::isnan(bfloat16_to_float(static_cast<uint16_t>(pairs[0]))));
  }
}

TEST_P(RowsTest, QuantizingZerosTinyAndBrokenValues) {
  Quantized zeros(kernels(), std::vector<float>(32, 0.0f), 1, 32);
  EXPECT_EQ(zeros.scale[0], 0.0f);
  EXPECT_EQ(zeros.sum[0], 0.0f);
  Quantized tiny(kernels(), std::vector<float>(32, 1e-42f), 1, 32);
  EXPECT_EQ(tiny.scale[0], 0.0f);
  EXPECT_EQ(tiny.q[5], 0);
  for (const float small : {0.0f, 1e-42f}) {
    Quantized chunk(kernels(), std::vector<float>(256, small), 1, 256);
    for (size_t g = 0; g < 8; ++g) {
      EXPECT_EQ(chunk.scale[g], 0.0f);
      EXPECT_EQ(chunk.sum[g], 0.0f);
    }
    EXPECT_FALSE(chunk.has_units());
    EXPECT_EQ(chunk.q, std::vector<int8_t>(256, 0));
  }
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(64, 1.0f);
    x[3] = bad;
    Quantized broken(kernels(), x, 1, 64);
    EXPECT_TRUE(std::isnan(broken.scale[0]));
    EXPECT_EQ(broken.scale[1], 1.0f / 127.0f);
    x.resize(512, 1.0f);
    Quantized chunks(kernels(), x, 1, 512);
    EXPECT_TRUE(std::isnan(chunks.scale[0]));
    EXPECT_TRUE(std::isnan(chunks.sum[0]));
    EXPECT_FLOAT_EQ(chunks.scale[9], 1.0f / 127.0f);
    if (chunks.has_units()) {
      EXPECT_TRUE(std::isnan(chunks.unit[0]));
      EXPECT_FALSE(std::isnan(chunks.unit[8]));
    }
  }
}

TEST_P(RowsTest, RmsNorm) {
  for (const int64_t n : {1, 7, 64, 100, 1536}) {
    const std::vector<float> x = random_floats(static_cast<size_t>(n), 3, 5.0f),
                             w = random_floats(static_cast<size_t>(n), 4);
    std::vector<float> y(static_cast<size_t>(n));
    kernels().rms_norm_row(x.data(), w.data(), 1e-6f, n, y.data());
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-6);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = static_cast<double>(x[i]) * scale * static_cast<double>(w[i]);
      ASSERT_NEAR(y[i], exact, 1e-6 * std::fabs(exact));
    }
  }
}

TEST_P(RowsTest, LayerNorm) {
  for (const int64_t n : {1, 7, 64, 100, 384, 1030}) {
    for (const float shift : {0.0f, 300.0f}) {  // a mean far from zero must not cost the variance
      std::vector<float> x = random_floats(static_cast<size_t>(n), 3, 5.0f);
      for (float& value : x) value += shift;
      const std::vector<float> w = random_floats(static_cast<size_t>(n), 4),
                               b = random_floats(static_cast<size_t>(n), 5);
      std::vector<float> y = x;
      kernels().layer_norm_row(y.data(), w.data(), b.data(), 1e-5f, n);
      double mean = 0, variance = 0;
      for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(n);
      for (const float value : x) variance += std::pow(static_cast<double>(value) - mean, 2) / static_cast<double>(n);
      const double scale = 1 / std::sqrt(variance + 1e-5);
      for (size_t i = 0; i < x.size(); ++i) {
        const double exact =
            (static_cast<double>(x[i]) - mean) * scale * static_cast<double>(w[i]) + static_cast<double>(b[i]);
        ASSERT_NEAR(y[i], exact, 2e-6 + (shift > 0 ? 2e-4 : 2e-6) * std::fabs(exact)) << n << ' ' << shift;
      }
    }
  }
}

TEST_P(RowsTest, ExactGelu) {
  std::vector<float> x;
  for (float v = -120; v <= 120; v += 0.37f) x.push_back(v * v * v / 14400.0f);  // dense near zero
  x.push_back(0.0f);
  std::vector<float> y = x;
  kernels().gelu_row(y.data(), static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = static_cast<double>(x[i]), exact = 0.5 * v * std::erfc(-v / std::sqrt(2.0));
    ASSERT_NEAR(y[i], exact, 2.5e-7 * std::fabs(v)) << v;
  }
  float nan[2] = {std::numeric_limits<float>::quiet_NaN(), 1.0f};
  kernels().gelu_row(nan, 2);
  EXPECT_TRUE(std::isnan(nan[0]));
  EXPECT_NEAR(nan[1], 0.8413447f, 1e-6);
}

TEST_P(RowsTest, Activations) {
  std::vector<float> gate, up;
  for (float x = -120; x <= 120; x += 0.37f) {
    gate.push_back(x * x * x / 14400.0f);  // dense near zero
    up.push_back(1.5f);
  }
  std::vector<float> silu = gate, gelu = gate;
  kernels().silu_mul(silu.data(), up.data(), static_cast<int64_t>(gate.size()));
  kernels().gelu_mul(gelu.data(), up.data(), static_cast<int64_t>(gate.size()));
  for (size_t i = 0; i < gate.size(); ++i) {
    const double x = static_cast<double>(gate[i]);
    const double exact_silu = 1.5 * x / (1 + std::exp(-x));
    const double exact_gelu = 1.5 * 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    ASSERT_NEAR(silu[i], exact_silu, 1e-6 * std::fabs(exact_silu) + 1e-30) << x;
    // 1 + tanh cancels in the oracle itself for very negative x.
    ASSERT_NEAR(gelu[i], exact_gelu, 2e-6 * std::fabs(exact_gelu) + 1e-7) << x;
  }
  float nan[2] = {std::numeric_limits<float>::quiet_NaN(), 1.0f};
  const float one[2] = {1.0f, 1.0f};
  kernels().silu_mul(nan, one, 2);
  EXPECT_TRUE(std::isnan(nan[0]));
}

TEST_P(RowsTest, HalvesRoundToNearestEvenAndStayFinite) {
  std::vector<float> x = random_floats(77, 5, 100.0f);
  x[0] = 1e6f;
  x[1] = -1e6f;
  x[2] = 1.00048828125f;  // between two halves
  x[3] = 1e-7f;           // a subnormal half
  std::vector<uint16_t> half(x.size());
  kernels().to_half(x.data(), static_cast<int64_t>(x.size()), half.data());
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(half[i], float_to_half(std::clamp(x[i], -65504.0f, 65504.0f))) << x[i];
}

TEST_P(RowsTest, ArgmaxTakesTheLowestOfEquals) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), low = -std::numeric_limits<float>::infinity();
  for (const int64_t n : {1, 5, 16, 40, 151}) {
    std::vector<float> x = random_floats(static_cast<size_t>(n), static_cast<uint32_t>(n));
    ASSERT_EQ(kernels().argmax(x.data(), n), std::max_element(x.begin(), x.end()) - x.begin());
    const auto i = static_cast<size_t>(n / 3);
    x[i] = x[static_cast<size_t>(n - 1)] = 100.0f;
    ASSERT_EQ(kernels().argmax(x.data(), n), n / 3);
    if (n > 4) {
      x[0] = nan;
      ASSERT_EQ(kernels().argmax(x.data(), n), n / 3);
    }
  }
  const std::vector<float> nothing(40, low), broken(40, nan);
  EXPECT_EQ(kernels().argmax(nothing.data(), 40), 0);
  EXPECT_EQ(kernels().argmax(broken.data(), 40), 0);
}

TEST_P(RowsTest, FindAboveFindsAllInOrder) {
  const std::vector<float> x = random_floats(1003, 9);
  for (const int room : {64, 100, 2000}) {
    std::vector<int32_t> all, found(static_cast<size_t>(room));
    for (int64_t at = 0; at < 1003;) {
      int got = 0;
      const int64_t next = kernels().find_above(x.data(), at, 1003, 0.5f, found.data(), room, &got);
      ASSERT_GT(next, at);
      all.insert(all.end(), found.begin(), found.begin() + got);
      at = next;
    }
    std::vector<int32_t> expected;
    for (int32_t i = 0; i < 1003; ++i) {
      if (x[static_cast<size_t>(i)] > 0.5f) expected.push_back(i);
    }
    EXPECT_EQ(all, expected);
  }
}

// ---- Attention

struct AttentionCase {
  int head_dim, queries, blocks;
  int64_t first_position;
  float soft_cap;
};

struct AttentionData {
  std::vector<std::vector<std::byte>> keys, values;  // a block each, in the kernel's form
  std::vector<double> k, v;                          // [positions, head_dim], the values that the pieces hold
  std::vector<const std::byte*> key_pointers, value_pointers;
};

AttentionData make_kv(KvFormat format, int head_dim, int blocks) {
  AttentionData data;
  const auto positions = static_cast<size_t>(16 * blocks), dim = static_cast<size_t>(head_dim);
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  for (const bool is_key : {true, false}) {
    auto& pieces = is_key ? data.keys : data.values;
    auto& exact = is_key ? data.k : data.v;
    exact.resize(positions * dim);
    const size_t element = format == KvFormat::kF32 ? 4 : format == KvFormat::kF16 ? 2 : 1;
    pieces.assign(static_cast<size_t>(blocks), std::vector<std::byte>(16 * dim * element + (element == 1 ? dim : 0)));
    for (size_t p = 0; p < positions; ++p) {
      for (size_t d = 0; d < dim; ++d) {
        std::byte* piece = pieces[p / 16].data();
        const size_t at = is_key ? 16 * d + p % 16 : p % 16 * dim + d;
        const float value = normal(random);
        if (format == KvFormat::kF32) {
          std::memcpy(piece + 4 * at, &value, 4);
          exact[p * dim + d] = static_cast<double>(value);
        } else if (format == KvFormat::kF16) {
          const uint16_t half = float_to_half(value);
          std::memcpy(piece + 2 * at, &half, 2);
          exact[p * dim + d] = static_cast<double>(half_to_float(half));
        } else {
          const size_t group = d / 32;
          const size_t scale_at = 16 * dim + 2 * (16 * group + p % 16);
          const uint16_t scale = float_to_half(0.01f + 0.0001f * static_cast<float>(p + group));
          std::memcpy(piece + scale_at, &scale, 2);
          const auto q = static_cast<int8_t>(random() % 255 - 127);
          std::memcpy(piece + at, &q, 1);
          exact[p * dim + d] = static_cast<double>(half_to_float(scale)) * q;
        }
      }
    }
  }
  for (const auto& piece : data.keys) data.key_pointers.push_back(piece.data());
  for (const auto& piece : data.values) data.value_pointers.push_back(piece.data());
  return data;
}

void check_attention(const Kernels& kernels, KvFormat format, const AttentionCase& c) {
  SCOPED_TRACE(testing::Message() << "head " << c.head_dim << " queries " << c.queries << " blocks " << c.blocks);
  const AttentionData data = make_kv(format, c.head_dim, c.blocks);
  const auto dim = static_cast<size_t>(c.head_dim), queries = static_cast<size_t>(c.queries);
  const std::vector<float> q = random_floats(queries * dim, 23);
  std::vector<const float*> pointers;
  std::vector<int64_t> begin, end;
  std::mt19937 random(5);
  const int64_t positions = 16 * c.blocks;
  for (size_t i = 0; i < queries; ++i) {
    pointers.push_back(q.data() + i * dim);
    begin.push_back(i % 3 == 1 ? c.first_position + static_cast<int64_t>(random() % static_cast<unsigned>(positions))
                               : 0);
    end.push_back(c.first_position + 1 + static_cast<int64_t>(random() % static_cast<unsigned>(positions)));
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  const AttentionSpan span{data.key_pointers.data(),
                           data.value_pointers.data(),
                           c.blocks,
                           c.first_position,
                           c.head_dim,
                           c.queries,
                           pointers.data(),
                           begin.data(),
                           end.data(),
                           scale,
                           c.soft_cap};
  std::vector<float> max(queries), sum(queries), out(queries * dim, 7.0f);
  kernels.attention[static_cast<int>(format)](span, {max.data(), sum.data(), out.data()});

  for (size_t i = 0; i < queries; ++i) {
    std::vector<double> s(static_cast<size_t>(positions), -std::numeric_limits<double>::infinity());
    double highest = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t p = 0; p < positions; ++p) {
      if (c.first_position + p < begin[i] || c.first_position + p >= end[i]) continue;
      double score = 0;
      for (size_t d = 0; d < dim; ++d)
        score += static_cast<double>(pointers[i][d]) * data.k[static_cast<size_t>(p) * dim + d];
      score *= static_cast<double>(scale);
      if (c.soft_cap > 0) score = c.soft_cap * std::tanh(score / c.soft_cap);
      s[static_cast<size_t>(p)] = score;
      highest = std::max(highest, score);
    }
    if (std::isinf(highest)) {
      ASSERT_EQ(max[i], kNothingSeen);
      ASSERT_EQ(sum[i], 0.0f);
      for (size_t d = 0; d < dim; ++d) ASSERT_EQ(out[i * dim + d], 0.0f);
      continue;
    }
    for (double& score : s) total += score = std::exp(score - highest);
    ASSERT_NEAR(max[i], highest, 2e-5);
    for (size_t d = 0; d < dim; ++d) {
      double exact = 0, magnitude = 0;
      for (size_t p = 0; p < s.size(); ++p) {
        exact += s[p] / total * data.v[p * dim + d];
        magnitude += s[p] / total * std::fabs(data.v[p * dim + d]);
      }
      ASSERT_NEAR(out[i * dim + d] / sum[i], exact, 1e-5 * magnitude) << "query " << i << " d " << d;
    }
    // Alone, the query has the same bits.
    std::vector<float> alone(dim);
    float alone_max = 0, alone_sum = 0;
    AttentionSpan one = span;
    one.queries = 1;
    one.q += i, one.begin += i, one.end += i;
    kernels.attention[static_cast<int>(format)](one, {&alone_max, &alone_sum, alone.data()});
    ASSERT_EQ(alone_max, max[i]);
    ASSERT_EQ(alone_sum, sum[i]);
    for (size_t d = 0; d < dim; ++d) ASSERT_EQ(alone[d], out[i * dim + d]);
  }
}

TEST_P(RowsTest, AttentionMatchesPlainSoftmax) {
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kF32, KvFormat::kQ8_0}) {
    check_attention(kernels(), format, {64, 6, 3, 0, 0.0f});
    check_attention(kernels(), format, {128, 1, 1, 256, 0.0f});
    check_attention(kernels(), format, {32, 13, 16, 512, 0.0f});
    check_attention(kernels(), format, {96, 7, 2, 16, 5.0f});
    for (const int queries : {8, 9, 10, 11, 12, 25}) check_attention(kernels(), format, {64, queries, 2, 48, 0.0f});
    if (format == KvFormat::kQ8_0) continue;
    check_attention(kernels(), format, {2, 3, 2, 0, 0.0f});
    check_attention(kernels(), format, {80, 4, 2, 0, 0.0f});
    check_attention(kernels(), format, {45, 5, 2, 32, 0.0f});
    check_attention(kernels(), format, {45, 12, 2, 32, 0.0f});
  }
}

TEST_P(RowsTest, MergingTwoHalvesIsTheWhole) {
  for (const int dim : {5, 16, 64}) {
    const std::vector<float> a = random_floats(static_cast<size_t>(dim), 1),
                             b = random_floats(static_cast<size_t>(dim), 2);
    std::vector<float> out = a;
    float max = 1.0f, sum = 2.0f;
    kernels().merge_partial(&max, &sum, out.data(), 3.0f, 1.5f, b.data(), dim);
    EXPECT_EQ(max, 3.0f);
    EXPECT_NEAR(sum, 1.5 + 2 * std::exp(-2.0), 1e-6);
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_NEAR(out[i], static_cast<double>(a[i]) * std::exp(-2.0) + static_cast<double>(b[i]), 1e-6);
    // Merging what saw nothing changes no bit, on either side.
    const std::vector<float> before = out, zeros(static_cast<size_t>(dim));
    const float sum_before = sum;
    kernels().merge_partial(&max, &sum, out.data(), kNothingSeen, 0.0f, zeros.data(), dim);
    EXPECT_EQ(out, before);
    EXPECT_EQ(sum, sum_before);
    std::vector<float> empty = zeros;
    float empty_max = kNothingSeen, empty_sum = 0;
    kernels().merge_partial(&empty_max, &empty_sum, empty.data(), max, sum, out.data(), dim);
    EXPECT_EQ(empty, before);
    EXPECT_EQ(empty_sum, sum_before);
    EXPECT_EQ(empty_max, max);
  }
}

}  // namespace
}  // namespace carronade::cpu
