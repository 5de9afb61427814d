// From panels back to floats: rows of a tied embedding table, float activations, tests.
#include <cassert>
#include <cstring>

#include "backend/cpu/layout.h"

namespace carronade::cpu {
namespace {

template <typename T>
T at(const std::byte* p, int64_t index) {
  T value;
  std::memcpy(&value, p + static_cast<int64_t>(sizeof(T)) * index, sizeof value);
  return value;
}
float half_at(const std::byte* p, int64_t index) { return half_to_float(at<uint16_t>(p, index)); }

int nibble(const std::byte* tiles, int k, int r) {
  const int byte = at<uint8_t>(tiles, 64 * (k % 16 / 4) + 4 * r + k % 4);
  return k < 16 ? byte & 15 : byte >> 4;
}
int fifth(const std::byte* tile, int k, int r) { return (at<uint8_t>(tile, 4 * r + k % 4) >> (k / 4) & 1) << 4; }
int six(const std::byte* tiles, int k, int r) {
  const std::byte* lane = tiles + 192 * (k / 16) + 4 * r + k % 4;
  const int i = k % 16 / 4;
  if (i < 3) return at<uint8_t>(lane, 64 * i) & 63;
  return at<uint8_t>(lane, 0) >> 6 | at<uint8_t>(lane, 64) >> 6 << 2 | at<uint8_t>(lane, 128) >> 6 << 4;
}
template <typename T>
int byte(const std::byte* tiles, int k, int r) {
  return at<T>(tiles, 64 * (k / 4) + 4 * r + k % 4);
}

// One value: x = d * q - m, as the file's format says it.
float value_45k(const std::byte* chunk, int j, int k, int r, bool five) {
  const float d = half_at(chunk, r) * static_cast<float>(at<uint8_t>(chunk + kQ45KScales, 16 * j + r));
  const float m = half_at(chunk + 32, r) * static_cast<float>(at<uint8_t>(chunk + kQ45KMins, 16 * j + r));
  int q = nibble(chunk + (five ? kQ5KNibbles : kQ4KNibbles) + 256 * j, k, r);
  if (five) q |= fifth(chunk + kQ5KFifth + 64 * j, k, r);
  return d * static_cast<float>(q) - m;
}
float value_6k(const std::byte* chunk, int j, int k, int r) {
  const int q = six(chunk + kQ6KTiles + 384 * j, k, r);
  const float scale = static_cast<float>(at<int8_t>(chunk, 16 * (2 * j + k / 16) + r));
  return half_at(chunk + kQ6KHalf, r) * scale * static_cast<float>(q - 32);
}
float value_planes(Layout layout, const std::byte* panel, const Planes& p, int64_t s, int k, int r) {
  const int64_t lane = 16 * s + r, half_lane = 16 * (2 * s + k / 16) + r;
  const std::byte* q = panel + p.q;
  switch (layout) {
    case Layout::kQ4_0:
      return half_at(panel, lane) * static_cast<float>(nibble(q + 256 * s, k, r) - 8);
    case Layout::kQ4_1:
      return half_at(panel, lane) * static_cast<float>(nibble(q + 256 * s, k, r)) + half_at(panel + p.m, lane);
    case Layout::kQ5_0:
      return half_at(panel, lane) *
             static_cast<float>((nibble(q + 256 * s, k, r) | fifth(panel + p.fifth + 64 * s, k, r)) - 16);
    case Layout::kQ5_1:
      return half_at(panel, lane) *
                 static_cast<float>(nibble(q + 256 * s, k, r) | fifth(panel + p.fifth + 64 * s, k, r)) +
             half_at(panel + p.m, lane);
    case Layout::kQ8_0:
      return half_at(panel, lane) * static_cast<float>(byte<int8_t>(q + 512 * s, k, r));
    case Layout::kS8:
      return at<float>(panel, lane) * static_cast<float>(byte<int8_t>(q + 512 * s, k, r));
    default:
      assert(layout == Layout::kU8);  // the last of those that are planes
      return at<float>(panel, half_lane) * static_cast<float>(byte<uint8_t>(q + 512 * s, k, r)) -
             at<float>(panel + p.m, half_lane);
  }
}

// Column 32 step + k of row r.
float value(Layout layout, const std::byte* panel, const Planes& planes, int64_t step, int k, int r) {
  const int64_t chunk = step / kChunkSteps, element = element_of(layout, kStepColumns * step + k, r);
  const int j = static_cast<int>(step % kChunkSteps);
  switch (layout) {
    case Layout::kQ4_K:
      return value_45k(panel + chunk * kQ4KChunkBytes, j, k, r, false);
    case Layout::kQ5_K:
      return value_45k(panel + chunk * kQ5KChunkBytes, j, k, r, true);
    case Layout::kQ6_K:
      return value_6k(panel + chunk * kQ6KChunkBytes, j, k, r);
    case Layout::kF16:
      return half_at(panel, element);
    case Layout::kBF16:
      return bfloat16_to_float(at<uint16_t>(panel, element));
    case Layout::kF32:
      return at<float>(panel, element);
    default:
      return value_planes(layout, panel, planes, step, k, r);
  }
}

int columns_of_step(int64_t columns, int64_t step) {
  const int64_t left = columns - kStepColumns * step;
  return left < kStepColumns ? static_cast<int>(left) : kStepColumns;
}

}  // namespace

const char* name_of(Layout layout) {
  static constexpr const char* kNames[kLayouts] = {"q4_k", "q5_k", "q6_k", "q4_0", "q4_1", "q5_0", "q5_1",
                                                   "q8_0", "s8",   "u8",   "f16",  "bf16", "f32"};
  return kNames[static_cast<int>(layout)];
}

size_t panel_bytes(Layout layout, int64_t columns) {
  const size_t k = static_cast<size_t>(columns);
  switch (layout) {
    case Layout::kQ4_K:
      return whole_lines(k / 256 * kQ4KChunkBytes);
    case Layout::kQ5_K:
      return whole_lines(k / 256 * kQ5KChunkBytes);
    case Layout::kQ6_K:
      return whole_lines(k / 256 * kQ6KChunkBytes);
    case Layout::kF16:
      return whole_lines(k * 2 * kPanelRows);
    case Layout::kBF16:
      return whole_lines((k + k % 2) * 2 * kPanelRows);
    case Layout::kF32:
      return whole_lines(k * 4 * kPanelRows);
    default:
      return planes_of(layout, columns / kStepColumns).end;
  }
}

void unpack_step(Layout layout, const std::byte* panel, int64_t columns, int64_t step, float* out) {
  const Planes planes = planes_of(layout, columns / kStepColumns);
  const int count = columns_of_step(columns, step);
  for (int k = 0; k < count; ++k) {
    for (int r = 0; r < kPanelRows; ++r) out[kPanelRows * k + r] = value(layout, panel, planes, step, k, r);
  }
}

void unpack_row(Layout layout, const std::byte* packed, int64_t columns, int64_t row, float* out) {
  const std::byte* panel = packed + static_cast<size_t>(row / kPanelRows) * panel_bytes(layout, columns);
  const Planes planes = planes_of(layout, columns / kStepColumns);
  const int r = static_cast<int>(row % kPanelRows);
  for (int64_t step = 0; kStepColumns * step < columns; ++step) {
    const int count = columns_of_step(columns, step);
    for (int k = 0; k < count; ++k) out[kStepColumns * step + k] = value(layout, panel, planes, step, k, r);
  }
}

}  // namespace carronade::cpu
