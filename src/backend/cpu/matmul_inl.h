// Body of the integer and float matmuls, compiled once for each ISA: the includer has opened an unnamed namespace in
// which `V` is the ISA's vector traits (see vector_avx2.h). No include guard and no inline function of a shared header
// on purpose: code made for one ISA must not be linked into another's.
//
// For every layout a Reader says how step j of the current chunk is unpacked:
//   w<i>(j, v)           tile i (0…7: columns 4i…4i+3 of each row), vector v of the panel's 16 rows, as unsigned bytes
//                        that stand kOffset above the values (kByte: as signed bytes)
//   ws(j, v)             the scale of the step's sum, as float lanes
//   wm(j, v)             what the sum of activations is multiplied by (kHasMin)
//   whole_scale<h>(j, v) the whole-number scale of each half, in the form that the traits' whole_scale() gives (kChunk)
//   d(v), dmin(v)        what all of the chunk's scales, and its wm, are multiplied by (kChunk)
//   scale_pair(j), min_pair(j)  whole-number scales, minima, of steps j and j + 1 side by side (sums_whole_chunks)
//   nibbles(j)                  the step's nibble tiles (likewise)
// and the traits' dots<C>() makes exact integer sums of it, with kOffset taken off, and times whole_scale if the traits
// or the range say so. Then y += a_scale * (ws * dot) and y += wm * a_sum, step by step; with kChunk each of the two is
// summed over the chunk first. Traits that sum whole chunks do all this for a chunk of kChunk and kHasMin by themselves
// (add_chunk).

template <int I>
CARRONADE_INLINE V::I read_nibbles(const std::byte* tiles, int v) {
  const V::I pair = V::load(tiles + 64 * (I % 4) + V::kBytes * v);
  if constexpr (I < 4)
    return V::bits_and(pair, V::set_bytes(15));
  else
    return V::bits_and(V::template shift_right<4>(pair), V::set_bytes(15));
}

// Bit 4 of tile I's values, from the one-bit tile.
template <int I>
CARRONADE_INLINE V::I read_fifth(const std::byte* tile, int v) {
  const V::I bits = V::load(tile + V::kBytes * v);
  if constexpr (I < 4)
    return V::bits_and(V::template shift_left<4 - I>(bits), V::set_bytes(16));
  else
    return V::bits_and(V::template shift_right<I - 4>(bits), V::set_bytes(16));
}

// Tile I of the six-bit tiles.
template <int I>
CARRONADE_INLINE V::I read_six(const std::byte* tiles, int v) {
  const auto load = [&](int i)
                        CARRONADE_LAMBDA_INLINE { return V::load(tiles + 64 * (3 * (I / 4) + i) + V::kBytes * v); };
  if constexpr (I % 4 < 3) {
    return V::bits_and(load(I % 4), V::set_bytes(63));
  } else {
    const V::I upper = V::set_bytes(192);
    const V::I low = V::template shift_right<6>(V::bits_and(load(0), upper));
    const V::I middle = V::template shift_right<4>(V::bits_and(load(1), upper));
    const V::I high = V::template shift_right<2>(V::bits_and(load(2), upper));
    return V::bits_or(low, V::bits_or(middle, high));
  }
}

template <bool kFifth>
struct ReadQ45K {
  static constexpr Range kRange = kFifth ? Range::kFive : Range::kNibble;
  static constexpr ScaleOf kScaleOf = ScaleOf::kChunk;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0, kStepBytes = (kFifth ? kQ5KChunkBytes : kQ4KChunkBytes) / kChunkSteps;
  const std::byte* chunk;

