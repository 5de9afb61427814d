// Number formats of weights, in GGML's block layouts, and their exact conversion to float. Source: the GGUF
// specification and the block definitions of ggml (ggml-common.h); every layout is drawn beside its struct in blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace carronade {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS
};
inline constexpr int kDTypeCount = 15;

struct DTypeInfo {
  std::string_view name;  // "Q4_K"
  int block_elements;     // elements that share a block: 1, 32 or 256
  int block_bytes;
  int ggml_type;  // its number in GGUF files
};

const DTypeInfo& info(DType dtype);
std::optional<DType> dtype_of_ggml_type(uint32_t ggml_type);
std::optional<DType> dtype_of_name(std::string_view name);  // case-insensitive

// Bytes of one row of `columns` elements, which must be a multiple of the block.
inline size_t row_bytes(DType dtype, int64_t columns) {
  const DTypeInfo& i = info(dtype);
  return static_cast<size_t>(columns / i.block_elements) * static_cast<size_t>(i.block_bytes);
}

// Exact values of `count` elements (a multiple of the block) that start at a block's border. `source` may be unaligned.
void dequantize(DType dtype, const std::byte* source, float* destination, int64_t count);

// Rounds to the nearest the format can hold, as ggml's reference quantizers do. For F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0
// Q5_1 and the K types (simple scale search; used by tests and `quantize`). Throws Error{kUnsupported} for the others.
void quantize(DType dtype, const float* source, std::byte* destination, int64_t count);

// F32, F16 or BF16: one number an element, no blocks.
inline bool is_float(DType dtype) { return info(dtype).block_elements == 1; }

// From one float format to another. False, with `to` half written, when a finite value has no finite one in the other
// format (F16 ends at 65504). `from` may be unaligned.
bool convert_floats(DType from_type, const std::byte* from, DType to_type, std::byte* to, int64_t count);

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);  // round to nearest even
float bfloat16_to_float(uint16_t value);
uint16_t float_to_bfloat16(float value);  // round to nearest even; NaN stays NaN

}  // namespace carronade
