// Body of the matmul of BF16 panels with activations rounded to BF16, for processors that multiply pairs of them
// (vdpbf16ps: two products a lane, added in float; denormals are zeros). Compiled for AVX-512 BF16, and over SIMDe in
// tests. No include guard, as matmul_inl.h.

// Columns of K rounded at a time: 32 rows of them are 16 KB, half of a first cache.
constexpr int kBFloatBlock = 256;
constexpr int kBFloatRows = 32;  // at a time

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

// y[c] += `pairs` pairs of a panel's columns times those of C rows of x, kBFloatBlock / 2 apart. Two sums a row, over
// even and odd pairs, so that a single row does not wait for each addition.
template <int C>
CARRONADE_INLINE void add_bfloat_pairs(const std::byte* panel, const uint32_t* x, int pairs, bool ask, float* y) {
  __m512 sum[2][C];
  for (int c = 0; c < C; ++c) sum[0][c] = sum[1][c] = _mm512_setzero_ps();
  const auto add = [&](int i, int odd) CARRONADE_LAMBDA_INLINE {
    const __m512i w = _mm512_loadu_si512(panel + 64 * i);
    if (ask) prefetch_step<64>(panel, i);
    for (int c = 0; c < C; ++c) sum[odd][c] = multiply_pair(sum[odd][c], w, x + c * (kBFloatBlock / 2) + i);
  };
  int i = 0;
  for (; i + 2 <= pairs; i += 2) add(i, 0), add(i + 1, 1);
  if (i < pairs) add(i, 0);
  for (int c = 0; c < C; ++c) {
    const __m512 total = _mm512_add_ps(sum[0][c], sum[1][c]);
    _mm512_storeu_ps(y + 16 * c, _mm512_add_ps(_mm512_loadu_ps(y + 16 * c), total));
  }
}

void matmul_bfloat(const std::byte* panel, const float* x, int64_t stride, int64_t k, int n, bool add, float* y) {
  if (!add) {
    for (int i = 0; i < 16 * n; ++i) y[i] = 0.0f;
  }
  alignas(64) uint32_t rounded[kBFloatRows][kBFloatBlock / 2];
  for (int first = 0; first < n; first += kBFloatRows) {
    const int rows = n - first < kBFloatRows ? n - first : kBFloatRows;
    for (int64_t begin = 0; begin < k; begin += kBFloatBlock) {
      const int count = k - begin < kBFloatBlock ? static_cast<int>(k - begin) : kBFloatBlock;
      for (int c = 0; c < rows; ++c) {
        const float* row = x + (first + c) * stride + begin;
        int i = 0;
        for (; i + 32 <= count; i += 32) round_32(row + i, rounded[c] + i / 2);
        if (i < count) {
          float last[32] = {};
          for (int rest = i; rest < count; ++rest) last[rest - i] = row[rest];
          round_32(last, rounded[c] + i / 2);
        }
      }
      for_column_groups<8>(rows, [&](auto c, int column) CARRONADE_LAMBDA_INLINE {
        add_bfloat_pairs<c.value>(panel + 32 * begin, rounded[column], (count + 1) / 2, first + column == 0,
                                  y + 16 * (first + column));
      });
    }
  }
}
