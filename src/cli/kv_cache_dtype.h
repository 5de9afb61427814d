// The KV cache's form, as --kv-cache-dtype names it.
#pragma once

#include <string>

#include "tensor/dtype.h"

namespace carronade {

// auto and f16 (float16): F16 · q8_0: 8 bits and a scale for every 32, half the memory · f32: for comparisons.
// Throws Error{kUnsupported} for vLLM's other forms, Error{kInvalidArgument} for what is none; both say what there is.
DType parse_kv_cache_dtype(const std::string& name);

inline constexpr const char* kKvCacheDtypeHelp =
    "Form of the KV cache: auto (f16), f16, q8_0 (half the memory, a little less exact) or f32";

}  // namespace carronade
