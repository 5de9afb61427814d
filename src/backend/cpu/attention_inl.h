// Body of the attention kernel, compiled once for each ISA (see matmul_inl.h for how). Source of the running softmax:
// Milakov, Gimelshein, "Online normalizer calculation for softmax" (2018).
//
// Keys lie transposed, so the 16 positions of a block are lanes: a score is a chain of FMAs over the head's dimensions,
// in order, and no sum crosses lanes. Up to V::kQueries queries that share a KV head (a group of grouped-query
// attention, or several rows) read a block together: on AVX2 6 × 2 vectors of sums, 2 of keys and 1 of a query fill the
// 16 registers, on AVX-512 12 × 2 of values leave room in 32.

constexpr int kBlock = 16;  // positions
constexpr int kScoreVectors = kBlock / V::kLanes;
constexpr int kLine = 64;  // bytes of a cache line

template <typename E>
struct KvElements {
  static CARRONADE_INLINE V::F load(const std::byte* p, int64_t index) { return E::load(p + E::kBytes * index); }
  static CARRONADE_INLINE V::F load_some(const std::byte* p, int64_t index, int count) {
    alignas(64) std::byte lanes[4 * V::kLanes] = {};
    for (int i = 0; i < E::kBytes * count; ++i) lanes[i] = p[E::kBytes * index + i];
    return E::load(lanes);
  }
};

// s[g] += Σ_d q[g][d] keys[d]. Asks for the same dimensions of the piece `ahead`, a line at a time.
template <int G, int kBytes, typename Load>
CARRONADE_INLINE void add_scores(Load load, const std::byte* ahead, const float* const* q, int first, int last,
                                 V::F (&s)[G][kScoreVectors]) {
  for (int d = first; d < last; ++d) {
    if (d * kBytes * kBlock % kLine == 0) __builtin_prefetch(ahead + kBytes * kBlock * d);
    V::F k[kScoreVectors];
    for (int v = 0; v < kScoreVectors; ++v) k[v] = load(kBlock * d + V::kLanes * v);
    for (int g = 0; g < G; ++g) {
      const V::F x = V::set(q[g][d]);
      for (int v = 0; v < kScoreVectors; ++v) s[g][v] = V::fma(k[v], x, s[g][v]);
    }
  }
}

// out[g][d …] = out * alpha[g] + Σ_p weight[g][p] values[p][d …], W vectors at once. Asks for the same values of the
// piece `ahead`, rows of `row_bytes`, a line at a time.
template <int G, int W, int kBytes, typename Load>
CARRONADE_INLINE void add_values(Load load, const std::byte* ahead, int64_t row_bytes, const float (*weight)[kBlock],
                                 const float* alpha, int from, int to, float* const* out, int d) {
  const bool ask = d * kBytes % kLine == 0;
  V::F sum[G][W];
  for (int g = 0; g < G; ++g) {
    for (int w = 0; w < W; ++w) sum[g][w] = V::mul(V::load_float(out[g] + d + V::kLanes * w), V::set(alpha[g]));
  }
  for (int p = from; p < to; ++p) {
    if (ask) __builtin_prefetch(ahead + p * row_bytes + d * kBytes);
    V::F value[W];
    for (int w = 0; w < W; ++w) value[w] = load(p, d + V::kLanes * w);
    for (int g = 0; g < G; ++g) {
      const V::F x = V::set(weight[g][p]);
      for (int w = 0; w < W; ++w) sum[g][w] = V::fma(value[w], x, sum[g][w]);
    }
  }
  for (int g = 0; g < G; ++g) {
    for (int w = 0; w < W; ++w) V::store_float(out[g] + d + V::kLanes * w, sum[g][w]);
  }
}

template <typename E>
struct PlainKv {
  template <int G>
  static CARRONADE_INLINE void scores(const std::byte* keys, const std::byte* ahead, const float* const* q,
                                      int head_dim, V::F (&s)[G][kScoreVectors]) {
    add_scores<G, E::kBytes>([&](int i) CARRONADE_LAMBDA_INLINE { return KvElements<E>::load(keys, i); }, ahead, q, 0,
                             head_dim, s);
  }
  template <int G>
  static CARRONADE_INLINE void values(const std::byte* values, const std::byte* ahead, const float (*p)[kBlock],
                                      const float* alpha, int from, int to, int head_dim, float* const* out) {
    const int64_t row_bytes = static_cast<int64_t>(E::kBytes) * head_dim;
    const auto load = [&](int position, int d)
                          CARRONADE_LAMBDA_INLINE { return KvElements<E>::load(values, position * head_dim + d); };
    int d = 0;
    for (; d + 2 * V::kLanes <= head_dim; d += 2 * V::kLanes)
      add_values<G, 2, E::kBytes>(load, ahead, row_bytes, p, alpha, from, to, out, d);
    for (; d + V::kLanes <= head_dim; d += V::kLanes)
      add_values<G, 1, E::kBytes>(load, ahead, row_bytes, p, alpha, from, to, out, d);
    if (const int rest = head_dim - d; rest > 0) {
      alignas(64) float lanes[G][V::kLanes] = {};
      float* pointers[G];
      for (int g = 0; g < G; ++g) {
        pointers[g] = lanes[g];
        for (int i = 0; i < rest; ++i) lanes[g][i] = out[g][d + i];
      }
      const auto load_rest = [&](int position, int) CARRONADE_LAMBDA_INLINE {
        return KvElements<E>::load_some(values, position * head_dim + d, rest);
      };
      add_values<G, 1, E::kBytes>(load_rest, ahead, row_bytes, p, alpha, from, to, pointers, 0);
      for (int g = 0; g < G; ++g) {
        for (int i = 0; i < rest; ++i) out[g][d + i] = lanes[g][i];
      }
    }
  }
};

