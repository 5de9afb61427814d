// The simple formats round exactly as ggml's reference does. The K formats search for the scales that minimise a
// weighted squared error, the weight growing with the magnitude: the same idea as ggml's, not the same bits.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace carronade {
namespace {

// Towards zero into [low, high]; what is not a number becomes low.
int truncate(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  return value < static_cast<float>(high) ? static_cast<int>(value) : high;
}

// To nearest, ties to even, into [low, high].
int nearest(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  return value < static_cast<float>(high) ? static_cast<int>(std::lrint(value)) : high;
}

float inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

// The element of largest magnitude, with its sign.
float extreme(const float* x, int count) {
  float best = 0.0f;
  for (int i = 0; i < count; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
}

struct Range {
  float min, max;
};
Range range(const float* x, int count) {
  Range r{std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
  for (int i = 0; i < count; ++i) {
    if (x[i] < r.min) r.min = x[i];
    if (x[i] > r.max) r.max = x[i];
  }
  return r;
}

void set_fifth_bits(uint8_t (&qh)[4], const int (&q)[32]) {
  uint32_t high = 0;
  for (int j = 0; j < 32; ++j) high |= static_cast<uint32_t>(q[j] >> 4 & 1) << j;
  std::memcpy(qh, &high, 4);
}

void set_nibbles(uint8_t* qs, const int (&q)[32]) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((q[j] & 15) | (q[j + 16] & 15) << 4);
}

void round_block(const float* x, BlockQ4_0& b) {
  const float d = extreme(x, 32) / -8.0f, id = inverse(d);
  b.d = float_to_half(d);
  int q[32];
  for (int j = 0; j < 32; ++j) q[j] = truncate(x[j] * id + 8.5f, 0, 15);
  set_nibbles(b.qs, q);
}

void round_block(const float* x, BlockQ4_1& b) {
  const Range r = range(x, 32);
  const float d = (r.max - r.min) / 15.0f, id = inverse(d);
  b.d = float_to_half(d);
  b.m = float_to_half(r.min);
  int q[32];
  for (int j = 0; j < 32; ++j) q[j] = truncate((x[j] - r.min) * id + 0.5f, 0, 15);
  set_nibbles(b.qs, q);
}

void round_block(const float* x, BlockQ5_0& b) {
  const float d = extreme(x, 32) / -16.0f, id = inverse(d);
  b.d = float_to_half(d);
  int q[32];
  for (int j = 0; j < 32; ++j) q[j] = truncate(x[j] * id + 16.5f, 0, 31);
  set_nibbles(b.qs, q);
  set_fifth_bits(b.qh, q);
}

void round_block(const float* x, BlockQ5_1& b) {
  const Range r = range(x, 32);
  const float d = (r.max - r.min) / 31.0f, id = inverse(d);
  b.d = float_to_half(d);
  b.m = float_to_half(r.min);
  int q[32];
  for (int j = 0; j < 32; ++j) q[j] = truncate((x[j] - r.min) * id + 0.5f, 0, 31);
  set_nibbles(b.qs, q);
  set_fifth_bits(b.qh, q);
}

void round_block(const float* x, BlockQ8_0& b) {
  const float d = std::fabs(extreme(x, 32)) / 127.0f, id = inverse(d);
  b.d = float_to_half(d);
  for (int j = 0; j < 32; ++j) b.qs[j] = static_cast<int8_t>(truncate(std::round(x[j] * id), -127, 127));
}

// x ≈ scale * q - min with q in 0…levels and min ≥ 0.
struct Affine {
  float scale, min;
};

// One candidate: the levels fixed by `inverse_scale`, then the least-squares line through them.
Affine fit_line(const float* x, const float* weight, int count, int levels, float low, float inverse_scale) {
  float w = 0, wx = 0, wq = 0, wqq = 0, wqx = 0;
  for (int i = 0; i < count; ++i) {
    const auto q = static_cast<float>(nearest(inverse_scale * (x[i] - low), 0, levels));
    w += weight[i];
    wx += weight[i] * x[i];
    wq += weight[i] * q;
    wqq += weight[i] * q * q;
    wqx += weight[i] * q * x[i];
  }
  const float determinant = w * wqq - wq * wq;
  if (!(determinant > 0)) return {0, -low};
  const float intercept = (wqq * wx - wq * wqx) / determinant;
  if (intercept > 0) return {wqx / wqq, 0};
  return {(w * wqx - wx * wq) / determinant, -intercept};
}

float squared_error(const float* x, const float* weight, int count, int levels, const Affine& a) {
  const float id = inverse(a.scale);
  float error = 0;
  for (int i = 0; i < count; ++i) {
    const auto q = static_cast<float>(nearest(id * (x[i] + a.min), 0, levels));
    const float difference = a.scale * q - a.min - x[i];
    error += weight[i] * difference * difference;
  }
  return error;
}

// Tries level counts from `levels`-1 to `levels`+1 in tenths: clipping the largest element a little often pays.
Affine search_affine(const float* x, int count, int levels) {
  std::array<float, 32> weight;
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] * x[i];
  const float typical = std::sqrt(sum / static_cast<float>(count));
  for (int i = 0; i < count; ++i) weight[i] = typical + std::fabs(x[i]);
  Range r = range(x, count);
  r.min = std::min(r.min, 0.0f);
  if (!(r.max > r.min)) return {0, -r.min};
  Affine best{(r.max - r.min) / static_cast<float>(levels), -r.min};
  float best_error = squared_error(x, weight.data(), count, levels, best);
  for (int step = -10; step <= 10; ++step) {
    const float inverse_scale = (static_cast<float>(levels) + 0.1f * static_cast<float>(step)) / (r.max - r.min);
    const Affine candidate = fit_line(x, weight.data(), count, levels, r.min, inverse_scale);
    if (!(candidate.scale > 0)) continue;
    const float error = squared_error(x, weight.data(), count, levels, candidate);
    if (error < best_error) best = candidate, best_error = error;
  }
  return best;
}

// x ≈ scale * q with q in -levels…levels-1; the scale may be negative, so that the extreme element can use -levels.
float search_symmetric(const float* x, int count, int levels) {
  const float peak = extreme(x, count);
  if (peak == 0.0f) return 0.0f;
  float best_scale = 0, best_gain = -1;
  for (int step = -9; step <= 9; ++step) {
    const float inverse_scale = -(static_cast<float>(levels) + 0.1f * static_cast<float>(step)) / peak;
    float qx = 0, qq = 0;
    for (int i = 0; i < count; ++i) {
      const auto q = static_cast<float>(nearest(inverse_scale * x[i], -levels, levels - 1));
      const float weight = x[i] * x[i];
      qx += weight * q * x[i];
      qq += weight * q * q;
    }
    if (qq > 0 && qx * qx > best_gain * qq) best_scale = qx / qq, best_gain = qx * qx / qq;
  }
  return best_scale != 0.0f ? best_scale : peak / -static_cast<float>(levels);  // weights that underflow find nothing
}

// A super-block whose sub-blocks of `kWidth` have scale and min in 0…kTop, times one float16 each.
template <int kWidth, int kTop, int kLevels>
struct AffineBlock {
  static constexpr int kCount = kSuperBlock / kWidth;
  uint16_t d, dmin;
  uint8_t scale[kCount], min[kCount];
  uint8_t q[kSuperBlock];

