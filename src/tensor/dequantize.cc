// Plain loops over whole blocks, one a format, which the compiler vectorises. Each product and sum is rounded by itself
// (the room is compiled without contraction), in the order of ggml's reference: the results are equal to it bit for
// bit.
#include <cassert>
#include <cstring>

#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace carronade {
namespace {

uint32_t word(const uint8_t (&bytes)[4]) {
  uint32_t value;
  std::memcpy(&value, bytes, 4);
  return value;
}

void expand(const BlockQ4_0& b, float* y) {
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j) y[j] = static_cast<float>((b.qs[j] & 15) - 8) * d;
  for (int j = 0; j < 16; ++j) y[j + 16] = static_cast<float>((b.qs[j] >> 4) - 8) * d;
}

void expand(const BlockQ4_1& b, float* y) {
  const float d = half_to_float(b.d), m = half_to_float(b.m);
  for (int j = 0; j < 16; ++j) y[j] = static_cast<float>(b.qs[j] & 15) * d + m;
  for (int j = 0; j < 16; ++j) y[j + 16] = static_cast<float>(b.qs[j] >> 4) * d + m;
}

void expand(const BlockQ5_0& b, float* y) {
  const float d = half_to_float(b.d);
  const uint32_t high = word(b.qh);
  for (int j = 0; j < 16; ++j) {
    const int low = (b.qs[j] & 15) | static_cast<int>((high >> j & 1) << 4);
    const int top = (b.qs[j] >> 4) | static_cast<int>((high >> (j + 16) & 1) << 4);
    y[j] = static_cast<float>(low - 16) * d;
    y[j + 16] = static_cast<float>(top - 16) * d;
  }
}

void expand(const BlockQ5_1& b, float* y) {
  const float d = half_to_float(b.d), m = half_to_float(b.m);
  const uint32_t high = word(b.qh);
  for (int j = 0; j < 16; ++j) {
    const int low = (b.qs[j] & 15) | static_cast<int>((high >> j & 1) << 4);
    const int top = (b.qs[j] >> 4) | static_cast<int>((high >> (j + 16) & 1) << 4);
    y[j] = static_cast<float>(low) * d + m;
    y[j + 16] = static_cast<float>(top) * d + m;
  }
}

void expand(const BlockQ8_0& b, float* y) {
  const float d = half_to_float(b.d);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(b.qs[j]) * d;
}

void expand(const BlockQ2_K& b, float* y) {
  const float d = half_to_float(b.d), dmin = half_to_float(b.dmin);
  for (int j = 0; j < 16; ++j, y += 16) {  // j: sub-block of 16
    const uint8_t* q = b.qs + j / 8 * 32 + j % 2 * 16;
    const int shift = j % 8 / 2 * 2;
    const float scale = d * static_cast<float>(b.scales[j] & 15), min = dmin * static_cast<float>(b.scales[j] >> 4);
    for (int l = 0; l < 16; ++l) y[l] = scale * static_cast<float>((q[l] >> shift) & 3) - min;
  }
}

void expand(const BlockQ3_K& b, float* y) {
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j, y += 16) {
    const uint8_t* q = b.qs + j / 8 * 32 + j % 2 * 16;
    const uint8_t* h = b.hmask + j % 2 * 16;
    const int shift = j % 8 / 2 * 2, bit = j / 2;
    const float scale = d * static_cast<float>(scale_of(b, j));
    for (int l = 0; l < 16; ++l) {
      const int value = ((q[l] >> shift) & 3) | ((h[l] >> bit) & 1) << 2;
      y[l] = scale * static_cast<float>(value - 4);
    }
  }
}

void expand(const BlockQ4_K& b, float* y) {
  const float d = half_to_float(b.d), dmin = half_to_float(b.dmin);
  for (int j = 0; j < 8; ++j, y += 32) {  // j: sub-block of 32
    const uint8_t* q = b.qs + j / 2 * 32;
    const int shift = j % 2 * 4;
    const ScaleMin s = scale_min(b.scales, j);
    const float scale = d * static_cast<float>(s.scale), min = dmin * static_cast<float>(s.min);
    for (int l = 0; l < 32; ++l) y[l] = scale * static_cast<float>((q[l] >> shift) & 15) - min;
  }
}

