// Vector traits for AVX2 + FMA + F16C: a panel's 16 rows are two vectors of eight lanes.
//
// vpmaddubsw adds two products of unsigned weights and signed activations into 16 bits, saturating at 32767. With |a| ≤
// 127 a pair is at most 15 · 127 · 2 = 3810 for nibbles (eight fit: 30480), 31 · 127 · 2 = 7874 for five bits (four:
// 31496), 63 · 127 · 2 = 16002 for six (two: 32004), so sums stay in 16 bits as long as they fit and are widened by
// vpmaddwd: exact, whatever the values. With an offset taken off as pair sums, they fit again: 32 · 127 · 2 · 4 = 32512
// for six bits, 16 · 127 · 2 · 8 = 32512 for five; that 16-bit sums overflow on their way there does no harm.
struct V {
  using I = __m256i;
  using F = __m256;
  static constexpr int kVectors = 2;  // of a panel's rows
  static constexpr int kLanes = 8;
  static constexpr int kBytes = 32;
  static constexpr int kTile = 32;           // Kernels::tile_columns
  static constexpr int kColumns = 4;         // 8 sums + 2 weights + 1 activation + temporaries of 16 registers
  static constexpr int kDirectColumns = 4;   // of a call whose weights are unpacked in registers
  static constexpr int kQueries = 6;         // that read keys and values together
  static constexpr bool kScalesDots = true;  // as vpmaddwd widens them

  // Up to so many rows weights are unpacked in registers, in several passes; beyond, once into L1.
  static constexpr int direct_rows(Range range) { return range == Range::kNibble || range == Range::kByte ? 16 : 4; }

