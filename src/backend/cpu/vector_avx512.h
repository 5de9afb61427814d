// Vector traits for AVX-512 F, BW, VL, DQ and VNNI: a panel's 16 rows are one vector. vpdpbusd sums unsigned weights
// times signed activations in 32 bits, so nothing can saturate.
struct V {
  using I = __m512i;
  using F = __m512;
  static constexpr int kVectors = 1;
  static constexpr int kLanes = 16;
  static constexpr int kBytes = 64;
  static constexpr int kTile = 64;            // Kernels::tile_columns
  static constexpr int kColumns = 8;          // of a pass over what another has unpacked: none here (direct_rows)
  static constexpr int kDirectColumns = 8;    // two steps' sums and the chunk's of each, and weights: of 32 registers
  static constexpr int kQueries = 12;         // that read keys and values together
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

  // 32 whole numbers in -127…127 as bytes, with the sums of their halves. No kernel here reads pair sums.
  static CARRONADE_INLINE void store_group(const F (&x)[2], int8_t* q, int16_t*, int32_t* half_sum) {
    for (int h = 0; h < 2; ++h) {
      const __m512i words = _mm512_cvtps_epi32(x[h]);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + 16 * h), _mm512_cvtsepi32_epi8(words));
      const __m256i fold = _mm256_add_epi32(_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1));
      __m128i four = _mm_add_epi32(_mm256_castsi256_si128(fold), _mm256_extracti128_si256(fold, 1));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
      half_sum[h] = _mm_extract_epi32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)), 0);
    }
  }

  // 256 values, a chunk, into the first eight groups of `to`. All eight at once: one by one, each waits for its
  // maximum.
  static CARRONADE_INLINE void quantize_chunk(const float* x, const QuantizedRows& to) {
    // Maxima as bits, whose order is that of the values; infinity and NaN are above all.
    I group_largest[8];
    const I no_sign = _mm512_set1_epi32(0x7fffffff);
    for (int g = 0; g < 8; ++g)
      group_largest[g] =
          _mm512_max_epu32(bits_and(load(x + 32 * g), no_sign), bits_and(load(x + 32 * g + 16), no_sign));
    const __m256i largest = max_lanes_of_8(group_largest);
    __m256i most = _mm256_max_epu32(largest, _mm256_permute2x128_si256(largest, largest, 1));
    most = _mm256_max_epu32(most, _mm256_shuffle_epi32(most, 0x4e));
    most = _mm256_max_epu32(most, _mm256_shuffle_epi32(most, 0xb1));
    const float limit = _mm256_cvtss_f32(_mm256_castsi256_ps(most));
    const bool finite = limit < __builtin_inff();
    const bool something = finite && limit > 1e-30f;  // below, 127 / limit would overflow, and nobody could tell from 0

    const float unit = something ? limit / (127.0f * 127.0f) : 0.0f;
    const __m256 steps = _mm256_mul_ps(_mm256_castsi256_ps(largest), _mm256_set1_ps(something ? 127.0f / limit : 0.0f));
    const __m256 factor = _mm256_min_ps(_mm256_ceil_ps(steps), _mm256_set1_ps(something ? 127.0f : 0.0f));
    const __m256 scale = _mm256_mul_ps(factor, _mm256_set1_ps(unit));
    alignas(32) float inverse[8];
    _mm256_store_ps(inverse, _mm256_and_ps(_mm256_div_ps(_mm256_set1_ps(1.0f), scale),
                                           _mm256_cmp_ps(factor, _mm256_setzero_ps(), _CMP_GT_OQ)));

    I fours[4];  // sums of four neighbours
    for (int i = 0; i < 4; ++i) {
      for (int part = 0; part < 4; ++part)
        store_s8(to.q + 64 * i + 16 * part, mul(load_float(x + 64 * i + 16 * part), set(inverse[2 * i + part / 2])));
      fours[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), set_bytes(1), load(to.q + 64 * i));
    }
    const I half_sums = add_lanes_of_16(fours);
    store(to.half_sum, half_sums);
    store(to.half_offset, less_offset<32>(half_sums));
    const I evens_first = _mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
    const I apart = _mm512_permutexvar_epi32(evens_first, half_sums);
    const __m256i sums = _mm256_add_epi32(_mm512_castsi512_si256(apart), _mm512_extracti64x4_epi64(apart, 1));
    const __m256 scaled = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sums));
    const __m256 sixteenths = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), factor), _mm256_set1_ps(0.0625f));

    // All bits set are a NaN.
    const __m256 broken = _mm256_castsi256_ps(_mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7f7fffff)));
    _mm256_storeu_ps(to.scale, _mm256_or_ps(scale, broken));
    _mm256_storeu_ps(to.sum, _mm256_or_ps(scaled, broken));
    to.unit[0] = finite ? unit : __builtin_nanf("");
    store_words(to.factor, _mm256_cvtps_epi32(factor));
    store_words(to.factor_sum, _mm256_cvtps_epi32(sixteenths));
  }
  static CARRONADE_INLINE void store_words(int16_t* p, __m256i x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
  }
  // The largest lane of each of eight vectors.
  static CARRONADE_INLINE __m256i max_lanes_of_8(const I (&x)[8]) {
    const auto halves = [](I a, I b) CARRONADE_LAMBDA_INLINE {
      return _mm512_max_epu32(_mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee));
    };
    const auto quarters = [](I a, I b) CARRONADE_LAMBDA_INLINE {
      return _mm512_max_epu32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
    };
    // 128 bits L: of vector L, and of vector L + 4.
    const I low = quarters(halves(x[0], x[1]), halves(x[2], x[3]));
    const I high = quarters(halves(x[4], x[5]), halves(x[6], x[7]));
    I both = _mm512_max_epu32(_mm512_unpacklo_epi32(low, high), _mm512_unpackhi_epi32(low, high));
    both = _mm512_max_epu32(both, _mm512_unpackhi_epi64(both, both));
    const I order = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, both));
  }
  // Lane 4 i + L: the sum of the four lanes of x[i]'s 128 bits L.
  static CARRONADE_INLINE I add_lanes_of_16(const I (&x)[4]) {
    const auto neighbours = [](I a, I b) CARRONADE_LAMBDA_INLINE {
      return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    };
    const I first = neighbours(x[0], x[1]), second = neighbours(x[2], x[3]);
    const I sums = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    const I order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_permutexvar_epi32(order, sums);
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
      static_assert(kOffset == 32);
      for (int c = 0; c < C; ++c) dot[c][0] = set_sum(a.half_offset[c] + 2 * j);
      sum_tiles<C, 0, 4>(reader, j, a, dot);
      const I s0 = reader.template whole_scale<0>(j, 0), s1 = reader.template whole_scale<1>(j, 0);
      I second[C][1];
      for (int c = 0; c < C; ++c) {
        dot[c][0] = _mm512_mullo_epi32(dot[c][0], s0);
        second[c][0] = set_sum(a.half_offset[c] + 2 * j + 1);
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

  static constexpr bool kSumsWholeChunks = true;

  // start + Σ w a of a step. A single column would wait for each of its eight products, so upper nibbles are summed
  // apart there, and unshifted: as sixteen times their value.
  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void step_dots(const Reader& reader, int j, const Columns& a, int start, I (&dot)[C][1]) {
    for (int c = 0; c < C; ++c) dot[c][0] = _mm512_set1_epi32(start);
    if constexpr (C == 1 && Reader::kRange == Range::kNibble) {
      I high = _mm512_setzero_si512();
      unroll<4>([&](auto i) CARRONADE_LAMBDA_INLINE {
        const I pair = load(reader.nibbles(j) + 64 * i.value);
        const int8_t* q = a.q[0] + 32 * j + 4 * i.value;
        dot[0][0] = multiply_4(dot[0][0], bits_and(pair, set_bytes(15)), q);
        high = multiply_4(high, bits_and(pair, set_bytes(240)), q + 16);
      });
      dot[0][0] = _mm512_add_epi32(dot[0][0], _mm512_srai_epi32(high, 4));
    } else {
      sum_tiles<C, 0, 8>(reader, j, a, dot);
    }
  }

  // Sixteen bytes of one step and of the next, as pairs of 16-bit words.
  static CARRONADE_INLINE I step_pair(const std::byte* p) {
    const I first = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const I second = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16)));
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
  }
  static CARRONADE_INLINE I set_words(const int16_t* p) { return set_4(reinterpret_cast<const int8_t*>(p)); }
  // a's bits kShift and up below, b's above, 16 of each.
  template <int kShift>
  static CARRONADE_INLINE I pair_up(I a, I b) {
    const I low = _mm512_srli_epi32(a, kShift), high = _mm512_slli_epi32(b, 16 - kShift);
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(0xffff), low, high, 0xca);
  }

  // y += unit (d Σ_j factor_j ws_j dot_j - dmin Σ_j m_j factor_j Σ a_j), both sums in whole numbers: vpdpwssd takes two
  // steps at once, and multiplications are what bounds the kernel: beside those of its tiles 15 of a chunk and column
  // where floats take 26. For that a dot must fit 16 bits. Of nibbles |dot| ≤ 15 · 127 · 32 = 60960: its last bit goes,
  // of five bits the last two. Even steps lean down by as much as odd ones lean up; and rounding the activations has
  // moved a dot by some ten already. |sum| ≤ 31496 · 63 · 127 · 8 < 2^31.
  template <int C, typename Reader, typename Columns, typename Ahead>
  static CARRONADE_INLINE void add_chunk(const Reader& reader, const Columns& a, Ahead ahead, F (&y)[C][1]) {
    constexpr int kShift = Reader::kRange == Range::kNibble ? 1 : 2;
    I sum[C];
    for (int c = 0; c < C; ++c) sum[c] = _mm512_setzero_si512();
    for (int j = 0; j < 8; j += 2) {
      I even[C][1], odd[C][1];
      ahead(j);
      step_dots<C>(reader, j, a, kShift - 1, even);
      ahead(j + 1);
      step_dots<C>(reader, j + 1, a, kShift, odd);
      const I scale = reader.scale_pair(j);
      for (int c = 0; c < C; ++c) {
        const I factor = _mm512_mullo_epi16(scale, set_words(a.factor[c] + j));
        sum[c] = _mm512_dpwssd_epi32(sum[c], pair_up<kShift>(even[c][0], odd[c][0]), factor);
      }
    }
    I low[C];
    for (int c = 0; c < C; ++c) low[c] = _mm512_setzero_si512();
    for (int j = 0; j < 8; j += 2) {
      const I min = reader.min_pair(j);
      for (int c = 0; c < C; ++c) low[c] = _mm512_dpwssd_epi32(low[c], min, set_words(a.factor_sum[c] + j));
    }
    const F d = mul(reader.d(0), set(1 << kShift)), dmin = mul(reader.dmin(0), set(16));
    for (int c = 0; c < C; ++c) {
      const F value = fma(dmin, to_float(low[c]), mul(d, to_float(sum[c])));
      y[c][0] = fma(set(*a.unit[c]), value, y[c][0]);
    }
  }

  // Half h of the step by itself.
  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][1]) {
    for (int c = 0; c < C; ++c) dot[c][0] = _mm512_setzero_si512();
    sum_tiles<C, 4 * h, 4>(reader, j, a, dot);
  }
};
