// Vector traits for AVX-512 F, BW, VL, DQ and VNNI: a panel's 16 rows are one vector. vpdpbusd sums unsigned weights
// times signed activations in 32 bits, so nothing can saturate.
struct V {
  using I = __m512i;
  using F = __m512;
  static constexpr int kVectors = 1;
  static constexpr int kLanes = 16;
  static constexpr int kBytes = 64;
  static constexpr int kTile = 64;            // Kernels::tile_columns
  static constexpr int kColumns = 8;          // 8 sums of products + 8 of floats + weights of 32 registers
  static constexpr int kDirectColumns = 8;    // of a pass that unpacks weights in registers
  static constexpr int kQueries = 6;          // that read keys and values together
  static constexpr bool kScalesDots = false;  // vpmulld takes longer than a conversion and a multiplication

  // However many rows, weights are unpacked in registers, by every pass again: that runs beside the multiplications,
  // where unpacking them once into L1 took a third more time for 16 rows.
  static constexpr int direct_rows(Range) { return kTile; }

  static CARRONADE_INLINE I load(const void* p) { return _mm512_loadu_si512(p); }
  static CARRONADE_INLINE void store(void* p, I x) { _mm512_storeu_si512(p, x); }
  static CARRONADE_INLINE I bits_and(I a, I b) { return _mm512_and_si512(a, b); }
  static CARRONADE_INLINE I bits_or(I a, I b) { return _mm512_or_si512(a, b); }
  template <int N>
  static CARRONADE_INLINE I shift_left(I x) {
    return _mm512_slli_epi16(x, N);
  }
  template <int N>
  static CARRONADE_INLINE I shift_right(I x) {
    return _mm512_srli_epi16(x, N);
  }
  static CARRONADE_INLINE I set_bytes(int byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
  static CARRONADE_INLINE I set_4(const int8_t* p) {
    int word;
    __builtin_memcpy(&word, p, 4);
    return _mm512_set1_epi32(word);
  }

  static CARRONADE_INLINE F zero() { return _mm512_setzero_ps(); }
  static CARRONADE_INLINE F set(float x) { return _mm512_set1_ps(x); }
  static CARRONADE_INLINE F load_float(const void* p) { return _mm512_loadu_ps(p); }
  static CARRONADE_INLINE void store_float(float* p, F x) { _mm512_storeu_ps(p, x); }
  static CARRONADE_INLINE F load_half(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static CARRONADE_INLINE void store_half(void* p, F x) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  // Of 32-bit lanes that hold two BF16: the lower, or the upper.
  static CARRONADE_INLINE F even_bfloats(I pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
  static CARRONADE_INLINE F odd_bfloats(I pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static CARRONADE_INLINE F load_u8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  static CARRONADE_INLINE F load_s8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  static CARRONADE_INLINE F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static CARRONADE_INLINE F negate(F x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }
  static CARRONADE_INLINE F abs(F x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
  static CARRONADE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static CARRONADE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static CARRONADE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static CARRONADE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static CARRONADE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static CARRONADE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static CARRONADE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static CARRONADE_INLINE F round(F x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static CARRONADE_INLINE F scale_by_power(F x, F n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
  }
  static CARRONADE_INLINE unsigned greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static CARRONADE_INLINE unsigned equal(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static CARRONADE_INLINE void store_s8(int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }

  // Lane by lane the upper half onto the lower, down to one.
  static CARRONADE_INLINE float max_lanes(F x) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(x), upper_half(x));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static CARRONADE_INLINE float sum_lanes(F x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), upper_half(x));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static CARRONADE_INLINE __m256 upper_half(F x) {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  }

  // 32 whole numbers in -127…127 as bytes, with their pair and half sums (QuantizedRows).
  static CARRONADE_INLINE void store_group(const F (&x)[2], int8_t* q, int16_t* pair_sum, int32_t* half_sum) {
    for (int h = 0; h < 2; ++h) {
      const __m512i words = _mm512_cvtps_epi32(x[h]);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + 16 * h), _mm512_cvtsepi32_epi8(words));
      __m256i fold = _mm256_add_epi32(_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1));
      __m128i four = _mm_add_epi32(_mm256_castsi256_si128(fold), _mm256_extracti128_si256(fold, 1));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));  // lanes 0, 1: of columns 4i, 4i+1; 2, 3: the others
      const int first = _mm_extract_epi32(four, 0), second = _mm_extract_epi32(four, 2);
      pair_sum[2 * h] = static_cast<int16_t>(first);
      pair_sum[2 * h + 1] = static_cast<int16_t>(second);
      half_sum[h] = first + second;
    }
  }

