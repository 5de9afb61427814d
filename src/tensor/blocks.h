// The block formats of GGML, byte for byte as they lie in GGUF files (little-endian, no padding). `d` and `m` are
// float16 bits. A super-block holds 256 elements, cut into sub-blocks of 16 or 32 with scales of their own. Source:
// ggml-common.h.
//
// A nibble pair "low → j, high → j+16" says that byte j holds element j in bits 0-3 and element j+16 in bits 4-7.
#pragma once

#include <cstdint>

namespace carronade {

inline constexpr int kSimpleBlock = 32;
inline constexpr int kSuperBlock = 256;

// d | qs: low → j, high → j+16.  x = d * (q - 8)
struct BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// d | m | qs: low → j, high → j+16.  x = d * q + m
struct BlockQ4_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// d | qh: bit j of the 32-bit word is bit 4 of element j | qs: low → j, high → j+16.  x = d * (q - 16)
struct BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// d | m | qh, qs as in Q5_0.  x = d * q + m
struct BlockQ5_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// d | 32 signed bytes.  x = d * q
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// scales[16]: scale in bits 0-3, min in bits 4-7, one byte a sub-block of 16
// qs[64]: each half of 32 bytes carries 128 elements; bits 2g..2g+1 of byte l hold element 32g + l of its half
// d | dmin: of the scales, of the mins.  x = d * scale * q - dmin * min
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

// hmask[32]: bit g of byte l is bit 2 of element 32g + l (inverted sense: set means "do not subtract 4")
// qs[64]: bits 0-1, laid out as in Q2_K
// scales[12]: sixteen 6-bit scales s, stored + 32. s[j]'s low 4 bits: byte j%8, low nibble for j < 8, high for j ≥ 8;
//             its high 2 bits: byte 8 + j%4, bits 2(j/4)..2(j/4)+1
// d.  x = d * (scale - 32) * (q - 4)
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

// d | dmin | scales[12]: eight 6-bit scales and eight 6-bit mins, one of each a sub-block of 32:
//   byte 0-3:  scale 0-3 in bits 0-5, bits 4-5 of scale 4-7 in bits 6-7
//   byte 4-7:  min 0-3 in bits 0-5,   bits 4-5 of min 4-7 in bits 6-7
//   byte 8-11: scale 4-7's bits 0-3 in the low nibble, min 4-7's bits 0-3 in the high one
// qs[128]: four groups of 32 bytes, 64 elements each: low → l, high → l+32.  x = d * scale * q - dmin * min
struct BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// As Q4_K, with qh[32]: bit g of byte l is bit 4 of element 32g + l.
struct BlockQ5_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// Two halves of 128 elements. Of each half, with l = 0…31:
//   ql[64]: byte l: low → l, high → l+64; byte l+32: low → l+32, high → l+96
//   qh[32]: bits 2g..2g+1 of byte l are bits 4-5 of element 32g + l
//   scales[8]: one signed byte a sub-block of 16
// d stands last.  x = d * scale * (q - 32)
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

// d | qs: low → j, high → j+16, indices into kIQ4Values.  x = d * kIQ4Values[q]
struct BlockIQ4_NL {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// d | eight 6-bit scales of sub-blocks of 32: bits 4-5 of scale b in bits 2b..2b+1 of scales_h, bits 0-3 in nibble b%2
// of scales_l[b/2] qs[128]: 16 bytes a sub-block, as in IQ4_NL.  x = d * (scale - 32) * kIQ4Values[q]
struct BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// The levels of the non-linear 4-bit formats.
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Scale and min of sub-block j (0…7) of a Q4_K or Q5_K block.
struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};
inline ScaleMin scale_min(const uint8_t (&scales)[12], int j) {
  if (j < 4) return {static_cast<uint8_t>(scales[j] & 63), static_cast<uint8_t>(scales[j + 4] & 63)};
  return {static_cast<uint8_t>((scales[j + 4] & 15) | (scales[j - 4] >> 6 << 4)),
          static_cast<uint8_t>((scales[j + 4] >> 4) | (scales[j] >> 6 << 4))};
}

// Scale j (0…15) of a Q3_K block, its offset of 32 taken off: -32…31.
inline int scale_of(const BlockQ3_K& block, int j) {
  const int low = j < 8 ? block.scales[j] & 15 : block.scales[j - 8] >> 4;
  return (low | ((block.scales[8 + j % 4] >> (2 * (j / 4))) & 3) << 4) - 32;
}

// Scale b (0…7) of an IQ4_XS block, its offset taken off: -32…31.
inline int scale_of(const BlockIQ4_XS& block, int b) {
  const int low = (block.scales_l[b / 2] >> (4 * (b % 2))) & 15;
  return (low | ((block.scales_h >> (2 * b)) & 3) << 4) - 32;
}

}  // namespace carronade
