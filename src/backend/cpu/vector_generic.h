// Vector traits without an instruction set, for any processor: the compiler's own vectors of 16 lanes, which it cuts
// into what the baseline has. Also what a new instruction set is compared with.
struct V {
  typedef uint8_t I __attribute__((vector_size(64), aligned(16)));
  typedef float F __attribute__((vector_size(64), aligned(16)));
  typedef int32_t W __attribute__((vector_size(64), aligned(16)));  // I as 16 words
  static constexpr int kVectors = 1;
  static constexpr int kLanes = 16;
  static constexpr int kBytes = 64;
  static constexpr int kTile = 32;  // Kernels::tile_columns
  static constexpr int kColumns = 2;
  static constexpr int kDirectColumns = 1;  // of a call whose weights are unpacked in registers
  static constexpr int kQueries = 1;        // that read keys and values together
  static constexpr bool kScalesDots = false;

  // Up to so many rows weights are unpacked in registers; beyond, once into L1.
  static constexpr int direct_rows(Range) { return kDirectColumns; }

  static CARRONADE_INLINE I load(const void* p) {
    I result;
    __builtin_memcpy(&result, p, 64);
    return result;
  }
  static CARRONADE_INLINE void store(void* p, I x) { __builtin_memcpy(p, &x, 64); }
  static CARRONADE_INLINE I bits_and(I a, I b) { return a & b; }
  static CARRONADE_INLINE I bits_or(I a, I b) { return a | b; }
  // Words of 32 bits: what crosses bytes is masked off by the callers.
  template <int N>
  static CARRONADE_INLINE I shift_left(I x) {
    return (I)((W)x << N);
  }
  template <int N>
  static CARRONADE_INLINE I shift_right(I x) {
    typedef uint32_t U __attribute__((vector_size(64), aligned(16)));
    return (I)((U)x >> N);
  }
  static CARRONADE_INLINE I set_bytes(int byte) { return static_cast<uint8_t>(byte) + I{}; }

  static CARRONADE_INLINE F zero() { return F{}; }
  static CARRONADE_INLINE F set(float x) { return x - F{}; }
  static CARRONADE_INLINE F load_float(const void* p) {
    F result;
    __builtin_memcpy(&result, p, 64);
    return result;
  }
  static CARRONADE_INLINE void store_float(float* p, F x) { __builtin_memcpy(p, &x, 64); }
  // Exact: one multiplication puts the exponent right, subnormals included; infinities and NaN get theirs from the
  // comparison.
  static CARRONADE_INLINE F load_half(const void* p) {
    typedef uint16_t H __attribute__((vector_size(32), aligned(16)));
    H half;
    __builtin_memcpy(&half, p, 32);
    const W bits = __builtin_convertvector(half, W);
    const W magnitude = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
    const F scaled = (F)magnitude * 0x1p112f;
    return (F)((W)scaled | ((magnitude >= 0x0f800000) & 0x7f800000) | sign);
  }
  static CARRONADE_INLINE void store_half(void* p, F x) {
    uint16_t half[16];
    for (int i = 0; i < 16; ++i) half[i] = float_to_half(x[i]);
    __builtin_memcpy(p, half, 32);
  }
  // Of 32-bit lanes that hold two BF16: the lower, or the upper.
  static CARRONADE_INLINE F even_bfloats(I pairs) { return (F)((W)pairs << 16); }
  static CARRONADE_INLINE F odd_bfloats(I pairs) { return (F)((W)pairs & static_cast<int32_t>(0xffff0000u)); }
  static CARRONADE_INLINE F load_u8(const void* p) {
    typedef uint8_t B __attribute__((vector_size(16)));
    B values;
    __builtin_memcpy(&values, p, 16);
    return __builtin_convertvector(values, F);
  }
  static CARRONADE_INLINE F load_s8(const void* p) {
    typedef int8_t B __attribute__((vector_size(16)));
    B values;
    __builtin_memcpy(&values, p, 16);
    return __builtin_convertvector(values, F);
  }
  static CARRONADE_INLINE F to_float(I x) { return __builtin_convertvector((W)x, F); }
  static CARRONADE_INLINE F negate(F x) { return -x; }
  static CARRONADE_INLINE F abs(F x) { return (F)((W)x & 0x7fffffff); }
  static CARRONADE_INLINE F add(F a, F b) { return a + b; }
  static CARRONADE_INLINE F sub(F a, F b) { return a - b; }
  static CARRONADE_INLINE F mul(F a, F b) { return a * b; }
  static CARRONADE_INLINE F div(F a, F b) { return a / b; }
  static CARRONADE_INLINE F fma(F a, F b, F c) { return a * b + c; }  // two roundings: one would cost a library call
  static CARRONADE_INLINE F max(F a, F b) { return a > b ? a : b; }
  static CARRONADE_INLINE F min(F a, F b) { return a < b ? a : b; }
  // To nearest even, for |x| < 2^22: 1.5 · 2^23 leaves no room for a fraction.
  static CARRONADE_INLINE F round(F x) { return (x + 12582912.0f) - 12582912.0f; }
  // Adding 1.5 · 2^23 also leaves n in the low bits.
  static CARRONADE_INLINE F scale_by_power(F x, F n) { return (F)((W)x + ((W)(n + 12582912.0f) << 23)); }
  static CARRONADE_INLINE unsigned mask_of(W lanes) {
    unsigned mask = 0;
    for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>(lanes[i] & 1) << i;
    return mask;
  }
  static CARRONADE_INLINE unsigned greater(F a, F b) { return mask_of(a > b); }
  static CARRONADE_INLINE unsigned equal(F a, F b) { return mask_of(a == b); }
  static CARRONADE_INLINE void store_s8(int8_t* p, F x) {
    const W whole = (W)(x + 12582912.0f);  // the low byte is the value
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(whole[i]);
  }