// Scales are applied where they are fewest: to a group's sum of scores, and to the probabilities.
struct QuantizedKv {
  template <int G>
  static CARRONADE_INLINE void scores(const std::byte* keys, const std::byte* ahead, const float* const* q,
                                      int head_dim, V::F (&s)[G][kScoreVectors]) {
    const std::byte* scales = keys + kBlock * head_dim;
    for (int d = 0; d < head_dim; d += 32) {
      V::F part[G][kScoreVectors];
      for (int g = 0; g < G; ++g) {
        for (int v = 0; v < kScoreVectors; ++v) part[g][v] = V::zero();
      }
      add_scores<G, 1>([&](int i) CARRONADE_LAMBDA_INLINE { return V::load_s8(keys + i); }, ahead, q, d, d + 32, part);
      for (int v = 0; v < kScoreVectors; ++v) {
        const V::F scale = V::load_half(scales + 2 * (kBlock * (d / 32) + V::kLanes * v));
        for (int g = 0; g < G; ++g) s[g][v] = V::fma(part[g][v], scale, s[g][v]);
      }
    }
  }
  template <int G>
  static CARRONADE_INLINE void values(const std::byte* values, const std::byte* ahead, const float (*p)[kBlock],
                                      const float* alpha, int from, int to, int head_dim, float* const* out) {
    const std::byte* scales = values + kBlock * head_dim;
    const auto load = [&](int position, int d)
                          CARRONADE_LAMBDA_INLINE { return V::load_s8(values + position * head_dim + d); };
    for (int d = 0; d < head_dim; d += 32) {
      alignas(64) float scaled[G][kBlock];
      for (int v = 0; v < kScoreVectors; ++v) {
        const V::F scale = V::load_half(scales + 2 * (kBlock * (d / 32) + V::kLanes * v));
        for (int g = 0; g < G; ++g)
          V::store_float(scaled[g] + V::kLanes * v, V::mul(V::load_float(p[g] + V::kLanes * v), scale));
      }
      for (int part = 0; part < 32; part += 2 * V::kLanes)
        add_values<G, 2, 1>(load, ahead, head_dim, scaled, alpha, from, to, out, d + part);
    }
  }
};

CARRONADE_INLINE V::F tanh(V::F x) {  // 1 - 2 / (e^2x + 1)
  return V::sub(V::set(1.0f), V::div(V::set(2.0f), V::add(exp(V::add(x, x)), V::set(1.0f))));
}

// Scales one query's scores of a block, makes those outside of [from, to) small, and returns the largest so far.
CARRONADE_INLINE float limit_scores(V::F (&s)[kScoreVectors], const AttentionSpan& span, int from, int to, float max) {
  if (from >= to) return max;
  for (int v = 0; v < kScoreVectors; ++v) {
    s[v] = V::mul(s[v], V::set(span.scale));
    if (span.soft_cap > 0) s[v] = V::mul(V::set(span.soft_cap), tanh(V::div(s[v], V::set(span.soft_cap))));
  }
  if (from > 0 || to < kBlock) {
    alignas(64) float lanes[kBlock];
    for (int v = 0; v < kScoreVectors; ++v) V::store_float(lanes + V::kLanes * v, s[v]);
    for (int i = 0; i < kBlock; ++i) {
      if (i < from || i >= to) lanes[i] = 2 * kNothingSeen;
    }
    for (int v = 0; v < kScoreVectors; ++v) s[v] = V::load_float(lanes + V::kLanes * v);
  }
  V::F largest = V::set(max);
  for (int v = 0; v < kScoreVectors; ++v) largest = V::max(s[v], largest);
  return max_lanes(largest);
}

// Probabilities of such scores relative to the maximum.
CARRONADE_INLINE void soften(const V::F (&s)[kScoreVectors], int from, int to, float max, float (&p)[kBlock]) {
  for (int v = 0; v < kScoreVectors; ++v) V::store_float(p + V::kLanes * v, exp(V::sub(s[v], V::set(max))));
  for (int i = 0; i < from; ++i) p[i] = 0.0f;
  for (int i = to; i < kBlock; ++i) p[i] = 0.0f;
}