  static CARRONADE_INLINE I load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static CARRONADE_INLINE void store(void* p, I x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static CARRONADE_INLINE I bits_and(I a, I b) { return _mm256_and_si256(a, b); }
  static CARRONADE_INLINE I bits_or(I a, I b) { return _mm256_or_si256(a, b); }
  template <int N>
  static CARRONADE_INLINE I shift_left(I x) {
    return _mm256_slli_epi16(x, N);
  }
  template <int N>
  static CARRONADE_INLINE I shift_right(I x) {
    return _mm256_srli_epi16(x, N);
  }
  static CARRONADE_INLINE I set_bytes(int byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }
  static CARRONADE_INLINE I set_4(const int8_t* p) {
    int word;
    __builtin_memcpy(&word, p, 4);
    return _mm256_set1_epi32(word);
  }

  static CARRONADE_INLINE F zero() { return _mm256_setzero_ps(); }
  static CARRONADE_INLINE F set(float x) { return _mm256_set1_ps(x); }
  static CARRONADE_INLINE F load_float(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
  static CARRONADE_INLINE void store_float(float* p, F x) { _mm256_storeu_ps(p, x); }
  static CARRONADE_INLINE F load_half(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static CARRONADE_INLINE void store_half(void* p, F x) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  // Of 32-bit lanes that hold two BF16: the lower, or the upper.
  static CARRONADE_INLINE F even_bfloats(I pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static CARRONADE_INLINE F odd_bfloats(I pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static CARRONADE_INLINE F load_u8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static CARRONADE_INLINE F load_s8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  static CARRONADE_INLINE F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static CARRONADE_INLINE F negate(F x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }
  static CARRONADE_INLINE F abs(F x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  static CARRONADE_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  static CARRONADE_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static CARRONADE_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static CARRONADE_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
  static CARRONADE_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static CARRONADE_INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
  static CARRONADE_INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }
  static CARRONADE_INLINE F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x · 2^n for whole n with both ends normal.
  static CARRONADE_INLINE F scale_by_power(F x, F n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
  }
  // One bit a lane: a > b, or a == b.
  static CARRONADE_INLINE unsigned greater(F a, F b) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static CARRONADE_INLINE unsigned equal(F a, F b) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
  }
  // Lanes as bytes: whole numbers in -128…127.
  static CARRONADE_INLINE void store_s8(int8_t* p, F x) {
    const __m256i words = _mm256_cvtps_epi32(x);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
  }

  // Lane by lane the upper half onto the lower, down to one.
  static CARRONADE_INLINE float max_lanes(F x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static CARRONADE_INLINE float sum_lanes(F x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  // 32 whole numbers in -127…127 as bytes, with their pair and half sums (QuantizedRows).
  static CARRONADE_INLINE void store_group(const F (&x)[4], int8_t* q, int16_t* pair_sum, int32_t* half_sum) {
    const I low = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
    const I high = _mm256_packs_epi32(_mm256_cvtps_epi32(x[2]), _mm256_cvtps_epi32(x[3]));
    // Packing works within 128 bits; its fours of columns come out as 0, 2, 4, 6, 1, 3, 5, 7.
    const I bytes =
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0));
    store(q, bytes);
    I pairs = multiply_pairs(_mm256_set1_epi8(1), bytes);  // a half of the group each 128 bits
    pairs = add16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
    pairs = add16(pairs, _mm256_shuffle_epi32(pairs, 0xb1));
    const int first = _mm256_extract_epi32(pairs, 0), second = _mm256_extract_epi32(pairs, 4);
    __builtin_memcpy(pair_sum, &first, 4);
    __builtin_memcpy(pair_sum + 2, &second, 4);
    half_sum[0] = static_cast<int16_t>(first) + (first >> 16);
    half_sum[1] = static_cast<int16_t>(second) + (second >> 16);
  }

  static CARRONADE_INLINE I widen(I pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
  static CARRONADE_INLINE I add16(I a, I b) { return _mm256_add_epi16(a, b); }
  static CARRONADE_INLINE I add32(I a, I b) { return _mm256_add_epi32(a, b); }
  // Emits nothing. Without it GCC 12 rearranges a chain of whole-number sums into a tree, computes all products first
  // and spills them.
  static CARRONADE_INLINE I in_order(I x) {
    asm("" : "+x"(x));
    return x;
  }
  static CARRONADE_INLINE I multiply_pairs(I u, I s) { return _mm256_maddubs_epi16(u, s); }

  // Tiles [kFirst, kFirst + kCount) of step j times C columns, summed in 16 bits.
  template <int C, int kFirst, int kCount, typename Reader, typename Columns>
  static CARRONADE_INLINE void narrow_dots(const Reader& reader, int j, const Columns& a, I (&sum)[C][2]) {
    unroll<kCount>([&](auto i) CARRONADE_LAMBDA_INLINE {
      constexpr int kTile = kFirst + i.value;
      const I w0 = reader.template w<kTile>(j, 0), w1 = reader.template w<kTile>(j, 1);
      for (int c = 0; c < C; ++c) {
        const I x = set_4(a.q[c] + 32 * j + 4 * kTile);
        const I p0 = multiply_pairs(w0, x), p1 = multiply_pairs(w1, x);
        sum[c][0] = in_order(i.value == 0 ? p0 : add16(sum[c][0], p0));
        sum[c][1] = in_order(i.value == 0 ? p1 : add16(sum[c][1], p1));
      }
    });
  }

  // kOffset times both halves' pair sums, as 16-bit lanes.
  template <int kOffset>
  static CARRONADE_INLINE I offset_of(const int16_t* pairs) {
    constexpr int kShift = __builtin_ctz(kOffset);
    return _mm256_slli_epi16(add16(set_pair(pairs), set_pair(pairs + 2)), kShift);
  }
  static CARRONADE_INLINE I set_pair(const int16_t* p) { return set_4(reinterpret_cast<const int8_t*>(p)); }

  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][2]) {
    if constexpr (Reader::kRange == Range::kSix) {
      six_dots<C>(reader, j, a, dot);
    } else if constexpr (Reader::kRange == Range::kByte) {
      byte_dots<C>(reader, j, a, dot);
    } else if constexpr (Reader::kOffset > 0) {
      narrow_dots<C, 0, 8>(reader, j, a, dot);
      for (int c = 0; c < C; ++c) {
        const I offset = offset_of<Reader::kOffset>(a.pair_sum[c] + 4 * j);
        for (int v = 0; v < 2; ++v) dot[c][v] = widen(_mm256_sub_epi16(dot[c][v], offset));
      }
    } else {
      constexpr int kTiles = Reader::kRange == Range::kNibble ? 8 : 4;  // whose products fit a 16-bit sum
      I factor[2];  // one, where the reader has no whole-number scales
      for (int v = 0; v < 2; ++v) {
        if constexpr (Reader::kScaleOf == ScaleOf::kChunk)
          factor[v] = reader.template whole_scale<0>(j, v);
        else
          factor[v] = _mm256_set1_epi16(1);
      }
      narrow_dots<C, 0, kTiles>(reader, j, a, dot);
      for (int c = 0; c < C; ++c) {
        for (int v = 0; v < 2; ++v) dot[c][v] = _mm256_madd_epi16(dot[c][v], factor[v]);
      }
      if constexpr (kTiles < 8) {
        I high[C][2];
        narrow_dots<C, 4, 4>(reader, j, a, high);
        for (int c = 0; c < C; ++c) {
          for (int v = 0; v < 2; ++v) dot[c][v] = add32(dot[c][v], _mm256_madd_epi16(high[c][v], factor[v]));
        }
      }
    }
  }

  // Half h of the step by itself.
  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][2]) {
    narrow_dots<C, 4 * h, 4>(reader, j, a, dot);
    for (int c = 0; c < C; ++c) {
      for (int v = 0; v < 2; ++v) dot[c][v] = widen(dot[c][v]);
    }
  }

  // Eight signed bytes as pairs of 16-bit words, for vpmaddwd.
  static CARRONADE_INLINE I whole_scale(const void* p) {
    const I twice = _mm256_set_epi8(13, 12, 13, 12, 9, 8, 9, 8, 5, 4, 5, 4, 1, 0, 1, 0, 13, 12, 13, 12, 9, 8, 9, 8, 5,
                                    4, 5, 4, 1, 0, 1, 0);
    return _mm256_shuffle_epi8(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))), twice);
  }

  // Σ_h scale_h (Σ w a - 32 Σ a): vpmaddwd multiplies by the scales as it widens.
  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void six_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][2]) {
    static_assert(Reader::kOffset == 32);
    unroll<2>([&](auto half) CARRONADE_LAMBDA_INLINE {
      constexpr int h = half.value;
      I sum[C][2];
      narrow_dots<C, 4 * h, 4>(reader, j, a, sum);
      const I scale[2] = {reader.template whole_scale<h>(j, 0), reader.template whole_scale<h>(j, 1)};
      for (int c = 0; c < C; ++c) {
        const I offset = _mm256_slli_epi16(set_pair(a.pair_sum[c] + 4 * j + 2 * h), 5);
        for (int v = 0; v < 2; ++v) {
          const I scaled = _mm256_madd_epi16(_mm256_sub_epi16(sum[c][v], offset), scale[v]);
          dot[c][v] = h == 0 ? scaled : in_order(add32(dot[c][v], scaled));
        }
      }
    });
  }

  // Signed weights: |w| · (a with w's sign); 128 · 127 · 2 = 32512 still fits.
  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void byte_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][2]) {
    unroll<8>([&](auto i) CARRONADE_LAMBDA_INLINE {
      for (int v = 0; v < 2; ++v) {
        const I w = reader.template w<i.value>(j, v), magnitude = _mm256_abs_epi8(w);
        for (int c = 0; c < C; ++c) {
          const I x = set_4(a.q[c] + 32 * j + 4 * i.value);
          const I p = widen(multiply_pairs(magnitude, _mm256_sign_epi8(x, w)));
          dot[c][v] = in_order(i.value == 0 ? p : add32(dot[c][v], p));
        }
      }
    });
  }
};