  CARRONADE_INLINE ReadQ45K(const std::byte* panel, int64_t) : chunk(panel) {}
  CARRONADE_INLINE void seek(const std::byte* panel, int64_t c) {
    chunk = panel + c * (kFifth ? kQ5KChunkBytes : kQ4KChunkBytes);
  }
  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    const V::I low = read_nibbles<I>(nibbles(j), v);
    if constexpr (kFifth)
      return V::bits_or(low, read_fifth<I>(chunk + kQ5KFifth + 64 * j, v));
    else
      return low;
  }
  CARRONADE_INLINE const std::byte* nibbles(int j) const {
    return chunk + (kFifth ? kQ5KNibbles : kQ4KNibbles) + 256 * j;
  }
  template <int H>  // one for both halves
  CARRONADE_INLINE V::I whole_scale(int j, int v) const {
    return V::whole_scale(chunk + kQ45KScales + 16 * j + V::kLanes * v);
  }
  // Of steps j and j + 1 side by side, 16 bits each.
  template <typename T = V>
  CARRONADE_INLINE V::I scale_pair(int j) const {
    return T::step_pair(chunk + kQ45KScales + 16 * j);
  }
  template <typename T = V>
  CARRONADE_INLINE V::I min_pair(int j) const {
    return T::step_pair(chunk + kQ45KMins + 16 * j);
  }
  CARRONADE_INLINE V::F ws(int j, int v) const { return V::load_u8(chunk + kQ45KScales + 16 * j + V::kLanes * v); }
  CARRONADE_INLINE V::F wm(int j, int v) const { return V::load_u8(chunk + kQ45KMins + 16 * j + V::kLanes * v); }
  CARRONADE_INLINE V::F d(int v) const { return V::load_half(chunk + 2 * V::kLanes * v); }
  CARRONADE_INLINE V::F dmin(int v) const { return V::negate(V::load_half(chunk + 32 + 2 * V::kLanes * v)); }
};

struct ReadQ6K {
  static constexpr Range kRange = Range::kSix;
  static constexpr ScaleOf kScaleOf = ScaleOf::kChunk;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 32, kStepBytes = kQ6KChunkBytes / kChunkSteps;
  const std::byte* chunk;

  CARRONADE_INLINE ReadQ6K(const std::byte* panel, int64_t) : chunk(panel) {}
  CARRONADE_INLINE void seek(const std::byte* panel, int64_t c) { chunk = panel + c * kQ6KChunkBytes; }
  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    return read_six<I>(chunk + kQ6KTiles + 384 * j, v);
  }
  template <int H>
  CARRONADE_INLINE V::I whole_scale(int j, int v) const {
    return V::whole_scale(chunk + 32 * j + 16 * H + V::kLanes * v);
  }
  CARRONADE_INLINE V::F d(int v) const { return V::load_half(chunk + kQ6KHalf + 2 * V::kLanes * v); }
};

template <Layout kLayout>
struct ReadPlanes {
  static constexpr bool kFifth = kLayout == Layout::kQ5_0 || kLayout == Layout::kQ5_1;
  static constexpr bool kIsByte = kLayout == Layout::kQ8_0 || kLayout == Layout::kS8;
  static constexpr Range kRange = kIsByte ? Range::kByte : kFifth ? Range::kFive : Range::kNibble;
  static constexpr ScaleOf kScaleOf = ScaleOf::kStep;
  static constexpr bool kHasMin = kLayout == Layout::kQ4_1 || kLayout == Layout::kQ5_1;
  static constexpr int kOffset = kLayout == Layout::kQ4_0 ? 8 : kLayout == Layout::kQ5_0 ? 16 : 0;
  static constexpr int kQBytes = kIsByte ? 512 : 256, kScaleBytes = kLayout == Layout::kS8 ? 64 : 32;
  static constexpr int kStepBytes = kQBytes + kScaleBytes * (kHasMin ? 2 : 1) + (kFifth ? 64 : 0);
  const std::byte *d, *m, *fifth, *q;

  CARRONADE_INLINE ReadPlanes(const std::byte* panel, int64_t steps) : d(panel) {
    const size_t scales = (static_cast<size_t>(steps) * kScaleBytes + 63) / 64 * 64;
    m = d + scales;
    fifth = m + (kHasMin ? scales : 0);
    q = fifth + (kFifth ? static_cast<size_t>(steps) * 64 : 0);
    d_ = d, m_ = m, fifth_ = fifth, q_ = q;
  }
  CARRONADE_INLINE void seek(const std::byte*, int64_t c) {
    d = d_ + c * kChunkSteps * kScaleBytes;
    m = m_ + c * kChunkSteps * 32;
    fifth = fifth_ + c * kChunkSteps * 64;
    q = q_ + c * kChunkSteps * kQBytes;
  }
  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    if constexpr (kIsByte) {
      return V::load(q + 512 * j + 64 * I + V::kBytes * v);
    } else {
      const V::I low = read_nibbles<I>(q + 256 * j, v);
      if constexpr (kFifth)
        return V::bits_or(low, read_fifth<I>(fifth + 64 * j, v));
      else
        return low;
    }
  }
  CARRONADE_INLINE V::F ws(int j, int v) const {
    if constexpr (kLayout == Layout::kS8)
      return V::load_float(d + 64 * j + 4 * V::kLanes * v);
    else
      return V::load_half(d + 32 * j + 2 * V::kLanes * v);
  }
  CARRONADE_INLINE V::F wm(int j, int v) const { return V::load_half(m + 32 * j + 2 * V::kLanes * v); }

 private:
  const std::byte *d_, *m_, *fifth_, *q_;
};

