#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "backend/backend.h"

namespace carronade {
namespace {

constexpr WeightUse kUses[] = {WeightUse::kLinear, WeightUse::kEmbedding, WeightUse::kTied};

// What is said beforehand is what load_weight() takes. 17 rows: no layout divides them.
TEST(WeightBytes, AreWhatLoadingTakes) {
  for (int type = 0; type < kDTypeCount; ++type) {
    const auto dtype = static_cast<DType>(type);
    const int columns = is_float(dtype) ? 511 : 512;
    const std::vector<std::byte> bytes(17 * row_bytes(dtype, columns));
    const WeightSource source{"w", dtype, 17, columns, bytes}, head{"w", dtype, 17, columns, {}};
    for (const std::optional<DType> floats : {std::optional<DType>(), std::optional(DType::kF16)}) {
      const BackendOptions options{.threads = 1, .float_weights = floats};
      const auto cpu = make_cpu_backend(options);
      for (const WeightUse use : kUses) {
        const WeightHandle weight = cpu->load_weight(source, use);
        EXPECT_EQ(cpu_weight_bytes(head, use, options), cpu->memory_in_use())
            << info(dtype).name << " use " << static_cast<int>(use) << (floats ? " as F16" : "");
      }
    }
    const auto reference = make_reference_backend({});
    const WeightHandle weight = reference->load_weight(source, WeightUse::kLinear);
    EXPECT_EQ(reference_weight_bytes(head), reference->memory_in_use()) << info(dtype).name;
  }
}

TEST(WeightBytes, VectorsAreFloats) {
  const std::vector<std::byte> bytes(row_bytes(DType::kF16, 100));
  const WeightSource source{"v", DType::kF16, 1, 100, bytes};
  const auto cpu = make_cpu_backend({.threads = 1});
  const WeightHandle weight = cpu->load_weight(source, WeightUse::kVector);
  EXPECT_EQ(cpu_weight_bytes(source, WeightUse::kVector, {}), 448u) << "400 bytes in whole lines of 64";
  EXPECT_EQ(cpu->memory_in_use(), 448u);
}

TEST(WeightBytes, SomeTypesTakeMoreThanTheirFile) {
  const auto bits = [](DType dtype) {
    const WeightSource source{"w", dtype, 16, 2048, {}};
    return static_cast<double>(cpu_weight_bytes(source, WeightUse::kLinear, {})) * 8 / (16 * 2048);
  };
  EXPECT_DOUBLE_EQ(bits(DType::kQ2_K), 12.0);
  EXPECT_DOUBLE_EQ(bits(DType::kQ3_K), 6.625);
  EXPECT_DOUBLE_EQ(bits(DType::kQ6_K), 6.625);
  EXPECT_DOUBLE_EQ(bits(DType::kIQ4_NL), 8.5);
  EXPECT_DOUBLE_EQ(bits(DType::kIQ4_XS), 9.0);
  EXPECT_DOUBLE_EQ(bits(DType::kQ8_0), 8.5);
}

}  // namespace
}  // namespace carronade
