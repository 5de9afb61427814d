#include "peak.h"

namespace carronade {
namespace {

#if defined(__x86_64__)
// Each in its own register; in "multiply and add" the sums are separate chains, as in a kernel of four columns.
constexpr double kMultiplies = 8;

void multiply_bytes_avx2(int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm4\n vpmaddubsw %%ymm0, %%ymm1, %%ymm5\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm6\n vpmaddubsw %%ymm0, %%ymm1, %%ymm7\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm8\n vpmaddubsw %%ymm0, %%ymm1, %%ymm9\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm10\n vpmaddubsw %%ymm0, %%ymm1, %%ymm11\n" ::
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
  asm volatile("vzeroupper");
}

void multiply_and_add_bytes_avx2(int64_t rounds) {
  asm volatile("vpxor %%xmm0, %%xmm0, %%xmm0\n vpxor %%xmm1, %%xmm1, %%xmm1\n" ::: "xmm0", "xmm1");
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm2\n vpmaddubsw %%ymm0, %%ymm1, %%ymm3\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm4\n vpmaddubsw %%ymm0, %%ymm1, %%ymm5\n"
        "vpaddw %%ymm2, %%ymm8, %%ymm8\n vpaddw %%ymm3, %%ymm9, %%ymm9\n"
        "vpaddw %%ymm4, %%ymm10, %%ymm10\n vpaddw %%ymm5, %%ymm11, %%ymm11\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm2\n vpmaddubsw %%ymm0, %%ymm1, %%ymm3\n"
        "vpmaddubsw %%ymm0, %%ymm1, %%ymm4\n vpmaddubsw %%ymm0, %%ymm1, %%ymm5\n"
        "vpaddw %%ymm2, %%ymm12, %%ymm12\n vpaddw %%ymm3, %%ymm13, %%ymm13\n"
        "vpaddw %%ymm4, %%ymm14, %%ymm14\n vpaddw %%ymm5, %%ymm15, %%ymm15\n" ::
            : "xmm2", "xmm3", "xmm4", "xmm5", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  }
  asm volatile("vzeroupper");
}

void multiply_and_add_floats_avx2(int64_t rounds) {
  asm volatile("vpxor %%xmm0, %%xmm0, %%xmm0\n vpxor %%xmm1, %%xmm1, %%xmm1\n" ::: "xmm0", "xmm1");
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "vfmadd231ps %%ymm0, %%ymm1, %%ymm4\n vfmadd231ps %%ymm0, %%ymm1, %%ymm5\n"
        "vfmadd231ps %%ymm0, %%ymm1, %%ymm6\n vfmadd231ps %%ymm0, %%ymm1, %%ymm7\n"
        "vfmadd231ps %%ymm0, %%ymm1, %%ymm8\n vfmadd231ps %%ymm0, %%ymm1, %%ymm9\n"
        "vfmadd231ps %%ymm0, %%ymm1, %%ymm10\n vfmadd231ps %%ymm0, %%ymm1, %%ymm11\n" ::
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
  asm volatile("vzeroupper");
}

void multiply_and_add_bytes_avx512(int64_t rounds) {
  asm volatile("vpxor %%xmm0, %%xmm0, %%xmm0\n vpxor %%xmm1, %%xmm1, %%xmm1\n" ::: "xmm0", "xmm1");
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "vpdpbusd %%zmm0, %%zmm1, %%zmm4\n vpdpbusd %%zmm0, %%zmm1, %%zmm5\n"
        "vpdpbusd %%zmm0, %%zmm1, %%zmm6\n vpdpbusd %%zmm0, %%zmm1, %%zmm7\n"
        "vpdpbusd %%zmm0, %%zmm1, %%zmm8\n vpdpbusd %%zmm0, %%zmm1, %%zmm9\n"
        "vpdpbusd %%zmm0, %%zmm1, %%zmm10\n vpdpbusd %%zmm0, %%zmm1, %%zmm11\n" ::
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
  asm volatile("vzeroupper");
}

void multiply_and_add_bfloats_avx512(int64_t rounds) {
  asm volatile("vpxor %%xmm0, %%xmm0, %%xmm0\n vpxor %%xmm1, %%xmm1, %%xmm1\n" ::: "xmm0", "xmm1");
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "vdpbf16ps %%zmm0, %%zmm1, %%zmm4\n vdpbf16ps %%zmm0, %%zmm1, %%zmm5\n"
        "vdpbf16ps %%zmm0, %%zmm1, %%zmm6\n vdpbf16ps %%zmm0, %%zmm1, %%zmm7\n"
        "vdpbf16ps %%zmm0, %%zmm1, %%zmm8\n vdpbf16ps %%zmm0, %%zmm1, %%zmm9\n"
        "vdpbf16ps %%zmm0, %%zmm1, %%zmm10\n vdpbf16ps %%zmm0, %%zmm1, %%zmm11\n" ::
            : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
  asm volatile("vzeroupper");
}

// Tiles of 16 rows of 64 bytes: four results of two operands by two, as in a plain multiplication.
struct Shapes {
  uint8_t palette = 1, unused[15] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr double kTileMultiplies = 4;

void multiply_tiles_of_bytes(int64_t rounds) {
  const Shapes shapes;
  asm volatile("ldtilecfg %0" ::"m"(shapes));
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "tdpbssd %tmm6, %tmm4, %tmm0\n tdpbssd %tmm7, %tmm4, %tmm1\n"
        "tdpbssd %tmm6, %tmm5, %tmm2\n tdpbssd %tmm7, %tmm5, %tmm3\n");
  }
  asm volatile("tilerelease");
}

void multiply_tiles_of_bfloats(int64_t rounds) {
  const Shapes shapes;
  asm volatile("ldtilecfg %0" ::"m"(shapes));
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n tdpbf16ps %tmm7, %tmm4, %tmm1\n"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n tdpbf16ps %tmm7, %tmm5, %tmm3\n");
  }
  asm volatile("tilerelease");
}
#endif

}  // namespace

std::vector<Peak> peaks_of(std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx2") {
    return {{"vpmaddubsw", kMultiplies * 64, multiply_bytes_avx2},
            {"vpmaddubsw_vpaddw", kMultiplies * 64, multiply_and_add_bytes_avx2},
            {"vfmadd231ps", kMultiplies * 16, multiply_and_add_floats_avx2}};
  }
  const Peak bytes = {"vpdpbusd", kMultiplies * 128, multiply_and_add_bytes_avx512};
  if (isa == "avx512") return {bytes};
  const Peak bfloats = {"vdpbf16ps", kMultiplies * 64, multiply_and_add_bfloats_avx512};
  if (isa == "avx512_bf16") return {bytes, bfloats};
  if (isa == "amx") {
    return {bytes,
            bfloats,
            {"tdpbssd", kTileMultiplies * 2 * 16 * 16 * 64, multiply_tiles_of_bytes},
            {"tdpbf16ps", kTileMultiplies * 2 * 16 * 16 * 32, multiply_tiles_of_bfloats}};
  }
#endif
  (void)isa;
  return {};
}

}  // namespace carronade
