// Body of the matmul of BF16 panels on AMX, whose registers are tiles of up to 16 rows of 64 bytes: one instruction
// (tdpbf16ps) multiplies up to 16 rows of activations by 16 rows of weights over 32 columns. Compiled for processors
// that have it, and over an emulation in tests: the includer has tile_load, tile_zero, tile_store,
// tile_multiply_bfloats and tile_configure. No include guard, as matmul_inl.h.
//
// A tile of results is [columns of the call][16 rows of the panel], as y is. Its left operand are rows of activations
// as they lie in memory, its right one 16 of a panel's pairs of columns (layout.h), as they lie there too. A call's
// columns are shared out evenly over tiles, all of one height, so that one configuration does; where that does not come
// out even, tiles overlap, and a column made twice is the same twice.

// Registers: four tiles of results, since one multiplication takes 52 cycles and begins 16 after another; rows by
// turns.
constexpr int kResultTiles = 4, kRowsTile = 4, kWeightsTile = 6, kTileRegisters = 8;
constexpr int kTileRows = 16, kTileRowBytes = 64;

// What LDTILECFG reads (Intel's Software Developer's Manual, volume 1, 18.3).
struct TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Weights are 16 rows high, all else `height`. A thread stays configured: it takes as long as 25 multiplications.
thread_local int configured_height = 0;
CARRONADE_INLINE void configure_tiles(int height) {
  if (configured_height == height) return;
  TileShapes shapes;
  for (int t = 0; t < kTileRegisters; ++t) {
    shapes.rows[t] = static_cast<uint8_t>(t < kWeightsTile ? height : kTileRows);
    shapes.row_bytes[t] = kTileRowBytes;
  }
  tile_configure(&shapes);
  configured_height = height;
}

// n columns in tiles of one height.
struct TilesOfColumns {
  int n, count, height;
  CARRONADE_INLINE explicit TilesOfColumns(int columns)
      : n(columns), count((columns + kTileRows - 1) / kTileRows), height((columns + count - 1) / count) {}
  CARRONADE_INLINE int first(int tile) const { return tile * height < n - height ? tile * height : n - height; }
};

// A panel times tiles [tile, tile + kTiles) of columns, each of which stays in its register over all of K. What a panel
// lacks of a whole tile of weights at its end, `last` holds.
template <int kTiles>
CARRONADE_INLINE void multiply_bfloat_tiles(const std::byte* panel, const std::byte* last, const uint32_t* x,
                                            int64_t stride, int64_t pairs, const TilesOfColumns& tiles, int tile,
                                            float* y) {
  unroll<kTiles>([&](auto t) CARRONADE_LAMBDA_INLINE { tile_zero<t.value>(); });
  const uint32_t* rows[kTiles];
  for (int t = 0; t < kTiles; ++t) rows[t] = x + tiles.first(tile + t) * stride;
  for (int64_t at = 0; at < pairs; at += kTileRows) {
    if (tile == 0) prefetch_step<kTileRows * kTileRowBytes>(panel, at / kTileRows);
    tile_load<kWeightsTile>(pairs - at < kTileRows ? last : panel + kTileRowBytes * at, kTileRowBytes);
    unroll<kTiles>([&](auto t) CARRONADE_LAMBDA_INLINE {
      tile_load<kRowsTile + t.value % 2>(rows[t.value] + at, 4 * stride);
      tile_multiply_bfloats<t.value, kRowsTile + t.value % 2, kWeightsTile>();
    });
  }
  unroll<kTiles>([&](auto t) CARRONADE_LAMBDA_INLINE {
    tile_store<t.value>(y + kPanelRows * tiles.first(tile + t.value), kTileRowBytes);
  });
}

// However few the columns, tiles multiply them: their sums are of another order than vdpbf16ps'.
void matmul_bfloat_on_tiles(const std::byte* panel, const uint32_t* x, int64_t stride, int64_t k, int n, float* y) {
  const int64_t pairs = (k + 1) / 2, whole = pairs / kTileRows * kTileRows;
  alignas(64) std::byte last[kTileRows * kTileRowBytes] = {};
  if (whole < pairs)
    __builtin_memcpy(last, panel + kTileRowBytes * whole, static_cast<size_t>(kTileRowBytes * (pairs - whole)));
  const TilesOfColumns tiles(n);
  configure_tiles(tiles.height);
  for (int tile = 0; tile < tiles.count; tile += kResultTiles) {
    const int left = tiles.count - tile;
    unroll<kResultTiles>([&](auto t) CARRONADE_LAMBDA_INLINE {
      constexpr int kTiles = t.value + 1;
      if (left == kTiles || (kTiles == kResultTiles && left > kTiles))
        multiply_bfloat_tiles<kTiles>(panel, last, x, stride, pairs, tiles, tile, y);
    });
  }
}
