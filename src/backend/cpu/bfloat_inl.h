// Body of the matmul of BF16 panels with activations rounded to BF16, for processors that multiply pairs of them
// (vdpbf16ps: two products a lane, added in float; denormals are zeros). Compiled for AVX-512 BF16, and over SIMDe in
// tests. No include guard, as matmul_inl.h.

// To nearest even; NaN stays NaN.
CARRONADE_INLINE uint32_t bfloat_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 64;
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

CARRONADE_INLINE __m512bh as_bfloats(__m512i x) {
  __m512bh y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}

// Columns of K rounded at a time: 32 rows of them are 16 KB, half of a first cache.
constexpr int kBFloatBlock = 256;

// y[c] += `pairs` pairs of a panel's columns times those of C rows of x, kBFloatBlock / 2 apart. Two sums a row, over
// even and odd pairs, so that a single row does not wait for each addition.
template <int C>
CARRONADE_INLINE void add_bfloat_pairs(const std::byte* panel, const uint32_t* x, int pairs, float* y) {
  __m512 sum[2][C];
  for (int c = 0; c < C; ++c) sum[0][c] = sum[1][c] = _mm512_setzero_ps();
  const auto add = [&](int i, int odd) CARRONADE_LAMBDA_INLINE {
    const __m512bh w = as_bfloats(_mm512_loadu_si512(panel + 64 * i));
    for (int c = 0; c < C; ++c) {
      const __m512i pair = _mm512_set1_epi32(static_cast<int>(x[c * (kBFloatBlock / 2) + i]));
      sum[odd][c] = _mm512_dpbf16_ps(sum[odd][c], w, as_bfloats(pair));
    }
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
  alignas(64) uint32_t rounded[kTileColumns][kBFloatBlock / 2];
  for (int64_t begin = 0; begin < k; begin += kBFloatBlock) {
    const int count = k - begin < kBFloatBlock ? static_cast<int>(k - begin) : kBFloatBlock;
    for (int c = 0; c < n; ++c) {
      const float* row = x + c * stride + begin;
      for (int i = 0; i < count / 2; ++i) rounded[c][i] = bfloat_of(row[2 * i]) | bfloat_of(row[2 * i + 1]) << 16;
      if (count % 2) rounded[c][count / 2] = bfloat_of(row[count - 1]);
    }
    for_column_groups<8>(n, [&](auto c, int column) CARRONADE_LAMBDA_INLINE {
      add_bfloat_pairs<c.value>(panel + 32 * begin, rounded[column], (count + 1) / 2, y + 16 * column);
    });
  }
}