void expand(const BlockQ5_K& b, float* y) {
  const float d = half_to_float(b.d), dmin = half_to_float(b.dmin);
  for (int j = 0; j < 8; ++j, y += 32) {
    const uint8_t* q = b.qs + j / 2 * 32;
    const int shift = j % 2 * 4;
    const ScaleMin s = scale_min(b.scales, j);
    const float scale = d * static_cast<float>(s.scale), min = dmin * static_cast<float>(s.min);
    for (int l = 0; l < 32; ++l) {
      const int value = ((q[l] >> shift) & 15) | ((b.qh[l] >> j) & 1) << 4;
      y[l] = scale * static_cast<float>(value) - min;
    }
  }
}

void expand(const BlockQ6_K& b, float* y) {
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j, y += 16) {  // j: sub-block of 16; within its half, 32-groups g = 0…3
    const int half = j / 8, g = j % 8 / 2, offset = j % 2 * 16;
    const uint8_t* low = b.ql + half * 64 + g % 2 * 32 + offset;
    const uint8_t* high = b.qh + half * 32 + offset;
    const float scale = d * static_cast<float>(b.scales[j]);
    for (int l = 0; l < 16; ++l) {
      const int value = ((low[l] >> (g / 2 * 4)) & 15) | ((high[l] >> (2 * g)) & 3) << 4;
      y[l] = scale * static_cast<float>(value - 32);
    }
  }
}

void expand(const BlockIQ4_NL& b, float* y) {
  const float d = half_to_float(b.d);
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(kIQ4Values[b.qs[j] & 15]);
    y[j + 16] = d * static_cast<float>(kIQ4Values[b.qs[j] >> 4]);
  }
}

void expand(const BlockIQ4_XS& b, float* y) {
  const float d = half_to_float(b.d);
  for (int s = 0; s < 8; ++s, y += 32) {
    const float scale = d * static_cast<float>(scale_of(b, s));
    const uint8_t* q = b.qs + s * 16;
    for (int j = 0; j < 16; ++j) {
      y[j] = scale * static_cast<float>(kIQ4Values[q[j] & 15]);
      y[j + 16] = scale * static_cast<float>(kIQ4Values[q[j] >> 4]);
    }
  }
}

template <typename Block, int kElements>
void expand_all(const std::byte* source, float* destination, int64_t count) {
  assert(count % kElements == 0);
  for (; count > 0; count -= kElements, source += sizeof(Block), destination += kElements) {
    Block block;  // a copy, as the source may be unaligned
    std::memcpy(&block, source, sizeof block);
    expand(block, destination);
  }
}

template <float (*kConvert)(uint16_t)>
void convert_all(const std::byte* source, float* destination, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, 2);
    destination[i] = kConvert(bits);
  }
}

}  // namespace

void dequantize(DType dtype, const std::byte* source, float* destination, int64_t count) {
  if (count <= 0) return;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(destination, source, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return convert_all<half_to_float>(source, destination, count);
    case DType::kBF16:
      return convert_all<bfloat16_to_float>(source, destination, count);
    case DType::kQ4_0:
      return expand_all<BlockQ4_0, kSimpleBlock>(source, destination, count);
    case DType::kQ4_1:
      return expand_all<BlockQ4_1, kSimpleBlock>(source, destination, count);
    case DType::kQ5_0:
      return expand_all<BlockQ5_0, kSimpleBlock>(source, destination, count);
    case DType::kQ5_1:
      return expand_all<BlockQ5_1, kSimpleBlock>(source, destination, count);
    case DType::kQ8_0:
      return expand_all<BlockQ8_0, kSimpleBlock>(source, destination, count);
    case DType::kQ2_K:
      return expand_all<BlockQ2_K, kSuperBlock>(source, destination, count);
    case DType::kQ3_K:
      return expand_all<BlockQ3_K, kSuperBlock>(source, destination, count);
    case DType::kQ4_K:
      return expand_all<BlockQ4_K, kSuperBlock>(source, destination, count);
    case DType::kQ5_K:
      return expand_all<BlockQ5_K, kSuperBlock>(source, destination, count);
    case DType::kQ6_K:
      return expand_all<BlockQ6_K, kSuperBlock>(source, destination, count);
    case DType::kIQ4_NL:
      return expand_all<BlockIQ4_NL, kSimpleBlock>(source, destination, count);
    case DType::kIQ4_XS:
      return expand_all<BlockIQ4_XS, kSuperBlock>(source, destination, count);
  }
}

}  // namespace carronade