struct ReadU8 {
  static constexpr Range kRange = Range::kNibble;  // Q2_K's values are below 4
  static constexpr ScaleOf kScaleOf = ScaleOf::kHalf;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0, kStepBytes = 768;
  const std::byte *d, *m, *q;

  CARRONADE_INLINE ReadU8(const std::byte* panel, int64_t steps)
      : d(panel), m(panel + 128 * steps), q(panel + 256 * steps), d_(d), m_(m), q_(q) {}
  CARRONADE_INLINE void seek(const std::byte*, int64_t c) {
    d = d_ + c * kChunkSteps * 128;
    m = m_ + c * kChunkSteps * 128;
    q = q_ + c * kChunkSteps * 512;
  }
  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    return V::load(q + 512 * j + 64 * I + V::kBytes * v);
  }
  CARRONADE_INLINE V::F ws(int j, int v) const {
    return V::load_float(d + 64 * j + 4 * V::kLanes * v);
  }  // j counts half steps here
  CARRONADE_INLINE V::F wm(int j, int v) const { return V::negate(V::load_float(m + 64 * j + 4 * V::kLanes * v)); }

 private:
  const std::byte *d_, *m_, *q_;
};

// A chunk unpacked once for many columns: what the layout's own reader would give, byte for byte.
struct alignas(64) UnpackedChunk {
  std::byte bytes[kChunkSteps][8][64];
  std::byte whole_scales[kChunkSteps][2][64];
  float ws[2 * kChunkSteps][16], wm[2 * kChunkSteps][16];
  float d[16], dmin[16];
};

// Whether dots() of the traits multiplies by whole_scale.
template <typename Reader>
constexpr bool dots_are_scaled() {
  return Reader::kScaleOf == ScaleOf::kChunk && (Reader::kRange == Range::kSix || V::kScalesDots);
}

// Whether the traits sum a chunk of this layout in whole numbers, scales and minima included.
template <typename Reader, typename T = V>
constexpr bool sums_whole_chunks() {
  if constexpr (requires { T::kSumsWholeChunks; })
    return Reader::kScaleOf == ScaleOf::kChunk && Reader::kHasMin;
  else
    return false;
}

template <typename Reader>
struct ReadUnpacked {
  static constexpr Range kRange = Reader::kRange;
  static constexpr ScaleOf kScaleOf = Reader::kScaleOf;
  static constexpr bool kHasMin = Reader::kHasMin;
  static constexpr int kOffset = Reader::kOffset;
  const UnpackedChunk& chunk;

  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    return V::load(chunk.bytes[j][I] + V::kBytes * v);
  }
  template <int H>
  CARRONADE_INLINE V::I whole_scale(int j, int v) const {
    return V::load(chunk.whole_scales[j][H] + V::kBytes * v);
  }
  CARRONADE_INLINE V::F ws(int j, int v) const { return V::load_float(chunk.ws[j] + V::kLanes * v); }
  CARRONADE_INLINE V::F wm(int j, int v) const { return V::load_float(chunk.wm[j] + V::kLanes * v); }
  CARRONADE_INLINE V::F d(int v) const { return V::load_float(chunk.d + V::kLanes * v); }
  CARRONADE_INLINE V::F dmin(int v) const { return V::load_float(chunk.dmin + V::kLanes * v); }
};

// Reads as Reader does, and keeps what is read for the columns that follow.
template <typename Reader>
struct ReadAndKeep {
  static constexpr Range kRange = Reader::kRange;
  static constexpr ScaleOf kScaleOf = Reader::kScaleOf;
  static constexpr bool kHasMin = Reader::kHasMin;
  static constexpr int kOffset = Reader::kOffset;
  const Reader& reader;
  UnpackedChunk& chunk;

