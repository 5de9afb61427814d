#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "tensor/blocks.h"

namespace carronade {
namespace {

constexpr int kDTypes = kDTypeCount;

TEST(DType, NamesAndNumbersLeadBackToTheType) {
  for (int i = 0; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_of_name(info(dtype).name), dtype);
    EXPECT_EQ(dtype_of_ggml_type(static_cast<uint32_t>(info(dtype).ggml_type)), dtype);
  }
  EXPECT_EQ(dtype_of_name("q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_of_name("bf16"), DType::kBF16);
  EXPECT_EQ(dtype_of_name("Q4_KM"), std::nullopt);
  EXPECT_EQ(dtype_of_name(""), std::nullopt);
  EXPECT_EQ(dtype_of_ggml_type(16), std::nullopt);  // IQ2_XXS
  EXPECT_EQ(dtype_of_ggml_type(0xFFFFFFFFu), std::nullopt);
}

TEST(DType, RowBytesCountWholeBlocks) {
  EXPECT_EQ(row_bytes(DType::kF32, 7), 28u);
  EXPECT_EQ(row_bytes(DType::kQ4_K, 1536), 6u * 144);
  EXPECT_EQ(row_bytes(DType::kQ6_K, 256), 210u);
  EXPECT_EQ(row_bytes(DType::kQ8_0, 64), 68u);
}

TEST(Half, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float value = half_to_float(static_cast<uint16_t>(h));
    if ((h & 0x7FFF) > 0x7C00) {
      EXPECT_TRUE(std::isnan(value)) << h;
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value)))) << h;
      continue;
    }
    // The value by its definition.
    const int exponent = static_cast<int>(h >> 10 & 31), mantissa = static_cast<int>(h & 1023);
    const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                             : exponent == 0 ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(value, static_cast<float>(h & 0x8000 ? -magnitude : magnitude)) << h;
    ASSERT_EQ(std::signbit(value), (h & 0x8000) != 0) << h;
    ASSERT_EQ(float_to_half(value), h) << h;
  }
}

TEST(Half, BetweenTwoHalvesTheNearestWinsAndTiesGoToEven) {
  for (uint32_t h = 0; h < 0x7C00; ++h) {
    const double low = half_to_float(static_cast<uint16_t>(h));
    const double high = h == 0x7BFF ? 65536.0 : half_to_float(static_cast<uint16_t>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: a float has 13 more bits
    ASSERT_EQ(float_to_half(middle), h % 2 == 0 ? h : h + 1) << h;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0f)), h) << h;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9f)), h + 1) << h;
    ASSERT_EQ(float_to_half(-middle), 0x8000 | (h % 2 == 0 ? h : h + 1)) << h;
  }
  EXPECT_EQ(float_to_half(1e30f), 0x7C00);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNaN) {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const float value = bfloat16_to_float(static_cast<uint16_t>(b));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(value)))) << b;
    } else {
      ASSERT_EQ(float_to_bfloat16(value), b);
    }
  }
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // tie, even below
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F818000u)), 0x3F82);  // tie, even above
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::max()), 0x7F80);
  // A NaN whose payload is only in the bits cut off must not become an infinity.
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7F800001u)))));
}

// What the `gguf` package computed; see tests/golden/tensor/make_goldens.py.
struct Golden {
  DType dtype;
  bool rounding;  // floats → blocks, else blocks → floats
  std::vector<std::byte> blocks;
  std::vector<float> floats;
};