  // sum + w times four activations.
  static CARRONADE_INLINE I multiply_4(I sum, I w, const int8_t* a) {
#if defined(__AVX512VNNI__)
    // GCC 12 loads the four by an instruction of its own: 1 to 8 % slower.
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*reinterpret_cast<const int8_t(*)[4]>(a)));
    return sum;
#else
    return _mm512_dpbusd_epi32(sum, w, set_4(a));
#endif
  }

  template <int C, int kFirst, int kCount, typename Reader, typename Columns>
  static CARRONADE_INLINE void sum_tiles(const Reader& reader, int j, const Columns& a, I (&sum)[C][1]) {
    unroll<kCount>([&](auto i) CARRONADE_LAMBDA_INLINE {
      constexpr int kTile = kFirst + i.value;
      I w = reader.template w<kTile>(j, 0);
      if constexpr (Reader::kRange == Range::kByte)
        w = _mm512_xor_si512(w, set_bytes(-128));  // + 128, taken off again by the start value
      for (int c = 0; c < C; ++c) sum[c][0] = multiply_4(sum[c][0], w, a.q[c] + 32 * j + 4 * kTile);
    });
  }

  // - kOffset times both sums of halves. By a shift: multiplications are what bounds the kernels.
  template <int kOffset>
  static CARRONADE_INLINE I less_offset(I half_sums) {
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(half_sums, __builtin_ctz(kOffset)));
  }
  static CARRONADE_INLINE I set_sum(const int32_t* p) { return _mm512_set1_epi32(*p); }
  // Sixteen signed bytes, widened.
  static CARRONADE_INLINE I whole_scale(const void* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }

  // kSix: the whole numbers Σ_h scale_h (Σ w a - 32 Σ a), at most 17 million. One half after the other: both at once
  // want more registers than there are.
  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][1]) {
    constexpr int kOffset = Reader::kRange == Range::kByte ? 128 : Reader::kOffset;
    if constexpr (Reader::kRange == Range::kSix) {
      for (int c = 0; c < C; ++c) dot[c][0] = less_offset<kOffset>(set_sum(a.half_sum[c] + 2 * j));
      sum_tiles<C, 0, 4>(reader, j, a, dot);
      const I s0 = reader.template whole_scale<0>(j, 0), s1 = reader.template whole_scale<1>(j, 0);
      I second[C][1];
      for (int c = 0; c < C; ++c) {
        dot[c][0] = _mm512_mullo_epi32(dot[c][0], s0);
        second[c][0] = less_offset<kOffset>(set_sum(a.half_sum[c] + 2 * j + 1));
      }
      sum_tiles<C, 4, 4>(reader, j, a, second);
      for (int c = 0; c < C; ++c) dot[c][0] = _mm512_add_epi32(dot[c][0], _mm512_mullo_epi32(second[c][0], s1));
    } else {
      for (int c = 0; c < C; ++c) {
        if constexpr (kOffset == 0) {
          dot[c][0] = _mm512_setzero_si512();
        } else {
          const int32_t* halves = a.half_sum[c] + 2 * j;
          dot[c][0] = less_offset<kOffset>(_mm512_add_epi32(set_sum(halves), set_sum(halves + 1)));
        }
      }
      sum_tiles<C, 0, 8>(reader, j, a, dot);
    }
  }

  // Half h of the step by itself.
  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][1]) {
    for (int c = 0; c < C; ++c) dot[c][0] = _mm512_setzero_si512();
    sum_tiles<C, 4 * h, 4>(reader, j, a, dot);
  }
};