  template <int I>
  CARRONADE_INLINE V::I w(int j, int v) const {
    return keep(reader.template w<I>(j, v), chunk.bytes[j][I] + V::kBytes * v);
  }
  template <int H>
  CARRONADE_INLINE V::I whole_scale(int j, int v) const {
    return keep(reader.template whole_scale<H>(j, v), chunk.whole_scales[j][H] + V::kBytes * v);
  }
  CARRONADE_INLINE V::F ws(int j, int v) const { return keep(reader.ws(j, v), chunk.ws[j] + V::kLanes * v); }
  CARRONADE_INLINE V::F wm(int j, int v) const { return keep(reader.wm(j, v), chunk.wm[j] + V::kLanes * v); }
  CARRONADE_INLINE V::F d(int v) const { return keep(reader.d(v), chunk.d + V::kLanes * v); }
  CARRONADE_INLINE V::F dmin(int v) const { return keep(reader.dmin(v), chunk.dmin + V::kLanes * v); }

 private:
  static CARRONADE_INLINE V::I keep(V::I x, std::byte* at) {
    V::store(at, x);
    return x;
  }
  static CARRONADE_INLINE V::F keep(V::F x, float* at) {
    V::store_float(at, x);
    return x;
  }
};

// Where C columns' activations of a chunk lie.
template <int C>
struct ColumnPointers {
  const int8_t* q[C];
  const float* scale[C];
  const float* sum[C];
  const int16_t* pair_sum[C];
  const int32_t* half_sum[C];
  const int32_t* half_offset[C];
  const float* unit[C];
  const int16_t* factor[C];
  const int16_t* factor_sum[C];
};

template <int C>
CARRONADE_INLINE ColumnPointers<C> columns_at(const QuantizedRows& a, int column, int64_t chunk) {
  ColumnPointers<C> p;
  const int64_t groups = a.stride / kStepColumns;
  for (int c = 0; c < C; ++c) {
    const int64_t row = column + c, group = row * groups + chunk * kChunkSteps;
    p.q[c] = a.q + group * kStepColumns;
    p.scale[c] = a.scale + group;
    p.sum[c] = a.sum + group;
    p.pair_sum[c] = a.pair_sum + 4 * group;
    p.half_sum[c] = a.half_sum + 2 * group;
    p.half_offset[c] = a.half_offset + 2 * group;
    p.unit[c] = a.unit + group;
    p.factor[c] = a.factor + group;
    p.factor_sum[c] = a.factor_sum + group;
  }
  return p;
}

template <int C>
CARRONADE_INLINE void clear(V::F (&y)[C][V::kVectors]) {
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) y[c][v] = V::zero();
  }
}

// y[c] += d * sum[c], where d(v) gives the panel's lanes.
template <int C, typename D>
CARRONADE_INLINE void add_times(D d, const V::F (&sum)[C][V::kVectors], V::F (&y)[C][V::kVectors]) {
  for (int v = 0; v < V::kVectors; ++v) {
    const V::F factor = d(v);
    for (int c = 0; c < C; ++c) y[c][v] = V::fma(factor, sum[c][v], y[c][v]);
  }
}

// y[c] += the step's minima times the sums of C columns.
template <int C, typename Reader>
CARRONADE_INLINE void add_minima(const Reader& reader, int j, const ColumnPointers<C>& a, V::F (&y)[C][V::kVectors]) {
  for (int v = 0; v < V::kVectors; ++v) {
    const V::F wm = reader.wm(j, v);
    for (int c = 0; c < C; ++c) y[c][v] = V::fma(wm, V::set(a.sum[c][j]), y[c][v]);
  }
}

// y[c] += the step's products of C columns, of scales per step or (but for d) per chunk.
template <int C, typename Reader>
CARRONADE_INLINE void add_products(const Reader& reader, int j, const ColumnPointers<C>& a, V::F (&y)[C][V::kVectors]) {
  V::I dot[C][V::kVectors];
  V::template dots<C>(reader, j, a, dot);
  for (int v = 0; v < V::kVectors; ++v) {
    if constexpr (dots_are_scaled<Reader>()) {
      for (int c = 0; c < C; ++c) y[c][v] = V::fma(V::to_float(dot[c][v]), V::set(a.scale[c][j]), y[c][v]);
    } else {
      const V::F ws = reader.ws(j, v);
      for (int c = 0; c < C; ++c) y[c][v] = V::fma(V::mul(V::to_float(dot[c][v]), ws), V::set(a.scale[c][j]), y[c][v]);
    }
  }
}

