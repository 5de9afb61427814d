// What the vector traits and the kernel bodies of one ISA share; first thing in the ISA's unnamed namespace.

// How large the weights' bytes can be decides how many products fit a 16-bit sum (only AVX2 cares).
enum class Range { kNibble, kFive, kSix, kByte };

// How far a floating-point scale reaches: half a step, a step, or a chunk whose steps have whole numbers for scales.
enum class ScaleOf { kHalf, kStep, kChunk };

template <int N, typename F>
CARRONADE_INLINE void unroll(F&& f) {
  [&]<int... I>(IntegerSequence<I...>) CARRONADE_LAMBDA_INLINE { (f(Index<I>{}), ...); }
  (MakeIndices<N>{});
}

// Calls f(Index<C>, first column) over [0, n) in groups of at most kMost, as even as can be.
template <int kMost, typename F>
CARRONADE_INLINE void for_column_groups(int n, F&& f) {
  int column = 0;
  for (int groups = (n + kMost - 1) / kMost; groups > 0; --groups) {
    const int size = (n - column + groups - 1) / groups;
    unroll<kMost>([&](auto i) CARRONADE_LAMBDA_INLINE {
      if (size == i.value + 1) f(Index<i.value + 1>{}, column);
    });
    column += size;
  }
}

// Asks for a step's worth of bytes that will be read some steps on, into the second cache: from there the first gets
// them in time, and its few buffers for lines on their way stay free for the activations. (Zen 4, from memory, 4 rows:
// 60 % faster than into the first.) Panels lie one after another, so this holds over their ends, and beyond the last a
// prefetch does no harm. In small portions: more at once than there are buffers would hold up everything behind it.
constexpr int kAhead = 6144;
template <int kStepBytes, int kBytesAhead = kAhead>
CARRONADE_INLINE void prefetch_step(const std::byte* panel, int64_t step) {
  const uintptr_t p = reinterpret_cast<uintptr_t>(panel) + kBytesAhead + static_cast<uintptr_t>(step) * kStepBytes;
  unroll<(kStepBytes + 63) / 64>([&](auto line) CARRONADE_LAMBDA_INLINE {
    __builtin_prefetch(reinterpret_cast<const void*>(p + 64 * line.value), 0, 2);
  });
}
