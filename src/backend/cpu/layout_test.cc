#include "backend/cpu/layout.h"

#include <gtest/gtest.h>

#include "backend/cpu/testing.h"

namespace carronade::cpu {
namespace {

class LayoutTest : public testing::TestWithParam<DType> {};

std::string name_of_type(const testing::TestParamInfo<DType>& p) { return test_name(std::string(info(p.param).name)); }

// Shapes: whole and ragged panels; whole super-blocks, and rows that are not where the format allows them.
std::vector<std::pair<int64_t, int64_t>> shapes(DType dtype) {
  const int block = info(dtype).block_elements;
  std::vector<std::pair<int64_t, int64_t>> result = {{16, 256}, {33, 512}, {1, 768}};
  if (block <= 32) result.insert(result.end(), {{17, 32}, {5, 896}, {48, 288}});
  if (block == 1) result.insert(result.end(), {{3, 1}, {20, 47}, {16, 65}});
  return result;
}

TEST_P(LayoutTest, UnpackingGivesTheExactValuesOfTheFile) {
  const DType dtype = GetParam();
  for (const auto& [rows, columns] : shapes(dtype)) {
    SCOPED_TRACE(testing::Message() << rows << " x " << columns);
    std::vector<std::byte> source = random_blocks(dtype, rows, columns, 7);
    source.insert(source.begin(), std::byte{0});  // files promise no alignment
    std::vector<float> expected(static_cast<size_t>(rows * columns)), row(static_cast<size_t>(columns));
    dequantize(dtype, source.data() + 1, expected.data(), rows * columns);
    const Packed packed(dtype, source.data() + 1, rows, columns);
    for (int64_t r = 0; r < rows; ++r) {
      unpack_row(packed.layout, packed.panel(0), columns, r, row.data());
      for (int64_t k = 0; k < columns; ++k)
        ASSERT_EQ(row[static_cast<size_t>(k)], expected[static_cast<size_t>(r * columns + k)]) << r << ' ' << k;
    }
  }
}

TEST_P(LayoutTest, RowsBeyondTheMatrixAreZero) {
  const DType dtype = GetParam();
  const std::vector<std::byte> source = random_blocks(dtype, 3, 256, 7);
  const Packed packed(dtype, source.data(), 3, 256);
  std::vector<float> step(32 * 16);
  for (int64_t s = 0; s < 8; ++s) {
    unpack_step(packed.layout, packed.panel(0), 256, s, step.data());
    for (int k = 0; k < 32; ++k) {
      for (int r = 3; r < 16; ++r) ASSERT_EQ(step[static_cast<size_t>(16 * k + r)], 0.0f);
    }
  }
}

TEST_P(LayoutTest, PanelsAreAlignedAndNotMuchLargerThanTheFile) {
  const DType dtype = GetParam();
  const size_t size = panel_bytes(layout_of(dtype), 1536);
  EXPECT_EQ(size % 64, 0u);
  const bool own_layout =
      dtype != DType::kQ2_K && dtype != DType::kQ3_K && dtype != DType::kIQ4_NL && dtype != DType::kIQ4_XS;
  if (own_layout) {
    EXPECT_LE(static_cast<double>(size), 1.03 * 16.0 * static_cast<double>(row_bytes(dtype, 1536)));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LayoutTest, testing::ValuesIn(all_dtypes()), name_of_type);

}  // namespace
}  // namespace carronade::cpu
