// Vector traits for NEON with its 8-bit matrix product (Armv8.6): smmla multiplies two rows of eight weights with two
// columns of eight activations, twice the work of an sdot. Two tiles, zipped, are such rows. One column alone is
// sdot's.
struct V : Dotprod {
  // Tiles 4h … 4h+3 of step j times C columns, two at a time; an odd last column goes with itself.
  struct HalfByMatrices {
    template <int C, int h, typename Reader, typename Columns>
    static CARRONADE_INLINE void add(const Reader& reader, int j, const Columns& a, int32x4_t (&sum)[C][4]) {
      constexpr int kPairs = (C + 1) / 2;
      int32x4_t square[kPairs][4][2];  // of rows 4v+2u, 4v+2u+1: {row, column} 00 01 10 11
      for (int p = 0; p < kPairs; ++p) {
        const int other = 2 * p + 1 < C ? 2 * p + 1 : 2 * p;
        for (int v = 0; v < 4; ++v) {
          square[p][v][0] = vzip1q_s32(sum[2 * p][v], sum[other][v]);
          square[p][v][1] = vzip2q_s32(sum[2 * p][v], sum[other][v]);
        }
      }
      unroll<2>([&](auto t) CARRONADE_LAMBDA_INLINE {
        constexpr int kTile = 4 * h + 2 * t.value;
        int8x16_t x[kPairs];
        for (int p = 0; p < kPairs; ++p) {
          const int other = 2 * p + 1 < C ? 2 * p + 1 : 2 * p;
          x[p] = vcombine_s8(vld1_s8(a.q[2 * p] + 32 * j + 4 * kTile), vld1_s8(a.q[other] + 32 * j + 4 * kTile));
        }
        unroll<4>([&](auto v) CARRONADE_LAMBDA_INLINE {
          const int32x4_t first = vreinterpretq_s32_s8(reader.template w<kTile>(j, v.value));
          const int32x4_t second = vreinterpretq_s32_s8(reader.template w<kTile + 1>(j, v.value));
          const int8x16_t w0 = vreinterpretq_s8_s32(vzip1q_s32(first, second));
          const int8x16_t w1 = vreinterpretq_s8_s32(vzip2q_s32(first, second));
          for (int p = 0; p < kPairs; ++p) {
            square[p][v.value][0] = vmmlaq_s32(square[p][v.value][0], w0, x[p]);
            square[p][v.value][1] = vmmlaq_s32(square[p][v.value][1], w1, x[p]);
          }
        });
      });
      for (int p = 0; p < kPairs; ++p) {
        for (int v = 0; v < 4; ++v) {
          sum[2 * p][v] = vuzp1q_s32(square[p][v][0], square[p][v][1]);
          if (2 * p + 1 < C) sum[2 * p + 1][v] = vuzp2q_s32(square[p][v][0], square[p][v][1]);
        }
      }
    }
  };

  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][4]) {
    if constexpr (C == 1)
      Dotprod::dots<C>(reader, j, a, dot);
    else
      sum_halves<C, HalfByMatrices>(reader, j, a, dot);
  }

  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][4]) {
    if constexpr (C == 1) {
      Dotprod::half_dots<C, h>(reader, j, a, dot);
    } else {
      int32x4_t half[C][4];
      clear(half);
      HalfByMatrices::template add<C, h>(reader, j, a, half);
      hand_out(half, dot);
    }
  }
};