  explicit AffineBlock(const float* x) {
    std::array<Affine, kCount> fit;
    float top_scale = 0, top_min = 0;
    for (int j = 0; j < kCount; ++j) {
      fit[j] = search_affine(x + j * kWidth, kWidth, kLevels);
      top_scale = std::max(top_scale, fit[j].scale);
      top_min = std::max(top_min, fit[j].min);
    }
    d = float_to_half(top_scale / kTop);
    dmin = float_to_half(top_min / kTop);
    const float id = kTop * inverse(top_scale), im = kTop * inverse(top_min);
    for (int j = 0; j < kCount; ++j) {
      scale[j] = static_cast<uint8_t>(nearest(id * fit[j].scale, 0, kTop));
      min[j] = static_cast<uint8_t>(nearest(im * fit[j].min, 0, kTop));
      const float s = half_to_float(d) * scale[j], m = half_to_float(dmin) * min[j];
      for (int i = j * kWidth; i < (j + 1) * kWidth; ++i) {
        q[i] = s != 0.0f ? static_cast<uint8_t>(nearest((x[i] + m) / s, 0, kLevels)) : uint8_t{0};
      }
    }
  }
};

// A super-block whose sub-blocks of 16 have a signed scale in -kTop…kTop-1; q in 0…2*kLevels-1 stands for q - kLevels.
template <int kTop, int kLevels>
struct SymmetricBlock {
  uint16_t d;
  int scale[16];
  uint8_t q[kSuperBlock];

