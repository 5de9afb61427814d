// What the tests of the CPU backend share. Only *_test.cc files include it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/layout.h"

namespace carronade::cpu {

// nullptr where SIMDe was not there at build time.
const Kernels* avx512_simde_kernels();
const Kernels* amx_emulated_kernels();

// AVX-512's, and those made of it.
inline bool rounds_by_chunks(const Kernels& kernels) {
  const std::string_view name = kernels.name;
  return name.starts_with("avx512") || name.starts_with("amx");
}

// Every table that this processor can run, and AVX-512's over SIMDe's emulation.
inline std::vector<const Kernels*> runnable_kernels() {
  std::vector<const Kernels*> tables;
  for (const Isa& isa : known_isas()) {
    if (isa.available) tables.push_back(&isa.kernels());
  }
  if (const Kernels* emulated = avx512_simde_kernels()) tables.push_back(emulated);
  return tables;
}

// The same and AMX's over an emulation, which differs from the AVX-512 one in its BF16 alone.
inline std::vector<const Kernels*> runnable_bfloat_kernels() {
  std::vector<const Kernels*> tables = runnable_kernels();
  if (const Kernels* emulated = amx_emulated_kernels()) tables.push_back(emulated);
  return tables;
}

inline const std::vector<DType>& all_dtypes() {
  static const std::vector<DType> types = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,   DType::kQ4_1,
                                           DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K,   DType::kQ3_K,
                                           DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS};
  return types;
}

// kLargest: every quant, scale and min their largest, so that sums are as large as they can be. kSmallest: no quant bit
// set, Q6_K's scales their most negative, so that sums of values with an offset are. kTinyFactors, kHugeFactors: any
// quants, and block factors that are subnormal or the largest of float16.
enum class Fill { kRandom, kLargest, kSmallest, kTinyFactors, kHugeFactors };

// Rows of `dtype` with arbitrary bits in every quant and scale, but block factors (float16 d, m, dmin) that are finite
// and of order 0.01 unless the fill says otherwise.
inline std::vector<std::byte> random_blocks(DType dtype, int64_t rows, int64_t columns, uint32_t seed,
                                            Fill fill = Fill::kRandom) {
  std::mt19937 random(seed);
  const size_t stride = row_bytes(dtype, columns);
  std::vector<std::byte> bytes(stride * static_cast<size_t>(rows));
  const auto put = [&](size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  const auto value = [&] { return std::normal_distribution<float>(0.0f, 0.5f)(random); };
  if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) {
    const auto element = static_cast<size_t>(info(dtype).block_bytes);
    for (size_t at = 0; at < bytes.size(); at += element) {
      if (element == 4)
        put(at, value());
      else
        put(at, dtype == DType::kF16 ? float_to_half(value()) : float_to_bfloat16(value()));
    }
    return bytes;
  }
  for (std::byte& byte : bytes)
    byte = fill == Fill::kLargest    ? std::byte{0xff}
           : fill == Fill::kSmallest ? std::byte{0}
                                     : static_cast<std::byte>(random() & 255);
  if ((fill == Fill::kSmallest || fill == Fill::kLargest) && dtype == DType::kQ6_K) {
    for (size_t block = 0; block < bytes.size(); block += 210) {
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(block) + 192, 16,
                  fill == Fill::kLargest ? std::byte{0x7f} : std::byte{0x80});
    }
  }
  if (fill == Fill::kLargest && dtype == DType::kQ8_0) {  // 0xff is only -1 there
    for (std::byte& byte : bytes) byte = std::byte{0x80};
  }
  std::vector<size_t> factors;  // where a block's float16 factors stand
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      factors = {0, 2};
      break;
    case DType::kQ2_K:
      factors = {80, 82};
      break;
    case DType::kQ3_K:
      factors = {108};
      break;
    case DType::kQ6_K:
      factors = {208};
      break;
    default:
      factors = {0};
  }
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(info(dtype).block_bytes)) {
    for (const size_t factor : factors) {
      put(block + factor, fill == Fill::kTinyFactors   ? uint16_t{0x0003}
                          : fill == Fill::kHugeFactors ? uint16_t{0x7bff}
                                                       : float_to_half(0.02f * value()));
    }
  }
  return bytes;
}

inline std::vector<float> random_floats(size_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// All panels of a matrix; 64-byte aligned.
class Packed {
 public:
  Packed(DType dtype, const std::byte* source, int64_t rows, int64_t columns)
      : layout(layout_of(dtype)), size(panel_bytes(layout, columns)), panels((rows + 15) / 16) {
    memory_.resize((size * static_cast<size_t>(panels) + 64) / 64 + 1);
    for (int64_t p = 0; p < panels; ++p) {
      const int count = static_cast<int>(rows - 16 * p < 16 ? rows - 16 * p : 16);
      pack_panel(dtype, source + row_bytes(dtype, columns) * static_cast<size_t>(16 * p), row_bytes(dtype, columns),
                 count, columns, const_cast<std::byte*>(panel(p)));
    }
  }
  const std::byte* panel(int64_t p) const {
    return reinterpret_cast<const std::byte*>(memory_.data()) + size * static_cast<size_t>(p);
  }

  Layout layout;
  size_t size;
  int64_t panels;

 private:
  struct alignas(64) Line {
    std::byte bytes[64] = {};
  };
  std::vector<Line> memory_;
};

// Rows of activations as a kernel rounds them.
struct Quantized {
  Quantized(const Kernels& kernels, const std::vector<float>& x, int64_t rows, int64_t columns)
      : k((columns + 31) / 32 * 32) {
    const auto n = static_cast<size_t>(rows * k);
    q.resize(n);
    scale.resize(n / 32);
    sum.resize(n / 32);
    pair_sum.resize(n / 8);
    half_sum.resize(n / 16);
    half_offset.resize(n / 16);
    unit.resize(n / 32);
    factor.resize(n / 32);
    factor_sum.resize(n / 32);
    for (int64_t r = 0; r < rows; ++r) kernels.quantize_row(x.data() + r * columns, columns, view().row(r));
  }
  QuantizedRows view() {
    return {q.data(),
            scale.data(),
            sum.data(),
            pair_sum.data(),
            half_sum.data(),
            half_offset.data(),
            unit.data(),
            factor.data(),
            factor_sum.data(),
            k,
            k};
  }

  // Whether the kernels sum chunks in whole numbers.
  bool has_units() const {
    return std::any_of(unit.begin(), unit.end(), [](float each) { return each != 0.0f; });
  }

  int64_t k;
  std::vector<int8_t> q;
  std::vector<float> scale, sum;
  std::vector<int16_t> pair_sum;
  std::vector<int32_t> half_sum, half_offset;
  std::vector<float> unit;
  std::vector<int16_t> factor, factor_sum;
};

inline std::string test_name(std::string text) {
  for (char& c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return text;
}

}  // namespace carronade::cpu
