// From the file's blocks to panels. Written with 64-bit words: fast enough to keep up with the page cache on every
// processor.
#include <array>
#include <bit>
#include <cstring>

#include "backend/cpu/layout.h"
#include "base/error.h"
#include "tensor/blocks.h"

namespace carronade::cpu {
namespace {

static_assert(std::endian::native == std::endian::little, "blocks and tiles are little-endian");

constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0full, kThrees = 0x0303030303030303ull;
constexpr uint32_t kOnes = 0x01010101u;

template <typename T>
T load(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
template <typename T>
void store(std::byte* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

// 32 small values, one a byte, in four words.
struct Values {
  uint64_t x[4];
};
Values low_nibbles(const uint8_t* q) {
  return {{load<uint64_t>(q) & kLow, load<uint64_t>(q + 8) & kLow, load<uint64_t>(q + 16) & kLow,
           load<uint64_t>(q + 24) & kLow}};
}
Values high_nibbles(const uint8_t* q) {
  return {{load<uint64_t>(q) >> 4 & kLow, load<uint64_t>(q + 8) >> 4 & kLow, load<uint64_t>(q + 16) >> 4 & kLow,
           load<uint64_t>(q + 24) >> 4 & kLow}};
}

// Sixteen bytes of nibble pairs (low → j, high → j + 16) to row r of the step's four tiles.
void put_pairs(std::byte* tiles, int r, uint64_t first, uint64_t second) {
  std::byte* lane = tiles + 4 * r;
  store(lane, static_cast<uint32_t>(first));
  store(lane + 64, static_cast<uint32_t>(first >> 32));
  store(lane + 128, static_cast<uint32_t>(second));
  store(lane + 192, static_cast<uint32_t>(second >> 32));
}
void put_nibbles(std::byte* tiles, int r, const Values& n) {
  put_pairs(tiles, r, n.x[0] | n.x[2] << 4, n.x[1] | n.x[3] << 4);
}

// Bit `bit` of 32 bytes to row r of a one-bit tile.
void put_fifth(std::byte* tile, int r, const uint8_t* bits, int bit) {
  uint32_t lane = 0;
  for (int i = 0; i < 8; ++i) lane |= (load<uint32_t>(bits + 4 * i) >> bit & kOnes) << i;
  store(tile + 4 * r, lane);
}

// Values below 64 to row r of a step's six-bit tiles.
void put_six(std::byte* tiles, int r, const Values& values) {
  for (int h = 0; h < 2; ++h) {
    const uint64_t first = values.x[2 * h], second = values.x[2 * h + 1];
    const uint64_t last = second >> 32;
    std::byte* lane = tiles + 192 * h + 4 * r;
    store(lane, static_cast<uint32_t>(first | (last & kThrees) << 6));
    store(lane + 64, static_cast<uint32_t>(first >> 32 | (last >> 2 & kThrees) << 6));
    store(lane + 128, static_cast<uint32_t>(second | (last >> 4 & kThrees) << 6));
  }
}
// Nibbles, with bits `bit`, `bit` + 1 of 32 bytes above them.
Values with_two(Values low, const uint8_t* bits, int bit) {
  for (int i = 0; i < 4; ++i) low.x[i] |= (load<uint64_t>(bits + 8 * i) >> bit & kThrees) << 4;
  return low;
}

void put_bytes(std::byte* tiles, int r, const void* values) {
  for (int i = 0; i < 8; ++i)
    store(tiles + 64 * i + 4 * r, load<uint32_t>(static_cast<const uint8_t*>(values) + 4 * i));
}

void put_half(std::byte* plane, int r, uint16_t half) { store(plane + 2 * r, half); }
void put_float(std::byte* plane, int r, float value) { store(plane + 4 * r, value); }

// ---- Super-blocks: block → row r of a chunk

void pack_block(const BlockQ4_K& block, std::byte* chunk, int r) {
  put_half(chunk, r, block.d);
  put_half(chunk + 32, r, block.dmin);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin sm = scale_min(block.scales, j);
    chunk[kQ45KScales + 16 * j + r] = std::byte{sm.scale};
    chunk[kQ45KMins + 16 * j + r] = std::byte{sm.min};
  }
  for (int g = 0; g < 4; ++g) {
    put_nibbles(chunk + kQ4KNibbles + 256 * (2 * g), r, low_nibbles(block.qs + 32 * g));
    put_nibbles(chunk + kQ4KNibbles + 256 * (2 * g + 1), r, high_nibbles(block.qs + 32 * g));
  }
}

void pack_block(const BlockQ5_K& block, std::byte* chunk, int r) {
  put_half(chunk, r, block.d);
  put_half(chunk + 32, r, block.dmin);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin sm = scale_min(block.scales, j);
    chunk[kQ45KScales + 16 * j + r] = std::byte{sm.scale};
    chunk[kQ45KMins + 16 * j + r] = std::byte{sm.min};
    put_fifth(chunk + kQ5KFifth + 64 * j, r, block.qh, j);
  }
  for (int g = 0; g < 4; ++g) {
    put_nibbles(chunk + kQ5KNibbles + 256 * (2 * g), r, low_nibbles(block.qs + 32 * g));
    put_nibbles(chunk + kQ5KNibbles + 256 * (2 * g + 1), r, high_nibbles(block.qs + 32 * g));
  }
}

void pack_block(const BlockQ6_K& block, std::byte* chunk, int r) {
  for (int t = 0; t < 16; ++t) chunk[16 * t + r] = static_cast<std::byte>(block.scales[t]);
  put_half(chunk + kQ6KHalf, r, block.d);
  for (int n = 0; n < 2; ++n) {
    const uint8_t *low = block.ql + 64 * n, *high = block.qh + 32 * n;
    std::byte* tiles = chunk + kQ6KTiles + 1536 * n;
    put_six(tiles, r, with_two(low_nibbles(low), high, 0));
    put_six(tiles + 384, r, with_two(low_nibbles(low + 32), high, 2));
    put_six(tiles + 768, r, with_two(high_nibbles(low), high, 4));
    put_six(tiles + 1152, r, with_two(high_nibbles(low + 32), high, 6));
  }
}

// As q6_k: value + 32 = q + 28, with q = 0…7.
void pack_block(const BlockQ3_K& block, std::byte* chunk, int r) {
  for (int t = 0; t < 16; ++t) chunk[16 * t + r] = static_cast<std::byte>(static_cast<int8_t>(scale_of(block, t)));
  put_half(chunk + kQ6KHalf, r, block.d);
  for (int j = 0; j < 8; ++j) {
    uint8_t values[32];
    for (int l = 0; l < 32; ++l) {
      const int two = block.qs[32 * (j / 4) + l] >> (2 * (j % 4)) & 3;
      values[l] = static_cast<uint8_t>(two + ((block.hmask[l] >> j & 1) << 2) + 28);
    }
    put_six(chunk + kQ6KTiles + 384 * j, r, load<Values>(values));
  }
}

template <typename Block>
void pack_chunks(const std::byte* source, size_t stride, int rows, int64_t columns, std::byte* panel,
                 size_t chunk_bytes) {
  for (int64_t c = 0; c < columns / kSuperBlock; ++c) {
    for (int r = 0; r < rows; ++r) {
      const Block block =
          load<Block>(source + static_cast<size_t>(r) * stride + static_cast<size_t>(c) * sizeof(Block));
      pack_block(block, panel + static_cast<size_t>(c) * chunk_bytes, r);
    }
  }
}

// ---- Planes: block → row r of step(s) s

struct PlanePointers {
  std::byte *d, *m, *fifth, *q;
};

void pack_step(const BlockQ4_0& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_pairs(p.q + 256 * s, r, load<uint64_t>(block.qs), load<uint64_t>(block.qs + 8));
}
void pack_step(const BlockQ4_1& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_half(p.m + 32 * s, r, block.m);
  put_pairs(p.q + 256 * s, r, load<uint64_t>(block.qs), load<uint64_t>(block.qs + 8));
}
void put_fifth_word(std::byte* tile, int r, const uint8_t (&qh)[4]) {
  const uint32_t word = load<uint32_t>(qh);
  uint32_t lane = 0;
  for (int k = 0; k < 32; ++k) lane |= (word >> k & 1) << (8 * (k % 4) + k / 4);
  store(tile + 4 * r, lane);
}
void pack_step(const BlockQ5_0& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_fifth_word(p.fifth + 64 * s, r, block.qh);
  put_pairs(p.q + 256 * s, r, load<uint64_t>(block.qs), load<uint64_t>(block.qs + 8));
}
void pack_step(const BlockQ5_1& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_half(p.m + 32 * s, r, block.m);
  put_fifth_word(p.fifth + 64 * s, r, block.qh);
  put_pairs(p.q + 256 * s, r, load<uint64_t>(block.qs), load<uint64_t>(block.qs + 8));
}
void pack_step(const BlockQ8_0& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_bytes(p.q + 512 * s, r, block.qs);
}
std::array<int8_t, 32> iq4_values(const uint8_t* qs) {
  std::array<int8_t, 32> values;
  for (size_t j = 0; j < 16; ++j) {
    values[j] = kIQ4Values[qs[j] & 15];
    values[j + 16] = kIQ4Values[qs[j] >> 4];
  }
  return values;
}
void pack_step(const BlockIQ4_NL& block, const PlanePointers& p, int64_t s, int r) {
  put_half(p.d + 32 * s, r, block.d);
  put_bytes(p.q + 512 * s, r, iq4_values(block.qs).data());
}
void pack_step(const BlockIQ4_XS& block, const PlanePointers& p, int64_t s, int r) {
  for (int b = 0; b < 8; ++b) {
    put_float(p.d + 64 * (8 * s + b), r, half_to_float(block.d) * static_cast<float>(scale_of(block, b)));
    put_bytes(p.q + 512 * (8 * s + b), r, iq4_values(block.qs + 16 * b).data());
  }
}
void pack_step(const BlockQ2_K& block, const PlanePointers& p, int64_t s, int r) {
  const float d = half_to_float(block.d), dmin = half_to_float(block.dmin);
  for (int j = 0; j < 8; ++j) {
    for (int h = 0; h < 2; ++h) {
      const uint8_t scale = block.scales[2 * j + h];
      put_float(p.d + 128 * (8 * s + j) + 64 * h, r, d * static_cast<float>(scale & 15));
      put_float(p.m + 128 * (8 * s + j) + 64 * h, r, dmin * static_cast<float>(scale >> 4));
    }
    uint8_t values[32];
    for (int l = 0; l < 32; ++l) values[l] = block.qs[32 * (j / 4) + l] >> (2 * (j % 4)) & 3;
    put_bytes(p.q + 512 * (8 * s + j), r, values);
  }
}

template <typename Block>
void pack_planes(DType dtype, const std::byte* source, size_t stride, int rows, int64_t columns, std::byte* panel) {
  const Planes planes = planes_of(layout_of(dtype), columns / kStepColumns);
  const PlanePointers p{panel, panel + planes.m, panel + planes.fifth, panel + planes.q};
  const int64_t blocks = columns / info(dtype).block_elements;
  for (int64_t s = 0; s < blocks; ++s) {
    for (int r = 0; r < rows; ++r) {
      pack_step(load<Block>(source + static_cast<size_t>(r) * stride + static_cast<size_t>(s) * sizeof(Block)), p, s,
                r);
    }
  }
}

template <typename T>
void pack_elements(Layout layout, const std::byte* source, size_t stride, int rows, int64_t columns, std::byte* panel) {
  for (int64_t begin = 0; begin < columns; begin += 32) {  // a cache line of each row at a time
    const int64_t end = begin + 32 < columns ? begin + 32 : columns;
    for (int r = 0; r < rows; ++r) {
      const std::byte* row = source + static_cast<size_t>(r) * stride;
      for (int64_t k = begin; k < end; ++k) {
        store(panel + sizeof(T) * static_cast<size_t>(element_of(layout, k, r)),
              load<T>(row + sizeof(T) * static_cast<size_t>(k)));
      }
    }
  }
}

}  // namespace

Layout layout_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return Layout::kF32;
    case DType::kF16:
      return Layout::kF16;
    case DType::kBF16:
      return Layout::kBF16;
    case DType::kQ4_0:
      return Layout::kQ4_0;
    case DType::kQ4_1:
      return Layout::kQ4_1;
    case DType::kQ5_0:
      return Layout::kQ5_0;
    case DType::kQ5_1:
      return Layout::kQ5_1;
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return Layout::kQ8_0;
    case DType::kQ2_K:
      return Layout::kU8;
    case DType::kQ3_K:
    case DType::kQ6_K:
      return Layout::kQ6_K;
    case DType::kQ4_K:
      return Layout::kQ4_K;
    case DType::kQ5_K:
      return Layout::kQ5_K;
    case DType::kIQ4_XS:
      return Layout::kS8;
  }
  throw_error(ErrorCode::kUnsupported, "the CPU backend has no layout for weights of type {}", info(dtype).name);
}

