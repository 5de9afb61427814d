#include "cli/kv_cache_dtype.h"

#include "base/error.h"

namespace carronade {

DType parse_kv_cache_dtype(const std::string& name) {
  if (name == "auto" || name == "f16" || name == "float16" || name == "fp16" || name == "half") return DType::kF16;
  if (name == "q8_0") return DType::kQ8_0;
  if (name == "f32" || name == "float32") return DType::kF32;
  constexpr const char* kFlag = "--kv-cache-dtype";
  constexpr const char* kThereIs = "auto (f16), f16, q8_0 (half the memory) and f32 are there";
  const bool vllm = name.starts_with("fp8") || name.starts_with("bf") || name == "int8" || name.starts_with("turbo") ||
                    name.starts_with("nvfp4");
  if (vllm) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{} {} is not supported: {}", kFlag, name, kThereIs), kFlag);
  }
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{} cannot be \"{}\": {}", kFlag, name, kThereIs), kFlag);
}

}  // namespace carronade
