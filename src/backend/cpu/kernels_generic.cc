#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vector_support.h"

// No vector crosses a call here that is not inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace carronade::cpu {
namespace {
// Each builds on those before it.
// clang-format off
#include "backend/cpu/prelude_inl.h"
#include "backend/cpu/vector_generic.h"
#include "backend/cpu/matmul_inl.h"
#include "backend/cpu/elementwise_inl.h"
#include "backend/cpu/attention_inl.h"
#include "backend/cpu/table_inl.h"
// clang-format on
}  // namespace

const Kernels& generic_kernels() {
  static constexpr Kernels kTable = make_table("generic");
  return kTable;
}

}  // namespace carronade::cpu