  // Tiles [kFirst, kFirst + kCount) of step j times C columns. Byte b of every lane together, as words.
  template <int C, int kFirst, int kCount, typename Reader, typename Columns>
  static CARRONADE_INLINE void sum_tiles(const Reader& reader, int j, const Columns& a, W (&sum)[C]) {
    unroll<kCount>([&](auto i) CARRONADE_LAMBDA_INLINE {
      constexpr int kTile = kFirst + i.value;
      const W w = (W)reader.template w<kTile>(j, 0);
      for (int b = 0; b < 4; ++b) {
        const W value = Reader::kRange == Range::kByte ? w << (24 - 8 * b) >> 24 : w >> (8 * b) & 255;
        for (int c = 0; c < C; ++c) sum[c] += value * static_cast<int32_t>(a.q[c][32 * j + 4 * kTile + b]);
      }
    });
  }

  template <int C, typename Reader, typename Columns>
  static CARRONADE_INLINE void dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][1]) {
    W half[2][C] = {};
    sum_tiles<C, 0, 4>(reader, j, a, half[0]);
    sum_tiles<C, 4, 4>(reader, j, a, half[1]);
    for (int c = 0; c < C; ++c) {
      half[0][c] -= Reader::kOffset * a.half_sum[c][2 * j];
      half[1][c] -= Reader::kOffset * a.half_sum[c][2 * j + 1];
      if constexpr (Reader::kRange == Range::kSix) {
        const W s0 = (W)reader.template whole_scale<0>(j, 0), s1 = (W)reader.template whole_scale<1>(j, 0);
        dot[c][0] = (I)(s0 * half[0][c] + s1 * half[1][c]);
      } else {
        dot[c][0] = (I)(half[0][c] + half[1][c]);
      }
    }
  }
  // Sixteen signed bytes, widened.
  static CARRONADE_INLINE I whole_scale(const void* p) {
    typedef int8_t B __attribute__((vector_size(16)));
    B values;
    __builtin_memcpy(&values, p, 16);
    return (I) __builtin_convertvector(values, W);
  }

  template <int C, int h, typename Reader, typename Columns>
  static CARRONADE_INLINE void half_dots(const Reader& reader, int j, const Columns& a, I (&dot)[C][1]) {
    W half[C] = {};
    sum_tiles<C, 4 * h, 4>(reader, j, a, half);
    for (int c = 0; c < C; ++c) dot[c][0] = (I)half[c];
  }
};
