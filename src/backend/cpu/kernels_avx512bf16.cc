#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vector_support.h"

namespace carronade::cpu {
namespace {
// clang-format off
#include "backend/cpu/prelude_inl.h"
#include "backend/cpu/bfloat_inl.h"
// clang-format on
}  // namespace

// AVX-512's table, and what these processors have besides.
const Kernels& avx512_bf16_kernels() {
  static const Kernels kTable = [] {
    Kernels table = avx512_kernels();
    table.name = "avx512_bf16";
    table.matmul_bfloat = matmul_bfloat;
    table.to_bfloat = to_bfloat;
    return table;
  }();
  return kTable;
}

}  // namespace carronade::cpu

#endif