template <int C, typename Reader>
CARRONADE_INLINE void add_halves(const Reader& reader, int j, const ColumnPointers<C>& a, V::F (&y)[C][V::kVectors]) {
  unroll<2>([&](auto half) CARRONADE_LAMBDA_INLINE {
    constexpr int h = half.value;
    V::I dot[C][V::kVectors];
    V::template half_dots<C, h>(reader, j, a, dot);
    for (int v = 0; v < V::kVectors; ++v) {
      const V::F ws = reader.ws(2 * j + h, v), wm = reader.wm(2 * j + h, v);
      for (int c = 0; c < C; ++c) {
        const V::F scale = V::set(a.scale[c][j]);
        const V::F half_sum = V::mul(scale, V::set(static_cast<float>(a.half_sum[c][2 * j + h])));
        y[c][v] = V::fma(V::mul(V::to_float(dot[c][v]), ws), scale, y[c][v]);
        y[c][v] = V::fma(wm, half_sum, y[c][v]);
      }
    }
  });
}

// y[c] += the reader's current chunk of C columns. ahead(j) is called before step j, to ask for what comes next.
template <int C, typename Reader, typename Ahead, typename T = V>
CARRONADE_INLINE void add_steps(const Reader& reader, int steps, const ColumnPointers<C>& a, Ahead ahead,
                                V::F (&y)[C][V::kVectors]) {
  if constexpr (sums_whole_chunks<Reader>()) {
    T::template add_chunk<C>(reader, a, ahead, y);
  } else if constexpr (Reader::kScaleOf == ScaleOf::kChunk) {
    V::F sum[C][V::kVectors];
    if constexpr (Reader::kHasMin) {
      clear(sum);
      for (int j = 0; j < steps; ++j) add_minima<C>(reader, j, a, sum);
      add_times([&](int v) CARRONADE_LAMBDA_INLINE { return reader.dmin(v); }, sum, y);
    }
    clear(sum);
    for (int j = 0; j < steps; ++j) {
      ahead(j);
      add_products<C>(reader, j, a, sum);
    }
    add_times([&](int v) CARRONADE_LAMBDA_INLINE { return reader.d(v); }, sum, y);
  } else {
    for (int j = 0; j < steps; ++j) {
      ahead(j);
      if constexpr (Reader::kScaleOf == ScaleOf::kHalf) {
        add_halves<C>(reader, j, a, y);
      } else {
        add_products<C>(reader, j, a, y);
        if constexpr (Reader::kHasMin) add_minima<C>(reader, j, a, y);
      }
    }
  }
}

// Few columns: unpacked in registers, y kept there over all of K. The first that pass by a panel fetch what follows it.
template <int C, typename Reader>
void matmul_direct(const std::byte* panel, const QuantizedRows& a, int column, float* y) {
  const int64_t steps = a.k / kStepColumns;
  Reader reader(panel, steps);
  V::F sum[C][V::kVectors];
  clear(sum);
  for (int64_t chunk = 0; chunk * kChunkSteps < steps; ++chunk) {
    reader.seek(panel, chunk);
    const ColumnPointers<C> p = columns_at<C>(a, column, chunk);
    const int64_t left = steps - chunk * kChunkSteps;
    const int count = left < kChunkSteps ? static_cast<int>(left) : kChunkSteps;
    const auto ahead = [&](int j) CARRONADE_LAMBDA_INLINE {
      if (column == 0) prefetch_step<Reader::kStepBytes>(panel, chunk * kChunkSteps + j);
    };
    add_steps<C>(reader, count, p, ahead, sum);
  }
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) V::store_float(y + 16 * (column + c) + V::kLanes * v, sum[c][v]);
  }
}

template <int C, int kStepBytes, typename Reader>
void add_chunk(const std::byte* panel, const Reader& reader, int steps, const QuantizedRows& a, int column,
               int64_t chunk, float* y) {
  const ColumnPointers<C> p = columns_at<C>(a, column, chunk);
  V::F sum[C][V::kVectors];
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) sum[c][v] = V::load_float(y + 16 * (column + c) + V::kLanes * v);
  }
  const auto ahead = [&](int j) CARRONADE_LAMBDA_INLINE {
    if (column == 0) prefetch_step<kStepBytes>(panel, chunk * kChunkSteps + j);
  };
  add_steps<C>(reader, steps, p, ahead, sum);
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) V::store_float(y + 16 * (column + c) + V::kLanes * v, sum[c][v]);
  }
}

