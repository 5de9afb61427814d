#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vector_support.h"

namespace carronade::cpu {
namespace {

// The compiler's own intrinsics for tiles do not say that they read and write memory: what they are to load may not
// have been stored yet.
template <int kTile>
CARRONADE_INLINE void load_tile(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CARRONADE_INLINE void store_tile(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
CARRONADE_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kResult, int kRows, int kWeights>
CARRONADE_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kResult), "i"(kRows), "i"(kWeights));
}
CARRONADE_INLINE void load_shapes(const void* shapes) { asm volatile("ldtilecfg (%0)" ::"r"(shapes) : "memory"); }

// clang-format off
#include "backend/cpu/prelude_inl.h"
#include "backend/cpu/amx_inl.h"
// clang-format on
}  // namespace

// AVX-512 BF16's table, with the multiplication that tiles do faster. Whole numbers are AVX-512 VNNI's: with a scale
// every 32 columns tiles win a third on a quiet processor and lose as much on a shared one
// (docs/decisions/0016-amx-for-bf16.md).
const Kernels& amx_kernels() {
  static const Kernels kTable = [] {
    Kernels table = avx512_bf16_kernels();
    table.name = "amx";
    table.matmul_bfloat = matmul_bfloat_on_tiles;
    return table;
  }();
  return kTable;
}

}  // namespace carronade::cpu

#endif
