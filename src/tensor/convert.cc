#include <algorithm>
#include <cmath>

#include "tensor/dtype.h"

namespace carronade {

bool convert_floats(DType from_type, const std::byte* from, DType to_type, std::byte* to, int64_t count) {
  constexpr int64_t kPart = 1024;  // floats on the stack
  float exact[kPart], rounded[kPart];
  for (int64_t begin = 0; begin < count; begin += kPart) {
    const int64_t size = std::min(kPart, count - begin);
    std::byte* part = to + static_cast<size_t>(begin) * static_cast<size_t>(info(to_type).block_bytes);
    dequantize(from_type, from + static_cast<size_t>(begin) * static_cast<size_t>(info(from_type).block_bytes), exact,
               size);
    quantize(to_type, exact, part, size);
    dequantize(to_type, part, rounded, size);
    for (int64_t i = 0; i < size; ++i) {
      if (std::isfinite(exact[i]) && !std::isfinite(rounded[i])) return false;
    }
  }
  return true;
}

}  // namespace carronade
