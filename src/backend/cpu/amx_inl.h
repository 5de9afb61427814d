// Body of the matmul of BF16 panels on AMX, whose registers are tiles of up to 16 rows of 64 bytes: one instruction
// (tdpbf16ps) multiplies up to 16 rows of activations by 16 rows of weights over 32 columns. Compiled for processors
// that have it, and over an emulation in tests: the includer has load_shapes, load_tile, clear_tile, store_tile and
// multiply_tiles. No include guard, as matmul_inl.h.
//
// A tile of results is [columns of the call][16 rows of the panel], as y is. Its left operands are rows of activations
// as they lie in memory, its right ones 16 of a panel's pairs of columns (layout.h), as they lie there too. A call's
// columns are shared out evenly over tiles, all of one height, so that one configuration does; where that does not come
// out even, tiles overlap, and a column made twice is the same twice.

// Registers: four tiles of results, all of a call's, since a multiplication takes several times the 16 cycles after
// which the next may begin. Two of rows, for consecutive loads; weights.
constexpr int kResultTiles = 4, kRowsTile = 4, kWeightsTile = 6, kTileRegisters = 8;
constexpr int kTileRows = 16, kTileRowBytes = 64;
static_assert(kTileColumns <= kResultTiles * kTileRows);

// What LDTILECFG reads (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, on AMX).
struct TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

// Weights are 16 rows high, all else `height`. A thread stays as it was configured: that takes as long as 25
// multiplications (161 ns and 6.5 ns, Emerald Rapids). So whoever else uses tiles does it on threads of their own.
thread_local int configured_height = 0;
CARRONADE_INLINE void configure_tiles(int height) {
  if (configured_height == height) return;
  TileShapes shapes;
  for (int t = 0; t < kTileRegisters; ++t) {
    shapes.rows[t] = static_cast<uint8_t>(t < kWeightsTile ? height : kTileRows);
    shapes.row_bytes[t] = kTileRowBytes;
  }
  load_shapes(&shapes);
  configured_height = height;
}

// A panel times kTiles tiles of columns, each of which stays in its register over all of K; tile t begins at column
// first[t]. What a panel lacks of a whole tile of weights at its end, `last` holds.
template <int kTiles>
CARRONADE_INLINE void multiply_panel(const std::byte* panel, const std::byte* last, const uint32_t* x, int64_t stride,
                                     int64_t pairs, const int (&first)[kResultTiles], float* y) {
  unroll<kTiles>([&](auto t) CARRONADE_LAMBDA_INLINE { clear_tile<t.value>(); });
  for (int64_t at = 0; at < pairs; at += kTileRows) {
    prefetch_step<kTileRows * kTileRowBytes>(panel, at / kTileRows);
    load_tile<kWeightsTile>(pairs - at < kTileRows ? last : panel + kTileRowBytes * at, kTileRowBytes);
    unroll<kTiles>([&](auto t) CARRONADE_LAMBDA_INLINE {
      load_tile<kRowsTile + t.value % 2>(x + first[t.value] * stride + at, 4 * stride);
      multiply_tiles<t.value, kRowsTile + t.value % 2, kWeightsTile>();
    });
  }
  unroll<kTiles>([&](auto t)
                     CARRONADE_LAMBDA_INLINE { store_tile<t.value>(y + kPanelRows * first[t.value], kTileRowBytes); });
}

// However few the columns, tiles multiply them: their sums are of another order than vdpbf16ps'.
void matmul_bfloat_on_tiles(const std::byte* panel, const uint32_t* x, int64_t stride, int64_t k, int n, float* y) {
  const int64_t pairs = (k + 1) / 2, whole = pairs / kTileRows * kTileRows;
  alignas(64) std::byte last[kTileRows * kTileRowBytes] = {};
  if (whole < pairs)
    __builtin_memcpy(last, panel + kTileRowBytes * whole, static_cast<size_t>(kTileRowBytes * (pairs - whole)));
  const int tiles = (n + kTileRows - 1) / kTileRows, height = (n + tiles - 1) / tiles;
  int first[kResultTiles];
  for (int t = 0; t < kResultTiles; ++t) first[t] = t * height < n - height ? t * height : n - height;
  configure_tiles(height);
  unroll<kResultTiles>([&](auto t) CARRONADE_LAMBDA_INLINE {
    if (tiles == t.value + 1) multiply_panel<t.value + 1>(panel, last, x, stride, pairs, first, y);
  });
}