std::vector<Golden> goldens() {
  const MappedFile file(std::string(CARRONADE_SOURCE_DIR) + "/tests/golden/tensor/goldens.bin");
  std::vector<Golden> result;
  const std::byte* at = file.bytes().data();
  const std::byte* end = at + file.bytes().size();
  while (at < end) {
    char name[9] = {};
    uint32_t header[2];
    std::memcpy(name, at, 8);
    std::memcpy(header, at + 8, 8);
    at += 16;
    Golden golden{dtype_of_name(name).value(), header[0] == 1, {}, std::vector<float>(header[1])};
    const size_t bytes = row_bytes(golden.dtype, header[1]);
    golden.blocks.assign(at, at + bytes);
    std::memcpy(golden.floats.data(), at + bytes, header[1] * sizeof(float));
    at += bytes + header[1] * sizeof(float);
    result.push_back(std::move(golden));
  }
  return result;
}

TEST(Dequantize, EqualsTheReferencePackageBitForBit) {
  int types = 0;
  for (const Golden& golden : goldens()) {
    if (golden.rounding) continue;
    ++types;
    std::vector<float> values(golden.floats.size());
    dequantize(golden.dtype, golden.blocks.data(), values.data(), static_cast<int64_t>(values.size()));
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(golden.floats[i]))
          << info(golden.dtype).name << " element " << i << ": " << values[i] << " and not " << golden.floats[i];
    }
  }
  EXPECT_EQ(types, kDTypes - 1);  // all but F32
}

TEST(Dequantize, TheSourceMayBeUnaligned) {
  for (const Golden& golden : goldens()) {
    if (golden.rounding) continue;
    for (size_t shift : {1u, 2u, 3u, 5u}) {
      std::vector<std::byte> moved(golden.blocks.size() + shift);
      std::memcpy(moved.data() + shift, golden.blocks.data(), golden.blocks.size());
      std::vector<float> values(golden.floats.size());
      dequantize(golden.dtype, moved.data() + shift, values.data(), static_cast<int64_t>(values.size()));
      ASSERT_EQ(0, std::memcmp(values.data(), golden.floats.data(), values.size() * sizeof(float)))
          << info(golden.dtype).name;
    }
  }
}

TEST(Dequantize, AnyCountOfBlocksAndNotOneElementMore) {
  for (const Golden& golden : goldens()) {
    if (golden.rounding) continue;
    const int block = info(golden.dtype).block_elements;
    for (int blocks : {0, 1, 3}) {
      const auto count = static_cast<size_t>(blocks * block);
      std::vector<float> values(count + 8, 1234.5f);
      dequantize(golden.dtype, golden.blocks.data(), values.data(), static_cast<int64_t>(count));
      ASSERT_EQ(0, std::memcmp(values.data(), golden.floats.data(), count * sizeof(float))) << info(golden.dtype).name;
      for (size_t i = count; i < values.size(); ++i) ASSERT_EQ(values[i], 1234.5f) << info(golden.dtype).name;
    }
  }
}

TEST(Quantize, RoundsTheSimpleFormatsAsTheReferencePackageDoes) {
  int types = 0;
  for (const Golden& golden : goldens()) {
    if (!golden.rounding) continue;
    ++types;
    std::vector<std::byte> blocks(golden.blocks.size());
    quantize(golden.dtype, golden.floats.data(), blocks.data(), static_cast<int64_t>(golden.floats.size()));
    for (size_t i = 0; i < blocks.size(); ++i) {
      ASSERT_EQ(blocks[i], golden.blocks[i]) << info(golden.dtype).name << " byte " << i;
    }
  }
  EXPECT_EQ(types, 7);
}

double relative_rms_error(DType dtype, const std::vector<float>& x) {
  const auto count = static_cast<int64_t>(x.size());
  std::vector<std::byte> blocks(row_bytes(dtype, count));
  std::vector<float> y(x.size());
  quantize(dtype, x.data(), blocks.data(), count);
  dequantize(dtype, blocks.data(), y.data(), count);
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    power += x[i] * x[i];
  }
  return std::sqrt(error / power);
}

