#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vector_support.h"

namespace carronade::cpu {
namespace {
// Each builds on those before it.
// clang-format off
#include "backend/cpu/prelude_inl.h"
#include "backend/cpu/vector_dotprod.h"
#include "backend/cpu/vector_i8mm.h"
#include "backend/cpu/matmul_inl.h"
#include "backend/cpu/elementwise_inl.h"
#include "backend/cpu/attention_inl.h"
#include "backend/cpu/table_inl.h"
// clang-format on
}  // namespace

const Kernels& i8mm_kernels() {
  static constexpr Kernels kTable = make_table("i8mm");
  return kTable;
}

}  // namespace carronade::cpu

#endif