void pack_panel(DType dtype, const std::byte* source, size_t stride, int rows, int64_t columns, std::byte* panel) {
  switch (dtype) {
    case DType::kF32:
      return pack_elements<uint32_t>(Layout::kF32, source, stride, rows, columns, panel);
    case DType::kF16:
    case DType::kBF16:
      return pack_elements<uint16_t>(layout_of(dtype), source, stride, rows, columns, panel);
    case DType::kQ4_0:
      return pack_planes<BlockQ4_0>(dtype, source, stride, rows, columns, panel);
    case DType::kQ4_1:
      return pack_planes<BlockQ4_1>(dtype, source, stride, rows, columns, panel);
    case DType::kQ5_0:
      return pack_planes<BlockQ5_0>(dtype, source, stride, rows, columns, panel);
    case DType::kQ5_1:
      return pack_planes<BlockQ5_1>(dtype, source, stride, rows, columns, panel);
    case DType::kQ8_0:
      return pack_planes<BlockQ8_0>(dtype, source, stride, rows, columns, panel);
    case DType::kIQ4_NL:
      return pack_planes<BlockIQ4_NL>(dtype, source, stride, rows, columns, panel);
    case DType::kIQ4_XS:
      return pack_planes<BlockIQ4_XS>(dtype, source, stride, rows, columns, panel);
    case DType::kQ2_K:
      return pack_planes<BlockQ2_K>(dtype, source, stride, rows, columns, panel);
    case DType::kQ3_K:
      return pack_chunks<BlockQ3_K>(source, stride, rows, columns, panel, kQ6KChunkBytes);
    case DType::kQ4_K:
      return pack_chunks<BlockQ4_K>(source, stride, rows, columns, panel, kQ4KChunkBytes);
    case DType::kQ5_K:
      return pack_chunks<BlockQ5_K>(source, stride, rows, columns, panel, kQ5KChunkBytes);
    case DType::kQ6_K:
      return pack_chunks<BlockQ6_K>(source, stride, rows, columns, panel, kQ6KChunkBytes);
  }
}

}  // namespace carronade::cpu
