#include "tensor/dtype.h"

#include <array>
#include <bit>
#include <cassert>
#include <cctype>
#include <cmath>

#include "tensor/blocks.h"

namespace carronade {
namespace {

// In the order of DType; ggml's numbers come from ggml.h.
constexpr std::array<DTypeInfo, kDTypeCount> kInfo = {{
    {"F32", 1, 4, 0},
    {"F16", 1, 2, 1},
    {"BF16", 1, 2, 30},
    {"Q4_0", kSimpleBlock, sizeof(BlockQ4_0), 2},
    {"Q4_1", kSimpleBlock, sizeof(BlockQ4_1), 3},
    {"Q5_0", kSimpleBlock, sizeof(BlockQ5_0), 6},
    {"Q5_1", kSimpleBlock, sizeof(BlockQ5_1), 7},
    {"Q8_0", kSimpleBlock, sizeof(BlockQ8_0), 8},
    {"Q2_K", kSuperBlock, sizeof(BlockQ2_K), 10},
    {"Q3_K", kSuperBlock, sizeof(BlockQ3_K), 11},
    {"Q4_K", kSuperBlock, sizeof(BlockQ4_K), 12},
    {"Q5_K", kSuperBlock, sizeof(BlockQ5_K), 13},
    {"Q6_K", kSuperBlock, sizeof(BlockQ6_K), 14},
    {"IQ4_NL", kSimpleBlock, sizeof(BlockIQ4_NL), 20},
    {"IQ4_XS", kSuperBlock, sizeof(BlockIQ4_XS), 23},
}};

bool same_letters(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::toupper(static_cast<unsigned char>(a[i])) != std::toupper(static_cast<unsigned char>(b[i]))) return false;
  }
  return true;
}

}  // namespace

const DTypeInfo& info(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

std::optional<DType> dtype_of_ggml_type(uint32_t ggml_type) {
  for (size_t i = 0; i < kInfo.size(); ++i) {
    if (static_cast<uint32_t>(kInfo[i].ggml_type) == ggml_type) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<DType> dtype_of_name(std::string_view name) {
  for (size_t i = 0; i < kInfo.size(); ++i) {
    if (same_letters(kInfo[i].name, name)) return static_cast<DType>(i);
  }
  return std::nullopt;
}

// No path goes through a denormal float, so the result does not depend on the processor's flush-to-zero mode.
float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7FFFu;
  constexpr uint32_t kRebias = (127u - 15u) << 23;
  const uint32_t normal = (magnitude << 13) + kRebias;
  const uint32_t special = normal + kRebias;  // exponent 31 → 255
  const auto tiny = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t finite = magnitude < 0x0400u ? tiny : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7C00u ? special : finite));
}

uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  if (magnitude >= 0x47800000u) return sign | 0x7C00u;  // 2^16 and more
  if (magnitude < 0x38800000u) {                        // below 2^-14: a multiple of 2^-24, ties to even by lrint
    const float steps = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::lrint(steps)));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t rounded = (magnitude + 0xFFFu + odd) >> 13;  // may carry into the exponent, up to infinity
  return static_cast<uint16_t>(sign | (rounded - ((127u - 15u) << 10)));
}

float bfloat16_to_float(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // quiet, payload kept
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace carronade