// A block's scores of all queries → probabilities relative to the running maxima; alpha is what earlier sums must be
// multiplied by, 1 where the maximum stays.
template <int G>
CARRONADE_INLINE void soften_all(V::F (&s)[G][kScoreVectors], const AttentionSpan& span, const int (&from)[G],
                                 const int (&to)[G], float (&max)[G], V::F (&sum)[G][kScoreVectors],
                                 float (&p)[G][kBlock], float (&alpha)[G]) {
  constexpr int kRounded = (G + V::kLanes - 1) / V::kLanes * V::kLanes;
  alignas(64) float factor[kRounded] = {};
  bool rises = false;
  for (int g = 0; g < G; ++g) {
    const float now = limit_scores(s[g], span, from[g], to[g], max[g]);
    factor[g] = max[g] - now;
    rises |= !(factor[g] == 0.0f);
    max[g] = now;
  }
  if (rises) {
    for (int i = 0; i < kRounded; i += V::kLanes) V::store_float(factor + i, exp(V::load_float(factor + i)));
  }
  for (int g = 0; g < G; ++g) {
    alpha[g] = rises ? factor[g] : 1.0f;
    soften(s[g], from[g], from[g] < to[g] ? to[g] : from[g], max[g], p[g]);
    for (int v = 0; v < kScoreVectors; ++v) {
      sum[g][v] = V::fma(sum[g][v], V::set(alpha[g]), V::load_float(p[g] + V::kLanes * v));
    }
  }
}

// Weights of positions that a query may not see are 0, and 0 times their values is added: a NaN that a broken model
// leaves in the cache reaches every query of the same call.
template <int G, typename Kv>
void attend_queries(const AttentionSpan& span, int first, const AttentionPartial& partial) {
  const float* q[G];
  float* out[G];
  float max[G], alpha[G];
  V::F sum[G][kScoreVectors];
  for (int g = 0; g < G; ++g) {
    q[g] = span.q[first + g];
    out[g] = partial.out + static_cast<int64_t>(first + g) * span.head_dim;
    max[g] = kNothingSeen;
    for (int v = 0; v < kScoreVectors; ++v) sum[g][v] = V::zero();
    for (int d = 0; d < span.head_dim; ++d) out[g][d] = 0.0f;
  }
  for (int b = 0; b < span.blocks; ++b) {
    const int64_t position = span.first_position + static_cast<int64_t>(kBlock) * b;
    int from[G], to[G], least = kBlock, most = 0;
    for (int g = 0; g < G; ++g) {
      const int64_t begin = span.begin[first + g] - position, end = span.end[first + g] - position;
      from[g] = begin < 0 ? 0 : begin > kBlock ? kBlock : static_cast<int>(begin);
      to[g] = end < 0 ? 0 : end > kBlock ? kBlock : static_cast<int>(end);
      if (from[g] >= to[g]) continue;
      least = from[g] < least ? from[g] : least;
      most = to[g] > most ? to[g] : most;
    }
    if (least >= most) continue;
    V::F s[G][kScoreVectors];
    for (int g = 0; g < G; ++g) {
      for (int v = 0; v < kScoreVectors; ++v) s[g][v] = V::zero();
    }
    const int next = b + 1 < span.blocks ? b + 1 : b;
    Kv::template scores<G>(span.keys[b], span.keys[next], q, span.head_dim, s);
    alignas(64) float p[G][kBlock];
    soften_all<G>(s, span, from, to, max, sum, p, alpha);
    Kv::template values<G>(span.values[b], span.values[next], p, alpha, least, most, span.head_dim, out);
  }
  for (int g = 0; g < G; ++g) {
    V::F total = sum[g][0];
    for (int v = 1; v < kScoreVectors; ++v) total = V::add(total, sum[g][v]);
    partial.max[first + g] = max[g];
    partial.sum[first + g] = sum_lanes(total);
  }
}

template <typename Kv>
void attend(const AttentionSpan& span, const AttentionPartial& partial) {
  int first = 0;
  for (int groups = (span.queries + V::kQueries - 1) / V::kQueries; groups > 0; --groups) {
    const int size = (span.queries - first + groups - 1) / groups;
    unroll<V::kQueries>([&](auto i) CARRONADE_LAMBDA_INLINE {
      if (size == i.value + 1) attend_queries<i.value + 1, Kv>(span, first, partial);
    });
    first += size;
  }
}

void merge_partial(float* max_a, float* sum_a, float* out_a, float max_b, float sum_b, const float* out_b,
                   int head_dim) {
  const float top = *max_a > max_b ? *max_a : max_b;
  alignas(64) float factor[16] = {*max_a - top, max_b - top};
  V::store_float(factor, exp(V::load_float(factor)));
  const V::F a = V::set(factor[0]), b = V::set(factor[1]);
  int d = 0;
  for (; d + V::kLanes <= head_dim; d += V::kLanes) {
    V::store_float(out_a + d, V::fma(V::load_float(out_b + d), b, V::mul(V::load_float(out_a + d), a)));
  }
  if (d < head_dim) {
    const int rest = head_dim - d;
    store_some(out_a + d, V::fma(load_some(out_b + d, rest), b, V::mul(load_some(out_a + d, rest), a)), rest);
  }
  *sum_a = *sum_a * factor[0] + sum_b * factor[1];
  *max_a = top;
}