// Many columns: each chunk unpacked once, by the first of them.
template <typename Reader>
void matmul_unpacked(const std::byte* panel, const QuantizedRows& a, int n, float* y) {
  const int64_t steps = a.k / kStepColumns;
  Reader reader(panel, steps);
  for (int i = 0; i < 16 * n; i += V::kLanes) V::store_float(y + i, V::zero());
  UnpackedChunk unpacked;
  for (int64_t chunk = 0; chunk * kChunkSteps < steps; ++chunk) {
    reader.seek(panel, chunk);
    const int64_t left = steps - chunk * kChunkSteps;
    const int count = left < kChunkSteps ? static_cast<int>(left) : kChunkSteps;
    for_column_groups<V::kColumns>(n, [&](auto c, int column) CARRONADE_LAMBDA_INLINE {
      if (column == 0)
        add_chunk<c.value, Reader::kStepBytes>(panel, ReadAndKeep<Reader>{reader, unpacked}, count, a, 0, chunk, y);
      else
        add_chunk<c.value, Reader::kStepBytes>(panel, ReadUnpacked<Reader>{unpacked}, count, a, column, chunk, y);
    });
  }
}

template <typename Reader>
void matmul(const std::byte* panel, const QuantizedRows& a, int n, float* y) {
  if (V::direct_rows(Reader::kRange) >= V::kTile || n <= V::direct_rows(Reader::kRange)) {
    for_column_groups<V::kDirectColumns>(
        n, [&](auto c, int column) CARRONADE_LAMBDA_INLINE { matmul_direct<c.value, Reader>(panel, a, column, y); });
  } else if constexpr (V::direct_rows(Reader::kRange) < V::kTile) {
    matmul_unpacked<Reader>(panel, a, n, y);
  }
}

// ---- Float panels

struct ElementF16 {
  static constexpr int kBytes = 2;
  static CARRONADE_INLINE V::F load(const std::byte* p) { return V::load_half(p); }
};
struct ElementF32 {
  static constexpr int kBytes = 4;
  static CARRONADE_INLINE V::F load(const std::byte* p) { return V::load_float(p); }
};

// Lanes v of column i + kOdd of a panel; i is even.
template <typename E>
struct PlainPanel {
  static constexpr int kPairBytes = 32 * E::kBytes;
  template <int kOdd>
  static CARRONADE_INLINE V::F load(const std::byte* panel, int64_t i, int v) {
    return E::load(panel + E::kBytes * (16 * (i + kOdd) + V::kLanes * v));
  }
};
struct BFloatPanel {  // pairs of columns: half of the work of widening them one by one
  static constexpr int kPairBytes = 64;
  template <int kOdd>
  static CARRONADE_INLINE V::F load(const std::byte* panel, int64_t i, int v) {
    const V::I pairs = V::load(panel + 32 * i + V::kBytes * v);
    return kOdd ? V::odd_bfloats(pairs) : V::even_bfloats(pairs);
  }
};

// Two sums a column, over even and odd k, so that a single column does not wait for each addition.
template <int C, typename Panel>
void multiply_floats(const std::byte* panel, const float* x, int64_t stride, int64_t k, bool ask, float* y) {
  V::F sum[2][C][V::kVectors];
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) sum[0][c][v] = sum[1][c][v] = V::zero();
  }
  int64_t i = 0;
  for (; i + 2 <= k; i += 2) {
    if (ask) prefetch_step<Panel::kPairBytes>(panel, i / 2);
    unroll<2>([&](auto odd) CARRONADE_LAMBDA_INLINE {
      for (int v = 0; v < V::kVectors; ++v) {
        const V::F w = Panel::template load<odd.value>(panel, i, v);
        for (int c = 0; c < C; ++c)
          sum[odd.value][c][v] = V::fma(w, V::set(x[c * stride + i + odd.value]), sum[odd.value][c][v]);
      }
    });
  }
  if (i < k) {
    for (int v = 0; v < V::kVectors; ++v) {
      const V::F w = Panel::template load<0>(panel, i, v);
      for (int c = 0; c < C; ++c) sum[0][c][v] = V::fma(w, V::set(x[c * stride + i]), sum[0][c][v]);
    }
  }
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V::kVectors; ++v) {
      V::store_float(y + 16 * c + V::kLanes * v, V::add(sum[0][c][v], sum[1][c][v]));
    }
  }
}

template <typename Panel>
void matmul_float(const std::byte* panel, const float* x, int64_t stride, int64_t k, int n, float* y) {
  for_column_groups<3>(n, [&](auto c, int column) CARRONADE_LAMBDA_INLINE {
    multiply_floats<c.value, Panel>(panel, x + column * stride, stride, k, column == 0 && n > 1, y + 16 * column);
  });
}
