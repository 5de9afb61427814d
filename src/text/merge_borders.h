// Where a long piece of text can be cut before merging without changing a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace carronade {

// Knows every border before a character of three or four bytes that lies inside some token of more than one character:
// nothing ever merges across any other. Scripts without spaces make pieces of thousands of bytes, but few neighbours in
// them share a token, so that what is left to merge are words. Immutable after filling, so any thread may ask.
class MergeBorders {
 public:
  MergeBorders() : bits_(((size_t{1} << kFullBits) + (size_t{1} << kPartialBits)) / 64) {}

  void add(std::string_view token);

  // The end of the stretch of `text` that starts at `start` and must be merged as one.
  size_t stretch_end(std::string_view text, size_t start) const;

 private:
  // A border is remembered by up to three bytes (a character) on each side of it, in a filter: a false "inside" costs
  // time only. Nearly all borders have three on both sides (19 of Qwen2's 20 thousand): those that have less are in a
  // filter of their own, so that the eight questions to it seldom get a false yes.
  static constexpr int kFullBits = 19, kPartialBits = 17;
  static constexpr size_t kContext = 3;

  // Two-byte scripts have alphabets and spaces: their words are short enough.
  static bool starts_character(char c) { return static_cast<unsigned char>(c) >= 0xE0; }
  static size_t slot(std::string_view text, size_t border, size_t before, size_t after);
  bool is_inside(std::string_view text, size_t start, size_t border) const;

  std::vector<uint64_t> bits_;  // the filter of full contexts, then that of the others: 80 KB
};

}  // namespace carronade
