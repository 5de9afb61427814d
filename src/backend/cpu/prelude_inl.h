// What the vector traits and the kernel bodies of one ISA share; first thing in the ISA's unnamed namespace.

// How large the weights' bytes can be decides how many products fit a 16-bit sum (only AVX2 cares).
enum class Range { kNibble, kFive, kSix, kByte };

template <int N, typename F>
CARRONADE_INLINE void unroll(F&& f) {
  [&]<int... I>(IntegerSequence<I...>) CARRONADE_LAMBDA_INLINE { (f(Index<I>{}), ...); }
  (MakeIndices<N>{});
}
