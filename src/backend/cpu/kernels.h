// The table of kernels that one instruction set fills in. Kernels take raw pointers and sizes; they know no threads,
// weights or batches.
//
// What a kernel computes for a column (a row of the batch) never depends on the other columns of the call, nor on their
// number: integer sums are the same in any order, and float sums run over K in one fixed order, whatever the tiling.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/layout.h"

namespace carronade::cpu {

// Raised by every change that gives a kernel, or this backend's way of using them, other bits: keys and values that
// another version left on disk are then computed again.
inline constexpr int kArithmeticVersion = 3;

// Columns a call of a matmul kernel takes at most.
inline constexpr int kTileColumns = 64;

// Activations rounded to int8, one scale for every 32 (a group). Row r lies at q + r * stride, scale + r * (stride /
// 32) and so on. k is the row's extent rounded up to whole groups; the filling is zero.
//   x ≈ scale * q, |q| ≤ 127
//   sum        scale * Σ q of a group, [k / 32]
//   half_sum   Σ q of each half of a group, [k / 16]
// Of what follows, quantize_row writes what the kernels of its own table read.
//   pair_sum   of each half h of a group Σ q over its columns 4i, 4i+1, then over 4i+2, 4i+3, [k / 8]: as a multiply of
//              pairs of bytes sums them
// For AVX-512, and of whole chunks (256 columns) only:
//   unit         the scales of a chunk are whole multiples of this; at its first group, [k / 32]
//   factor       scale = factor * unit, 0 ≤ factor ≤ 127, [k / 32]
//   factor_sum   factor * Σ q of a group / 16, to nearest: within 16 bits, [k / 32]
//   half_offset  -32 half_sum: what Q6_K's offset takes off, [k / 16]
struct QuantizedRows {
  int8_t* q;
  float* scale;
  float* sum;
  int16_t* pair_sum;
  int32_t* half_sum;
  int32_t* half_offset;
  float* unit;
  int16_t* factor;
  int16_t* factor_sum;
  int64_t k;
  int64_t stride;

  // From row r and group g on.
  QuantizedRows at(int64_t r, int64_t g) const {
    const int64_t group = r * (stride / 32) + g;
    return {q + 32 * group,
            scale + group,
            sum + group,
            pair_sum + 4 * group,
            half_sum + 2 * group,
            half_offset + 2 * group,
            unit + group,
            factor + group,
            factor_sum + group,
            k,
            stride};
  }
  QuantizedRows row(int64_t r) const { return at(r, 0); }
};

// y[c][r] = Σ_k panel[r][k] * a[c][k], for c < n ≤ kTileColumns. panel: k columns in the kernel's layout; y: [n][16],
// 64-byte aligned.
using MatmulKernel = void (*)(const std::byte* panel, const QuantizedRows& a, int n, float* y);

// The same over float activations x[c * stride + k], panels of f16, bf16 or f32, any k.
using FloatMatmulKernel = void (*)(const std::byte* panel, const float* x, int64_t stride, int64_t k, int n, float* y);

// The same over activations rounded to BF16, two columns a word: row c's pairs lie at x + c * stride, beyond its end up
// to a whole group of 32 columns as zeros. Panels of bf16.
using BFloatMatmulKernel = void (*)(const std::byte* panel, const uint32_t* x, int64_t stride, int64_t k, int n,
                                    float* y);

enum class KvFormat : uint8_t { kF16, kF32, kQ8_0 };
inline constexpr int kKvFormats = 3;

// One stretch of a context, as several query vectors of one KV head see it. Per 16 positions (a block) a piece of keys
// and a piece of values; E is the format's element:
//   f16, f32   keys    E[head_dim][16]
//              values  E[16][head_dim]
//   q8_0       keys    i8[head_dim][16], scale f16[head_dim / 32][16]
//              values  i8[16][head_dim], scale f16[head_dim / 32][16]
struct AttentionSpan {
  const std::byte* const* keys;    // [blocks]
  const std::byte* const* values;  // [blocks]
  int blocks;
  int64_t first_position;  // of the first block
  int head_dim;            // a multiple of 8 (of 32 for q8_0)
  int queries;
  const float* const* q;  // [queries] → [head_dim]
  const int64_t* begin;   // [queries] positions a query may see: [begin, end)
  const int64_t* end;
  float scale;
  float soft_cap;  // 0: none
};

// The unfinished softmax of a query over a stretch: out = Σ_p exp(s_p - max) v_p, sum = Σ_p exp(s_p - max). A stretch
// of which the query sees nothing leaves max = kNothingSeen, sum = 0, out = 0.
inline constexpr float kNothingSeen = -1e30f;
struct AttentionPartial {
  float* max;  // [queries]
  float* sum;  // [queries]
  float* out;  // [queries][head_dim]
};
using AttentionKernel = void (*)(const AttentionSpan& span, const AttentionPartial& partial);

struct Kernels {
  const char* name;
  // Columns that a call had best take: so many that their share of reading and unpacking a panel is small, as long as
  // their int8 values (at 8960 a column 394 KB for 32) fit the second cache: 512 KB of most AVX2 processors, 1 MB and
  // more of most with AVX-512.
  int tile_columns;
  MatmulKernel matmul[kIntegerLayouts];  // by Layout
  FloatMatmulKernel matmul_float[kLayouts - kIntegerLayouts];
  BFloatMatmulKernel matmul_bfloat;  // nullptr where it gains nothing over matmul_float
  AttentionKernel attention[kKvFormats];

  // x and row begin at a chunk's first column; a last group is filled up with zeros. A NaN or infinity makes its
  // group's scale NaN, so that it is not lost; where scales of a chunk hang together, its unit too, and the chunk's
  // other groups 0.
  void (*quantize_row)(const float* x, int64_t n, const QuantizedRows& row);
  // To nearest even, denormals to zero, up to whole groups of 32; nullptr with matmul_bfloat.
  void (*to_bfloat)(const float* x, int64_t n, uint32_t* pairs);
  // out = x / sqrt(mean(x²) + epsilon) * weight; out may be x.
  void (*rms_norm_row)(const float* x, const float* weight, float epsilon, int64_t n, float* out);
  // x = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias.
  void (*layer_norm_row)(float* x, const float* weight, const float* bias, float epsilon, int64_t n);
  // x = x Φ(x): gelu in its exact form, within 1.5e-7 |x|.
  void (*gelu_row)(float* x, int64_t n);
  // gate = silu(gate) * up, or gelu in its tanh form.
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*gelu_mul)(float* gate, const float* up, int64_t n);
  // Merges a later partial into an earlier one: a ← a ∪ b, both of `head_dim`.
  void (*merge_partial)(float* max_a, float* sum_a, float* out_a, float max_b, float sum_b, const float* out_b,
                        int head_dim);
  void (*to_half)(const float* x, int64_t n, uint16_t* out);  // round to nearest even; beyond ±65504 → ±65504
  int64_t (*argmax)(const float* x, int64_t n);  // lowest index among equals; NaN never wins; 0 when all are NaN
  // Appends to `found` the indices i in [begin, n) with x[i] > threshold until `room` are found; returns where it
  // stopped, count in *got.
  int64_t (*find_above)(const float* x, int64_t begin, int64_t n, float threshold, int32_t* found, int room, int* got);
};

const Kernels& generic_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();
const Kernels& amx_kernels();
#elif defined(__aarch64__)
const Kernels& dotprod_kernels();
const Kernels& i8mm_kernels();
#endif

}  // namespace carronade::cpu