// Normal numbers at every magnitude of use; the bounds are a tenth above what ggml's reference quantizers leave on the
// same numbers.
TEST(Quantize, RoundTripErrorIsThatOfTheFormat) {
  const std::pair<DType, double> bounds[] = {
      {DType::kF32, 0},       {DType::kF16, 3e-4},    {DType::kBF16, 2.5e-3}, {DType::kQ8_0, 0.0060},
      {DType::kQ5_0, 0.048},  {DType::kQ5_1, 0.042},  {DType::kQ4_0, 0.0955}, {DType::kQ4_1, 0.087},
      {DType::kQ6_K, 0.0233}, {DType::kQ5_K, 0.0405}, {DType::kQ4_K, 0.0798}, {DType::kQ3_K, 0.1675},
      {DType::kQ2_K, 0.33},
  };
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float magnitude : {1e-3f, 0.02f, 1.0f, 300.0f}) {
    std::vector<float> x(256 * 40);
    for (float& v : x) v = normal(random) * magnitude;
    for (const auto& [dtype, bound] : bounds) {
      const double error = relative_rms_error(dtype, x);
      EXPECT_LE(error, bound) << info(dtype).name << " at " << magnitude;
      if (dtype != DType::kF32) {
        EXPECT_GT(error, 0) << info(dtype).name;
      }
      RecordProperty(std::string(info(dtype).name), std::to_string(error));
    }
  }
}

TEST(Quantize, ZerosConstantsAndWhatIsNotANumberDoNoHarm) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int i = 0; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::kIQ4_NL || dtype == DType::kIQ4_XS) continue;
    std::vector<std::byte> blocks(row_bytes(dtype, 256));
    std::vector<float> y(256);
    for (float fill : {0.0f, 0.5f, -0.5f, 1e-30f, 3e38f, infinity, -infinity, std::nanf("")}) {
      const std::vector<float> x(256, fill);
      quantize(dtype, x.data(), blocks.data(), 256);
      dequantize(dtype, blocks.data(), y.data(), 256);
      if (fill == 0.0f) {
        for (float v : y) ASSERT_EQ(v, 0.0f) << info(dtype).name;
      }
      if (std::fabs(fill) == 0.5f) {
        for (float v : y) ASSERT_NEAR(v, fill, 0.02f) << info(dtype).name;
      }
    }
  }
}

TEST(ConvertFloats, RoundsAndSaysWhatDoesNotFit) {
  const std::vector<float> values = {0.0f, -1.5f, 65504.0f, 1e-8f, INFINITY, 3.14159f};
  std::vector<std::byte> wide(1 + 4 * values.size()), half(2 * values.size()), bfloat(2 * values.size());
  std::memcpy(wide.data() + 1, values.data(), 4 * values.size());  // unaligned
  ASSERT_TRUE(convert_floats(DType::kF32, wide.data() + 1, DType::kF16, half.data(), 6));
  ASSERT_TRUE(convert_floats(DType::kF32, wide.data() + 1, DType::kBF16, bfloat.data(), 6));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, half.data() + 2 * i, 2);
    EXPECT_EQ(bits, float_to_half(values[i]));
    std::memcpy(&bits, bfloat.data() + 2 * i, 2);
    EXPECT_EQ(bits, float_to_bfloat16(values[i]));
  }
  std::vector<float> many(3000, 1.0f);
  many[2999] = -65536.0f;
  std::vector<std::byte> out(6000);
  EXPECT_FALSE(
      convert_floats(DType::kF32, reinterpret_cast<const std::byte*>(many.data()), DType::kF16, out.data(), 3000));
  EXPECT_TRUE(
      convert_floats(DType::kF32, reinterpret_cast<const std::byte*>(many.data()), DType::kBF16, out.data(), 3000));
}

TEST(Quantize, AFormatWithoutQuantizerIsNamed) {
  const std::vector<float> x(256);
  std::vector<std::byte> blocks(256);
  try {
    quantize(DType::kIQ4_XS, x.data(), blocks.data(), 256);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("IQ4_XS"), std::string::npos);
  }
}

}  // namespace
}  // namespace carronade