  explicit SymmetricBlock(const float* x) {
    float fit[16];
    for (int j = 0; j < 16; ++j) fit[j] = search_symmetric(x + j * 16, 16, kLevels);
    const float unit = extreme(fit, 16) / -kTop, id = inverse(unit);
    d = float_to_half(unit);
    for (int j = 0; j < 16; ++j) {
      scale[j] = nearest(id * fit[j], -kTop, kTop - 1);
      const float s = half_to_float(d) * static_cast<float>(scale[j]);
      for (int i = j * 16; i < (j + 1) * 16; ++i) {
        const int level = s != 0.0f ? nearest(x[i] / s, -kLevels, kLevels - 1) : 0;
        q[i] = static_cast<uint8_t>(level + kLevels);
      }
    }
  }
};

void set_two_bits(uint8_t (&qs)[64], const uint8_t (&q)[kSuperBlock]) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* p = q + half * 128;
    for (int l = 0; l < 32; ++l) {
      qs[half * 32 + l] =
          static_cast<uint8_t>((p[l] & 3) | (p[l + 32] & 3) << 2 | (p[l + 64] & 3) << 4 | (p[l + 96] & 3) << 6);
    }
  }
}

void set_four_bits(uint8_t (&qs)[128], const uint8_t (&q)[kSuperBlock]) {
  for (int g = 0; g < 4; ++g) {
    for (int l = 0; l < 32; ++l) {
      qs[g * 32 + l] = static_cast<uint8_t>((q[g * 64 + l] & 15) | (q[g * 64 + 32 + l] & 15) << 4);
    }
  }
}

