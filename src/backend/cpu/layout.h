// Packed weights: the rows of a matrix interleaved by sixteen, so that a vector's lanes are rows and no kernel ever
// adds across lanes.
//
// A *panel* is 16 consecutive rows with all their columns; the last one is filled up with rows of zeros. Panels follow
// one another, panel_bytes() apart. A *step* is 32 columns of a panel. A *tile* is 64 bytes: lane r (0…15) holds 4
// bytes of row r. All values are exactly those of the file's blocks; only their places differ. All ISAs share these
// layouts.
//
// Nibble tiles N[i], i = 0…3, of a step hold columns 4i+b in the low and 16+4i+b in the high nibble of byte b:
//
//     byte    0     1     2     3     4   …  7     …    60  …  63
//           ┌─────────────────────┬─────────────┬─────┬───────────┐
//     N[i]  │ row 0: k = 4i … 4i+3│    row 1    │  …  │   row 15  │   low nibbles; high nibbles: the same + 16 columns
//           └─────────────────────┴─────────────┴─────┴───────────┘
//
// One-bit tile F: byte b of lane r holds bit 4 of column 4i+b in bit i, of column 16+4i+b in bit 4+i.
// Six-bit tiles S[h][i], h = 0, 1, i = 0…2: byte b of lane r holds column 16h+4i+b in bits 0-5, and bits 2i, 2i+1 of
// column 16h+12+b in bits 6-7: four columns in three bytes.
// Byte tiles B[i], i = 0…7: byte b of lane r is column 4i+b.
//
// Super-block layouts: a chunk is 8 steps (256 columns); chunks of a panel follow one another.
//
//   q4_k  2368 B │ d f16[16] │ dmin f16[16] │ scale u8[8][16] │ min u8[8][16] │ 8 × N[4] │
//   q5_k  2880 B │ d f16[16] │ dmin f16[16] │ scale u8[8][16] │ min u8[8][16] │ 8 × F    │ 8 × N[4] │
//   q6_k  3392 B │ scale i8[16][16] │ d f16[16] │ 32 B unused │ 8 × S[2][3] │
//         Q3_K too: its q + 28 is six bits
//
// Plane layouts, for formats whose rows need not be whole super-blocks: each plane runs over all steps s of the panel
// and starts at a multiple of 64 bytes.
//
//   q4_0  │ d f16[s][16] │ s × N[4] │                      q4_1  │ d f16[s][16] │ m f16[s][16] │ s × N[4] │
//   q5_0  │ d f16[s][16] │ s × F │ s × N[4] │              q5_1  │ d f16[s][16] │ m f16[s][16] │ s × F │ s × N[4] │
//   q8_0  │ d f16[s][16] │ s × B[8] │                      IQ4_NL too: its levels are bytes
//   s8    │ d f32[s][16] │ s × B[8] │                      IQ4_XS, whose scales are products
//   u8    │ d f32[s][2][16] │ m f32[s][2][16] │ s × B[8] │  Q2_K: scale and min a half step, x = d q - m
//   f16, f32   element [k][16], any number of columns
//   bf16       element [k / 2][16][2]: two columns of a row side by side; an odd last one stands beside a zero
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace carronade::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kStepColumns = 32;
inline constexpr int kChunkSteps = 8;

enum class Layout : uint8_t { kQ4_K, kQ5_K, kQ6_K, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kS8, kU8, kF16, kBF16, kF32 };
inline constexpr int kLayouts = 13;
inline constexpr int kIntegerLayouts = 10;  // those before kF16

inline bool is_integer(Layout layout) { return static_cast<int>(layout) < kIntegerLayouts; }

inline constexpr int kQ4KChunkBytes = 2368, kQ5KChunkBytes = 2880, kQ6KChunkBytes = 3392;
// Where the parts of a chunk begin.
inline constexpr int kQ45KScales = 64, kQ45KMins = 192, kQ4KNibbles = 320, kQ5KFifth = 320, kQ5KNibbles = 832;
inline constexpr int kQ6KHalf = 256, kQ6KTiles = 320;

// Offsets of a plane layout's planes for `steps` steps; d is at 0. Planes that a layout lacks have no extent.
struct Planes {
  size_t m, fifth, q, end;
};
constexpr size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }
constexpr Planes planes_of(Layout layout, int64_t steps) {
  const size_t s = static_cast<size_t>(steps);
  const size_t scale = layout == Layout::kU8 ? 128 : layout == Layout::kS8 ? 64 : 32;
  const bool has_min = layout == Layout::kQ4_1 || layout == Layout::kQ5_1 || layout == Layout::kU8;
  const bool has_fifth = layout == Layout::kQ5_0 || layout == Layout::kQ5_1;
  const bool bytes = layout == Layout::kQ8_0 || layout == Layout::kS8 || layout == Layout::kU8;
  Planes planes{};
  planes.m = whole_lines(s * scale);
  planes.fifth = planes.m + (has_min ? whole_lines(s * scale) : 0);
  planes.q = planes.fifth + (has_fifth ? s * 64 : 0);
  planes.end = planes.q + s * (bytes ? 512 : 256);
  return planes;
}

// Where column k of row r stands in a panel of f16, bf16 or f32, in elements.
constexpr int64_t element_of(Layout layout, int64_t k, int r) {
  return layout == Layout::kBF16 ? 2 * (kPanelRows * (k / 2) + r) + k % 2 : kPanelRows * k + r;
}

Layout layout_of(DType dtype);
const char* name_of(Layout layout);
size_t panel_bytes(Layout layout, int64_t columns);

// Packs one panel: `rows` (1…16) rows of `dtype` blocks at `source`, source_stride bytes apart, unaligned. `panel` is
// zeroed memory.
void pack_panel(DType dtype, const std::byte* source, size_t source_stride, int rows, int64_t columns,
                std::byte* panel);

// The values of a panel's columns [32 step, 32 step + count) as float [count][16]; count ≤ 32. Equal to dequantize() of
// the source, bit for bit.
void unpack_step(Layout layout, const std::byte* panel, int64_t columns, int64_t step, float* out);

// One row of a packed matrix as floats.
void unpack_row(Layout layout, const std::byte* packed, int64_t columns, int64_t row, float* out);

}  // namespace carronade::cpu
