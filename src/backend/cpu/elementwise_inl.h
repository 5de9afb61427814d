// Body of the kernels over single rows, compiled once for each ISA (see matmul_inl.h for how).

// `count` < kLanes values, the other lanes zero.
CARRONADE_INLINE V::F load_some(const float* p, int64_t count) {
  alignas(64) float lanes[V::kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return V::load_float(lanes);
}
CARRONADE_INLINE void store_some(float* p, V::F x, int64_t count) {
  alignas(64) float lanes[V::kLanes];
  V::store_float(lanes, x);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

// The next three are the traits' own where they have them.
template <typename T = V>
CARRONADE_INLINE float sum_lanes(V::F x) {
  if constexpr (requires { T::sum_lanes(x); }) {
    return T::sum_lanes(x);
  } else {
    alignas(64) float lanes[V::kLanes];
    V::store_float(lanes, x);
    for (int width = V::kLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
  }
}
template <typename T = V>
CARRONADE_INLINE float max_lanes(V::F x) {
  if constexpr (requires { T::max_lanes(x); }) {
    return T::max_lanes(x);
  } else {
    alignas(64) float lanes[V::kLanes];
    V::store_float(lanes, x);
    for (int width = V::kLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    }
    return lanes[0];
  }
}
constexpr int kGroupVectors = 32 / V::kLanes;
template <typename T = V>
CARRONADE_INLINE void store_group(const V::F (&x)[kGroupVectors], int8_t* q, int16_t* pair_sum, int32_t* half_sum) {
  if constexpr (requires { T::store_group(x, q, pair_sum, half_sum); }) {
    T::store_group(x, q, pair_sum, half_sum);
  } else {
    for (int part = 0; part < kGroupVectors; ++part) V::store_s8(q + part * V::kLanes, x[part]);
    for (int i = 0; i < 4; ++i) {
      int pairs = 0;
      for (int at = 16 * (i / 2) + 2 * (i % 2); at < 16 * (i / 2 + 1); at += 4) pairs += q[at] + q[at + 1];
      pair_sum[i] = static_cast<int16_t>(pairs);
    }
    for (int h = 0; h < 2; ++h) half_sum[h] = pair_sum[2 * h] + pair_sum[2 * h + 1];
  }
}

// e^x within 2e-7 (relative) for -87 ≤ x ≤ 88, beyond as at the ends; NaN stays. x = n ln 2 + r, |r| ≤ ln 2 / 2; e^r by
// its series with the last coefficients fitted. exp(0) is exactly 1.
CARRONADE_INLINE V::F exp(V::F x) {
  x = V::max(V::set(-87.0f), V::min(V::set(88.0f), x));
  const V::F n = V::round(V::mul(x, V::set(1.44269504f)));
  V::F r = V::fma(n, V::set(-0.693359375f), x);  // ln 2 in two parts: the first times n is exact
  r = V::fma(n, V::set(2.12194440e-4f), r);
  V::F p = V::set(1.9875691500e-4f);
  p = V::fma(p, r, V::set(1.3981999507e-3f));
  p = V::fma(p, r, V::set(8.3334519073e-3f));
  p = V::fma(p, r, V::set(4.1665795894e-2f));
  p = V::fma(p, r, V::set(1.6666665459e-1f));
  p = V::fma(p, r, V::set(5.0000001201e-1f));
  p = V::add(V::fma(p, V::mul(r, r), r), V::set(1.0f));
  return V::scale_by_power(p, n);
}

// x / (1 + e^-z): silu for z = x, gelu (tanh form) for z = 2 sqrt(2/π) (x + 0.044715 x³), since (1 + tanh u) / 2 = 1 /
// (1 + e^-2u).
CARRONADE_INLINE V::F gated(V::F x, V::F z) { return V::div(x, V::add(V::set(1.0f), exp(V::negate(z)))); }
CARRONADE_INLINE V::F gelu_argument(V::F x) {
  return V::mul(V::set(1.59576912f), V::fma(V::mul(V::mul(x, x), V::set(0.044715f)), x, x));
}

template <bool kGelu>
void activate_and_multiply(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    const V::F x = V::load_float(gate + i);
    V::store_float(gate + i, V::mul(gated(x, kGelu ? gelu_argument(x) : x), V::load_float(up + i)));
  }
  if (i < n) {
    const V::F x = load_some(gate + i, n - i);
    store_some(gate + i, V::mul(gated(x, kGelu ? gelu_argument(x) : x), load_some(up + i, n - i)), n - i);
  }
}

void rms_norm_row(const float* x, const float* weight, float epsilon, int64_t n, float* out) {
  V::F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};  // four: an FMA takes four cycles
  int64_t i = 0;
  for (; i + 4 * V::kLanes <= n; i += 4 * V::kLanes) {
    for (int u = 0; u < 4; ++u) {
      const V::F value = V::load_float(x + i + u * V::kLanes);
      sums[u] = V::fma(value, value, sums[u]);
    }
  }
  for (; i < n; i += V::kLanes) {
    const V::F value = i + V::kLanes <= n ? V::load_float(x + i) : load_some(x + i, n - i);
    sums[0] = V::fma(value, value, sums[0]);
  }
  const float total = sum_lanes(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  const V::F scale = V::set(1.0f / __builtin_sqrtf(total / static_cast<float>(n) + epsilon));
  for (i = 0; i + V::kLanes <= n; i += V::kLanes) {
    V::store_float(out + i, V::mul(V::mul(V::load_float(x + i), scale), V::load_float(weight + i)));
  }
  if (i < n) store_some(out + i, V::mul(V::mul(load_some(x + i, n - i), scale), load_some(weight + i, n - i)), n - i);
}

// Two passes: the mean, then the squares of what is left, so that a mean far from zero costs no precision.
void layer_norm_row(float* x, const float* weight, const float* bias, float epsilon, int64_t n) {
  const auto part = [&](const float* p, int64_t i) CARRONADE_LAMBDA_INLINE {
    return i + V::kLanes <= n ? V::load_float(p + i) : load_some(p + i, n - i);
  };
  V::F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t i = 0;
  for (; i + 4 * V::kLanes <= n; i += 4 * V::kLanes) {
    for (int u = 0; u < 4; ++u) sums[u] = V::add(sums[u], V::load_float(x + i + u * V::kLanes));
  }
  for (; i < n; i += V::kLanes) sums[0] = V::add(sums[0], part(x, i));
  const float total = sum_lanes(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  const V::F mean = V::set(total / static_cast<float>(n));
  V::F squares = V::zero();
  for (i = 0; i < n; i += V::kLanes) {
    V::F difference = V::sub(part(x, i), mean);
    if (i + V::kLanes <= n) {
      V::store_float(x + i, difference);
    } else {
      store_some(x + i, difference, n - i);
      difference = load_some(x + i, n - i);  // zero beyond the end
    }
    squares = V::fma(difference, difference, squares);
  }
  const V::F scale = V::set(1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon));
  for (i = 0; i < n; i += V::kLanes) {
    const V::F y = V::fma(V::mul(part(x, i), scale), part(weight, i), part(bias, i));
    if (i + V::kLanes <= n)
      V::store_float(x + i, y);
    else
      store_some(x + i, y, n - i);
  }
}

// x Φ(x) = max(x, 0) - |x| erfc(|x| / √2) / 2. Source of erfc: Abramowitz & Stegun, 7.1.26 (within 1.5e-7).
CARRONADE_INLINE V::F gelu(V::F x) {
  const V::F z = V::mul(V::abs(x), V::set(0.70710678f));
  const V::F t = V::div(V::set(1.0f), V::fma(z, V::set(0.3275911f), V::set(1.0f)));
  V::F p = V::set(1.061405429f);
  p = V::fma(p, t, V::set(-1.453152027f));
  p = V::fma(p, t, V::set(1.421413741f));
  p = V::fma(p, t, V::set(-0.284496736f));
  p = V::fma(p, t, V::set(0.254829592f));
  const V::F erfc = V::mul(V::mul(p, t), exp(V::negate(V::mul(z, z))));
  return V::sub(V::max(V::zero(), x), V::mul(V::mul(V::abs(x), V::set(0.5f)), erfc));
}

void gelu_row(float* x, int64_t n) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store_float(x + i, gelu(V::load_float(x + i)));
  if (i < n) store_some(x + i, gelu(load_some(x + i, n - i)), n - i);
}

// 32 values into the first group of `to`.
CARRONADE_INLINE void quantize_group(const float* x, const QuantizedRows& to) {
  V::F value[kGroupVectors], largest = V::zero(), poison = V::zero();
  for (int part = 0; part < kGroupVectors; ++part) {
    value[part] = V::load_float(x + part * V::kLanes);
    largest = V::max(V::abs(value[part]), largest);
    poison = V::fma(value[part], V::zero(), poison);  // 0, or NaN when a value is not finite
  }
  const float limit = max_lanes(largest);
  const bool something = limit > 1e-30f;  // below, 127 / limit would overflow, and nobody could tell from 0
  const V::F inverse = V::set(something ? 127.0f / limit : 0.0f);
  for (int part = 0; part < kGroupVectors; ++part) value[part] = V::round(V::mul(value[part], inverse));
  store_group(value, to.q, to.pair_sum, to.half_sum);
  to.scale[0] = (something ? limit / 127.0f : 0.0f) + sum_lanes(poison);
  to.sum[0] = to.scale[0] * static_cast<float>(to.half_sum[0] + to.half_sum[1]);
}

template <typename T = V>
void quantize_row(const float* x, int64_t n, const QuantizedRows& row) {
  int64_t g = 0;
  if constexpr (requires { T::quantize_chunk(x, row); }) {
    for (; 32 * (g + 8) <= n; g += 8) T::quantize_chunk(x + 32 * g, row.at(0, g));
  }
  for (; 32 * (g + 1) <= n; ++g) quantize_group(x + 32 * g, row.at(0, g));
  if (32 * g < n) {
    float last[32] = {};
    for (int64_t i = 32 * g; i < n; ++i) last[i - 32 * g] = x[i];
    quantize_group(last, row.at(0, g));
  }
}

void to_half(const float* x, int64_t n, uint16_t* out) {
  const V::F limit = V::set(65504.0f);
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    V::store_half(out + i, V::max(V::negate(limit), V::min(limit, V::load_float(x + i))));
  }
  if (i < n) {
    uint16_t last[V::kLanes];
    V::store_half(last, V::max(V::negate(limit), V::min(limit, load_some(x + i, n - i))));
    for (int64_t rest = i; rest < n; ++rest) out[rest] = last[rest - i];
  }
}

int64_t argmax(const float* x, int64_t n) {
  const float lowest = -__builtin_inff();
  V::F best = V::set(lowest);
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) best = V::max(V::load_float(x + i), best);
  float top = max_lanes(best);
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  const V::F wanted = V::set(top);
  for (i = 0; i + V::kLanes <= n; i += V::kLanes) {
    if (const unsigned mask = V::equal(V::load_float(x + i), wanted)) return i + __builtin_ctz(mask);
  }
  for (; i < n; ++i) {
    if (x[i] == top) return i;
  }
  return 0;
}

int64_t find_above(const float* x, int64_t begin, int64_t n, float threshold, int32_t* found, int room, int* got) {
  const V::F limit = V::set(threshold);
  int count = 0;
  int64_t i = begin;
  for (; i + V::kLanes <= n && count + V::kLanes <= room; i += V::kLanes) {
    for (unsigned mask = V::greater(V::load_float(x + i), limit); mask != 0; mask &= mask - 1) {
      found[count++] = static_cast<int32_t>(i + __builtin_ctz(mask));
    }
  }
  for (; i < n && count < room && i + V::kLanes > n; ++i) {
    if (x[i] > threshold) found[count++] = static_cast<int32_t>(i);
  }
  *got = count;
  return i;
}
