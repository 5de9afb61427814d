// Vector traits for NEON with its dot product (Armv8.2): a panel's 16 rows are four vectors of four lanes. sdot sums
// four signed products into each 32-bit lane, so nothing can saturate, and unsigned weights below 64 are signed bytes
// as they are.
struct Dotprod {
  using I = int8x16_t;
  using F = float32x4_t;
  static constexpr int kVectors = 4;  // of a panel's rows
  static constexpr int kLanes = 4;
  static constexpr int kBytes = 16;
  static constexpr int kTile = 32;          // Kernels::tile_columns
  static constexpr int kColumns = 4;        // 16 sums + 4 activations + weights of 32 registers
  static constexpr int kDirectColumns = 2;  // of a call whose weights are unpacked in registers
  static constexpr int kQueries = 6;        // that read keys and values together
  static constexpr bool kScalesDots = false;

  // Up to so many rows weights are unpacked in registers; beyond, once into L1.
  static constexpr int direct_rows(Range) { return kDirectColumns; }

  static CARRONADE_INLINE I load(const void* p) { return vld1q_s8(static_cast<const int8_t*>(p)); }
  static CARRONADE_INLINE void store(void* p, I x) { vst1q_s8(static_cast<int8_t*>(p), x); }
  static CARRONADE_INLINE I bits_and(I a, I b) { return vandq_s8(a, b); }
  static CARRONADE_INLINE I bits_or(I a, I b) { return vorrq_s8(a, b); }
  template <int N>
  static CARRONADE_INLINE I shift_left(I x) {
    return vshlq_n_s8(x, N);
  }
  template <int N>
  static CARRONADE_INLINE I shift_right(I x) {
    if constexpr (N == 0)
      return x;
    else
      return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x), N));
  }
  static CARRONADE_INLINE I set_bytes(int byte) { return vdupq_n_s8(static_cast<int8_t>(byte)); }

  static CARRONADE_INLINE F zero() { return vdupq_n_f32(0.0f); }
  static CARRONADE_INLINE F set(float x) { return vdupq_n_f32(x); }
  static CARRONADE_INLINE F load_float(const void* p) { return vld1q_f32(static_cast<const float*>(p)); }
  static CARRONADE_INLINE void store_float(float* p, F x) { vst1q_f32(p, x); }
  static CARRONADE_INLINE F load_half(const void* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t*>(p))));
  }
  static CARRONADE_INLINE void store_half(void* p, F x) {
    vst1_u16(static_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(x)));
  }
  // Of 32-bit lanes that hold two BF16: the lower, or the upper.
  static CARRONADE_INLINE F even_bfloats(I pairs) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_s8(pairs), 16));
  }
  static CARRONADE_INLINE F odd_bfloats(I pairs) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_s8(pairs), vdupq_n_u32(0xffff0000u)));
  }
  static CARRONADE_INLINE F load_u8(const void* p) {
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(load_4(p))))));
  }
  static CARRONADE_INLINE int32x4_t whole_s8(const void* p) {
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(load_4(p)))));
  }
  static CARRONADE_INLINE F load_s8(const void* p) { return vcvtq_f32_s32(whole_s8(p)); }
  static CARRONADE_INLINE F to_float(I x) { return vcvtq_f32_s32(vreinterpretq_s32_s8(x)); }
  static CARRONADE_INLINE F negate(F x) { return vnegq_f32(x); }
  static CARRONADE_INLINE F abs(F x) { return vabsq_f32(x); }
  static CARRONADE_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
  static CARRONADE_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
  static CARRONADE_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
  static CARRONADE_INLINE F div(F a, F b) { return vdivq_f32(a, b); }
  static CARRONADE_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  // With a NaN the second, as x86 has it; fmax would keep the NaN.
  static CARRONADE_INLINE F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static CARRONADE_INLINE F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static CARRONADE_INLINE F round(F x) { return vrndnq_f32(x); }
  // x · 2^n for whole n with both ends normal.
  static CARRONADE_INLINE F scale_by_power(F x, F n) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtnq_s32_f32(n), 23)));
  }
  // One bit a lane: a > b, or a == b.
  static CARRONADE_INLINE unsigned greater(F a, F b) { return mask_of(vcgtq_f32(a, b)); }
  static CARRONADE_INLINE unsigned equal(F a, F b) { return mask_of(vceqq_f32(a, b)); }
  // Lanes as bytes: whole numbers in -128…127.
  static CARRONADE_INLINE void store_s8(int8_t* p, F x) {
    const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    __builtin_memcpy(p, &bytes, 4);
  }

  // Tiles 4h … 4h+3 of step j times C columns: one half of the step.
  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void add_half(const Reader& reader, int j, const Columns& a, int32x4_t (&sum)[C][4]) {
    int8x16_t x[C];
    for (int c = 0; c < C; ++c) x[c] = vld1q_s8(a.q[c] + 32 * j + 16 * h);
    unroll<4>([&](auto i) CARRONADE_LAMBDA_INLINE {
      unroll<4>([&](auto v) CARRONADE_LAMBDA_INLINE {
        const I w = reader.template w<4 * h + i.value>(j, v.value);
        for (int c = 0; c < C; ++c) sum[c][v.value] = vdotq_laneq_s32(sum[c][v.value], w, x[c], i.value);
      });
    });
  }

  // Four signed bytes, widened.
  static CARRONADE_INLINE I whole_scale(const void* p) { return vreinterpretq_s8_s32(whole_s8(p)); }

  // Both halves, each by `Half`, less kOffset Σ a: kSix: the whole numbers Σ_h scale_h (Σ w a - 32 Σ a), at most 17
  // million.
  template <int C, typename Half, typename Reader, typename Columns>
  static CARRONADE_INLINE void sum_halves(const Reader& reader, int j, const Columns& a, I (&dot)[C][4]) {
    int32x4_t total[C][4];
    if constexpr (Reader::kRange == Range::kSix) {
      unroll<2>([&](auto h) CARRONADE_LAMBDA_INLINE {
        int32x4_t half[C][4];
        for (int c = 0; c < C; ++c) {
          const int32_t sum = a.half_sum[c][2 * j + h.value];
          for (int v = 0; v < 4; ++v) half[c][v] = vdupq_n_s32(-Reader::kOffset * sum);
        }
        Half::template add<C, h.value>(reader, j, a, half);
        for (int v = 0; v < 4; ++v) {
          const int32x4_t scale = vreinterpretq_s32_s8(reader.template whole_scale<h.value>(j, v));
          for (int c = 0; c < C; ++c) {
            total[c][v] = h.value == 0 ? vmulq_s32(half[c][v], scale) : vmlaq_s32(total[c][v], half[c][v], scale);
          }
        }
      });
    } else {
      for (int c = 0; c < C; ++c) {
        const int32_t* halves = a.half_sum[c] + 2 * j;
        const int start = Reader::kOffset == 0 ? 0 : -Reader::kOffset * (halves[0] + halves[1]);
        for (int v = 0; v < 4; ++v) total[c][v] = vdupq_n_s32(start);
      }
      Half::template add<C, 0>(reader, j, a, total);
      Half::template add<C, 1>(reader, j, a, total);
    }
    hand_out(total, dot);
  }

  struct HalfByDots {
    template <int C, int h, typename Reader, typename Columns>
    static CARRONADE_INLINE void add(const Reader& reader, int j, const Columns& a, int32x4_t (&sum)[C][4]) {
      add_half<C, h>(reader, j, a, sum);
    }
  };

  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][4]) {
    sum_halves<C, HalfByDots>(reader, j, a, dot);
  }

  // Half h of the step by itself.
  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][4]) {
    int32x4_t half[C][4];
    clear(half);
    add_half<C, h>(reader, j, a, half);
    hand_out(half, dot);
  }

 protected:
  template <int C>
  static CARRONADE_INLINE void clear(int32x4_t (&sum)[C][4]) {
    for (int c = 0; c < C; ++c) {
      for (int v = 0; v < 4; ++v) sum[c][v] = vdupq_n_s32(0);
    }
  }
  template <int C>
  static CARRONADE_INLINE void hand_out(const int32x4_t (&sum)[C][4], I (&dot)[C][4]) {
    for (int c = 0; c < C; ++c) {
      for (int v = 0; v < 4; ++v) dot[c][v] = vreinterpretq_s8_s32(sum[c][v]);
    }
  }

 private:
  static CARRONADE_INLINE uint32x2_t load_4(const void* p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return vdup_n_u32(word);
  }
  static CARRONADE_INLINE unsigned mask_of(uint32x4_t lanes) {
    const uint32x4_t bits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, bits));
  }
};