void set_scales(uint8_t (&scales)[12], const uint8_t (&scale)[8], const uint8_t (&min)[8]) {
  for (int j = 0; j < 4; ++j) {
    scales[j] = static_cast<uint8_t>(scale[j] | scale[j + 4] >> 4 << 6);
    scales[j + 4] = static_cast<uint8_t>(min[j] | min[j + 4] >> 4 << 6);
    scales[j + 8] = static_cast<uint8_t>((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

void round_block(const float* x, BlockQ2_K& b) {
  const AffineBlock<16, 15, 3> a(x);
  b.d = a.d;
  b.dmin = a.dmin;
  for (int j = 0; j < 16; ++j) b.scales[j] = static_cast<uint8_t>(a.scale[j] | a.min[j] << 4);
  set_two_bits(b.qs, a.q);
}

void round_block(const float* x, BlockQ3_K& b) {
  const SymmetricBlock<32, 4> s(x);
  b = {};
  b.d = s.d;
  for (int j = 0; j < 16; ++j) {
    const int stored = s.scale[j] + 32;
    b.scales[j % 8] = static_cast<uint8_t>(b.scales[j % 8] | (stored & 15) << (j < 8 ? 0 : 4));
    b.scales[8 + j % 4] = static_cast<uint8_t>(b.scales[8 + j % 4] | (stored >> 4) << (2 * (j / 4)));
  }
  set_two_bits(b.qs, s.q);
  for (int i = 0; i < kSuperBlock; ++i) {
    b.hmask[i % 32] = static_cast<uint8_t>(b.hmask[i % 32] | (s.q[i] >> 2 & 1) << (i / 32));
  }
}

void round_block(const float* x, BlockQ4_K& b) {
  const AffineBlock<32, 63, 15> a(x);
  b.d = a.d;
  b.dmin = a.dmin;
  set_scales(b.scales, a.scale, a.min);
  set_four_bits(b.qs, a.q);
}

void round_block(const float* x, BlockQ5_K& b) {
  const AffineBlock<32, 63, 31> a(x);
  b = {};
  b.d = a.d;
  b.dmin = a.dmin;
  set_scales(b.scales, a.scale, a.min);
  set_four_bits(b.qs, a.q);
  for (int i = 0; i < kSuperBlock; ++i) b.qh[i % 32] = static_cast<uint8_t>(b.qh[i % 32] | (a.q[i] >> 4) << (i / 32));
}

void round_block(const float* x, BlockQ6_K& b) {
  const SymmetricBlock<128, 32> s(x);
  b.d = s.d;
  for (int j = 0; j < 16; ++j) b.scales[j] = static_cast<int8_t>(s.scale[j]);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* q = s.q + half * 128;
    for (int l = 0; l < 32; ++l) {
      b.ql[half * 64 + l] = static_cast<uint8_t>((q[l] & 15) | (q[l + 64] & 15) << 4);
      b.ql[half * 64 + 32 + l] = static_cast<uint8_t>((q[l + 32] & 15) | (q[l + 96] & 15) << 4);
      b.qh[half * 32 + l] =
          static_cast<uint8_t>(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
    }
  }
}

template <typename Block, int kElements>
void round_all(const float* source, std::byte* destination, int64_t count) {
  assert(count % kElements == 0);
  for (; count > 0; count -= kElements, source += kElements, destination += sizeof(Block)) {
    Block block;
    round_block(source, block);
    std::memcpy(destination, &block, sizeof block);
  }
}

template <uint16_t (*kConvert)(float)>
void convert_all(const float* source, std::byte* destination, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = kConvert(source[i]);
    std::memcpy(destination + 2 * i, &bits, 2);
  }
}

}  // namespace

void quantize(DType dtype, const float* source, std::byte* destination, int64_t count) {
  if (count <= 0) return;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(destination, source, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return convert_all<float_to_half>(source, destination, count);
    case DType::kBF16:
      return convert_all<float_to_bfloat16>(source, destination, count);
    case DType::kQ4_0:
      return round_all<BlockQ4_0, kSimpleBlock>(source, destination, count);
    case DType::kQ4_1:
      return round_all<BlockQ4_1, kSimpleBlock>(source, destination, count);
    case DType::kQ5_0:
      return round_all<BlockQ5_0, kSimpleBlock>(source, destination, count);
    case DType::kQ5_1:
      return round_all<BlockQ5_1, kSimpleBlock>(source, destination, count);
    case DType::kQ8_0:
      return round_all<BlockQ8_0, kSimpleBlock>(source, destination, count);
    case DType::kQ2_K:
      return round_all<BlockQ2_K, kSuperBlock>(source, destination, count);
    case DType::kQ3_K:
      return round_all<BlockQ3_K, kSuperBlock>(source, destination, count);
    case DType::kQ4_K:
      return round_all<BlockQ4_K, kSuperBlock>(source, destination, count);
    case DType::kQ5_K:
      return round_all<BlockQ5_K, kSuperBlock>(source, destination, count);
    case DType::kQ6_K:
      return round_all<BlockQ6_K, kSuperBlock>(source, destination, count);
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
      break;
  }
  throw_error(ErrorCode::kUnsupported,
              "quantizing to {} is not supported; supported: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K "
              "Q4_K Q5_K Q6_K",
              info(dtype).name);
}

}  // namespace carronade
