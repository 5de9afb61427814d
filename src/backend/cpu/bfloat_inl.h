// Body of the matmul of BF16 panels with activations rounded to BF16, for processors that multiply pairs of them
// (vdpbf16ps: two products a lane, added in float; denormals are zeros). Compiled for AVX-512 BF16, and over SIMDe in
// tests. No include guard, as matmul_inl.h.

#if defined(__AVX512BF16__)
// 32 values to BF16: to nearest even, denormals to zero.
CARRONADE_INLINE void round_32(const float* x, uint32_t* pairs) {
  const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
  __builtin_memcpy(pairs, &rounded, sizeof rounded);
}
// sum + w times one pair of activations.
CARRONADE_INLINE __m512 multiply_pair(__m512 sum, __m512i w, const uint32_t* pair) {
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*pair));
  return sum;
}
#else
CARRONADE_INLINE uint32_t bfloat_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 64;
  if ((bits & 0x7f800000u) == 0) return bits >> 16 & 0x8000u;
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
CARRONADE_INLINE void round_32(const float* x, uint32_t* pairs) {
  for (int i = 0; i < 16; ++i) pairs[i] = bfloat_of(x[2 * i]) | bfloat_of(x[2 * i + 1]) << 16;
}
CARRONADE_INLINE __m512 multiply_pair(__m512 sum, __m512i w, const uint32_t* pair) {
  __m512bh weights, x;
  const __m512i same = _mm512_set1_epi32(static_cast<int>(*pair));
  __builtin_memcpy(&weights, &w, sizeof w);
  __builtin_memcpy(&x, &same, sizeof same);
  return _mm512_dpbf16_ps(sum, weights, x);
}
#endif

// A panel times C rows of x, `stride` apart, asking kBytesAhead on for what follows (0: not at all). Two sums a row,
// over even and odd pairs, so that a single row does not wait for each addition.
template <int C, int kBytesAhead>
CARRONADE_INLINE void multiply_bfloats(const std::byte* panel, const uint32_t* x, int64_t stride, int64_t pairs,
                                       float* y) {
  __m512 sum[2][C];
  for (int c = 0; c < C; ++c) sum[0][c] = sum[1][c] = _mm512_setzero_ps();
  const auto multiply = [&](int64_t i, int odd) CARRONADE_LAMBDA_INLINE {
    const __m512i w = _mm512_loadu_si512(panel + 64 * i);
    if constexpr (kBytesAhead > 0) prefetch_step<64, kBytesAhead>(panel, i);
    for (int c = 0; c < C; ++c) sum[odd][c] = multiply_pair(sum[odd][c], w, x + c * stride + i);
  };
  int64_t i = 0;
  for (; i + 2 <= pairs; i += 2) multiply(i, 0), multiply(i + 1, 1);
  if (i < pairs) multiply(i, 0);
  for (int c = 0; c < C; ++c) _mm512_storeu_ps(y + 16 * c, _mm512_add_ps(sum[0][c], sum[1][c]));
}

// One row does so little with a line that the loop itself reaches far ahead; it wants the lines just beyond that (Zen
// 4: a plain read's rate 2 KB ahead, 85 % of it 6 KB ahead; four rows the other way round).
void matmul_bfloat(const std::byte* panel, const uint32_t* x, int64_t stride, int64_t k, int n, float* y) {
  for_column_groups<8>(n, [&](auto c, int column) CARRONADE_LAMBDA_INLINE {
    const uint32_t* rows = x + column * stride;
    if (column > 0)
      multiply_bfloats<c.value, 0>(panel, rows, stride, (k + 1) / 2, y + 16 * column);
    else
      multiply_bfloats<c.value, c.value == 1 ? 2048 : kAhead>(panel, rows, stride, (k + 1) / 2, y);
  });
}

void to_bfloat(const float* x, int64_t n, uint32_t* pairs) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) round_32(x + i, pairs + i / 2);
  if (i == n) return;
  float last[32] = {};
  for (int64_t rest = i; rest < n; ++rest) last[rest - i] = x[rest];
  round_32(last, pairs + i / 2);
}
