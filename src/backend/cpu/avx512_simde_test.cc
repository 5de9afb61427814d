// The AVX-512 kernels once more, over SIMDe's portable versions of the intrinsics, and those of AMX over tiles in
// memory: their logic is tested on every processor, slowly.
#if __has_include(<simde/x86/avx512.h>)
#pragma GCC diagnostic ignored "-Wpsabi"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "backend/cpu/kernels.h"
#define CARRONADE_INLINE inline  // forced inlining of emulated intrinsics would compile for minutes
#define CARRONADE_LAMBDA_INLINE
#include "backend/cpu/vector_support.h"

// Intrinsics that SIMDe 0.7.4 lacks, by Intel's description of them.
#ifndef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif
template <typename To, typename FromElement, typename ToElement, typename From, typename Convert>
static To convert_lanes(From from, Convert convert) {
  FromElement in[16];
  ToElement out[16];
  static_assert(sizeof in == sizeof from && sizeof out == sizeof(To));
  std::memcpy(in, &from, sizeof in);
  for (int i = 0; i < 16; ++i) out[i] = convert(in[i]);
  To to;
  std::memcpy(&to, out, sizeof to);
  return to;
}
static __m512i widen_s8(__m128i x) {
  return convert_lanes<__m512i, int8_t, int32_t>(x, [](int8_t v) { return v; });
}
static __m512i widen_u8(__m128i x) {
  return convert_lanes<__m512i, uint8_t, int32_t>(x, [](uint8_t v) { return v; });
}
static __m512i widen_u16(__m256i x) {
  return convert_lanes<__m512i, uint16_t, int32_t>(x, [](uint16_t v) { return v; });
}
static __m512 int_to_float(__m512i x) {
  return convert_lanes<__m512, int32_t, float>(x, [](int32_t v) { return static_cast<float>(v); });
}
static __m512i float_to_int(__m512 x) {  // to nearest even; the indefinite integer for what does not fit
  return convert_lanes<__m512i, float, int32_t>(
      x, [](float v) { return v >= -0x1p31f && v < 0x1p31f ? static_cast<int32_t>(std::nearbyint(v)) : INT32_MIN; });
}
static __m512 half_lanes_to_float(__m256i x) {
  return convert_lanes<__m512, uint16_t, float>(x, carronade::half_to_float);
}
static __m256i float_lanes_to_half(__m512 x) {
  return convert_lanes<__m256i, float, uint16_t>(x, carronade::float_to_half);
}
static __m512i shift_right_signed(__m512i x, int bits) {
  return convert_lanes<__m512i, int32_t, int32_t>(x, [bits](int32_t v) { return v >> bits; });
}
#define _mm512_srai_epi32 shift_right_signed
#define _mm512_cvtepi8_epi32 widen_s8
#define _mm512_cvtepu8_epi32 widen_u8
#define _mm512_cvtepu16_epi32 widen_u16
#define _mm512_cvtepi32_ps int_to_float
#define _mm512_cvtps_epi32 float_to_int
#define _mm512_cvtph_ps half_lanes_to_float
#define _mm512_cvtps_ph(x, rounding) float_lanes_to_half(x)

namespace carronade::cpu {
namespace {
// Tiles as Intel's Software Developer's Manual describes their instructions; what would be an invalid one ends the
// test.
struct Tile {
  int rows = 0, row_bytes = 0;
  uint8_t bytes[16][64] = {};
};
thread_local Tile tiles[8];

void require(bool is_valid) {
  if (!is_valid) std::abort();
}
Tile& configured(int tile) {
  require(tiles[tile].rows > 0 && tiles[tile].row_bytes > 0);
  return tiles[tile];
}

void load_shapes(const void* shapes) {
  const auto* bytes = static_cast<const uint8_t*>(shapes);
  require(bytes[0] == 1);
  for (int t = 0; t < 8; ++t) {
    uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * t, sizeof row_bytes);
    tiles[t] = {bytes[48 + t], row_bytes, {}};
    require(tiles[t].rows <= 16 && row_bytes <= 64);
  }
}
template <int kTile>
void load_tile(const void* p, int64_t stride) {
  Tile& tile = configured(kTile);
  for (int r = 0; r < tile.rows; ++r)
    std::memcpy(tile.bytes[r], static_cast<const uint8_t*>(p) + r * stride, static_cast<size_t>(tile.row_bytes));
}
template <int kTile>
void store_tile(void* p, int64_t stride) {
  const Tile& tile = configured(kTile);
  for (int r = 0; r < tile.rows; ++r)
    std::memcpy(static_cast<uint8_t*>(p) + r * stride, tile.bytes[r], static_cast<size_t>(tile.row_bytes));
}
template <int kTile>
void clear_tile() {
  std::memset(configured(kTile).bytes, 0, sizeof tiles[kTile].bytes);
}
// Lane n of row m += Σ of even and of odd k apart, then both added; denormals are zeros.
template <int kResult, int kRows, int kWeights>
void multiply_tiles() {
  const Tile &rows = configured(kRows), &weights = configured(kWeights);
  Tile& result = configured(kResult);
  require(rows.row_bytes == 4 * weights.rows && rows.rows == result.rows && weights.row_bytes == result.row_bytes);
  const auto flushed = [](float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; };
  const auto number = [&](const uint8_t* p) {
    const uint32_t bits = static_cast<uint32_t>(p[0]) << 16 | static_cast<uint32_t>(p[1]) << 24;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return flushed(value);
  };
  for (int m = 0; m < result.rows; ++m) {
    for (int n = 0; n < result.row_bytes / 4; ++n) {
      float apart[2] = {}, sum;
      for (int k = 0; k < rows.row_bytes / 2; ++k)
        apart[k % 2] = flushed(
            std::fma(number(rows.bytes[m] + 2 * k), number(weights.bytes[k / 2] + 4 * n + 2 * (k % 2)), apart[k % 2]));
      std::memcpy(&sum, result.bytes[m] + 4 * n, sizeof sum);
      sum = flushed(sum + flushed(apart[0] + apart[1]));
      std::memcpy(result.bytes[m] + 4 * n, &sum, sizeof sum);
    }
  }
}

// Each builds on those before it.
// clang-format off
#include "backend/cpu/prelude_inl.h"
#include "backend/cpu/vector_avx512.h"
#include "backend/cpu/matmul_inl.h"
#include "backend/cpu/bfloat_inl.h"
#include "backend/cpu/amx_inl.h"
#include "backend/cpu/elementwise_inl.h"
#include "backend/cpu/attention_inl.h"
#include "backend/cpu/table_inl.h"
// clang-format on
}  // namespace

const Kernels* avx512_simde_kernels() {
  static constexpr Kernels kTable = [] {
    Kernels table = make_table("avx512_simde");
    table.matmul_bfloat = matmul_bfloat;
    table.to_bfloat = to_bfloat;
    return table;
  }();
  return &kTable;
}

const Kernels* amx_emulated_kernels() {
  static const Kernels kTable = [] {
    Kernels table = *avx512_simde_kernels();
    table.name = "amx_emulated";
    table.matmul_bfloat = matmul_bfloat_on_tiles;
    return table;
  }();
  return &kTable;
}

}  // namespace carronade::cpu

#else

#include "backend/cpu/kernels.h"

namespace carronade::cpu {
const Kernels* avx512_simde_kernels() { return nullptr; }
const Kernels* amx_emulated_kernels() { return nullptr; }
}  // namespace carronade::cpu
#endif
