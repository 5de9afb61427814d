// The few helpers that kernel bodies need in place of <utility>: always inlined, so that no copy compiled for one ISA
// is linked elsewhere. (Included before the unnamed namespace of an ISA is opened; everything here is a type or a
// macro.)
#pragma once

#ifndef CARRONADE_INLINE
#define CARRONADE_INLINE __attribute__((always_inline)) inline
#define CARRONADE_LAMBDA_INLINE __attribute__((always_inline))
#endif

namespace carronade::cpu {

template <int I>
struct Index {
  static constexpr int value = I;
};
template <int... I>
struct IntegerSequence {};

#if defined(__clang__)
template <typename T, T... I>
struct IntegerSequenceOf {
  using Type = IntegerSequence<I...>;
};
template <int N>
using MakeIndices = typename __make_integer_seq<IntegerSequenceOf, int, N>::Type;
#else
template <int N>
using MakeIndices = IntegerSequence<__integer_pack(N)...>;
#endif

}  // namespace carronade::cpu
