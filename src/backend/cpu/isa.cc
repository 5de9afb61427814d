#include "backend/cpu/isa.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <fmt/ranges.h>

#include "backend/backend.h"
#include "base/error.h"

namespace carronade::cpu {
namespace {

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
// The system gives a process tiles only when it asks for them (ARCH_REQ_XCOMP_PERM of XTILEDATA, Linux's
// Documentation/arch/x86/xstate.rst).
bool request_amx() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  constexpr unsigned kTiles = 1u << 24, kBFloats = 1u << 22, kBoth = kTiles | kBFloats;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kBoth) == kBoth &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#elif defined(__aarch64__)
bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#endif

std::vector<std::string> names(bool only_available) {
  std::vector<std::string> result;
  for (const Isa& isa : known_isas()) {
    if (isa.available || !only_available) result.emplace_back(isa.name);
  }
  return result;
}

}  // namespace

const std::vector<Isa>& known_isas() {
  static const std::vector<Isa> isas = {
#if defined(__x86_64__)
    {"amx", request_amx(), amx_kernels},
    {"avx512_bf16", has_avx512_bf16(), avx512_bf16_kernels},
    {"avx512", has_avx512(), avx512_kernels},
    {"avx2", has_avx2(), avx2_kernels},
#elif defined(__aarch64__)
    {"i8mm", has_i8mm(), i8mm_kernels},
    {"dotprod", has_dotprod(), dotprod_kernels},
#endif
    {"generic", true, generic_kernels},
  };
  return isas;
}

const Kernels& choose_kernels(std::string_view name) {
  for (const Isa& isa : known_isas()) {
    if (name.empty() ? isa.available : name == isa.name) {
      if (isa.available) return isa.kernels();
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("this processor lacks the instruction set {}; it has: {}", name, fmt::join(names(true), ", ")),
          "CARRONADE_ISA");
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("unknown instruction set \"{}\"; known: {}", name, fmt::join(names(false), ", ")),
              "CARRONADE_ISA");
}

}  // namespace carronade::cpu

namespace carronade {
std::vector<std::string> available_isas() {
  std::vector<std::string> result;
  for (const cpu::Isa& isa : cpu::known_isas()) {
    if (isa.available) result.emplace_back(isa.name);
  }
  return result;
}
}  // namespace carronade
