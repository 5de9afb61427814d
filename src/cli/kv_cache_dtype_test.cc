#include "cli/kv_cache_dtype.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace carronade {
namespace {

TEST(KvCacheDtype, NamesAreRead) {
  EXPECT_EQ(parse_kv_cache_dtype("auto"), DType::kF16);
  EXPECT_EQ(parse_kv_cache_dtype("f16"), DType::kF16);
  EXPECT_EQ(parse_kv_cache_dtype("float16"), DType::kF16);
  EXPECT_EQ(parse_kv_cache_dtype("q8_0"), DType::kQ8_0);
  EXPECT_EQ(parse_kv_cache_dtype("f32"), DType::kF32);
}

TEST(KvCacheDtype, OthersAreRefusedByName) {
  for (const char* name : {"fp8", "fp8_e4m3", "bfloat16", "int8", "q4_0", "", "F16x"}) {
    try {
      parse_kv_cache_dtype(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_NE(line.find(name), std::string::npos) << line;
      EXPECT_NE(line.find("q8_0"), std::string::npos) << line;
      EXPECT_EQ(error.param, "--kv-cache-dtype");
    }
  }
}

}  // namespace
}  // namespace carronade
