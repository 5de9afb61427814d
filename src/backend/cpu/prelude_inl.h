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
