// Byte-pair merging: symbols to tokens by ranked merges. Source: Sennrich, Haddow, Birch, "Neural Machine Translation
// of Rare Words with Subword Units" (2016); order of merges as in the `tokenizers` library: lowest rank first, leftmost
// among equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

// (left, right) → (rank, result). Immutable after filling, so any thread may look up.
class MergeTable {
 public:
  explicit MergeTable(size_t expected);

  // A pair that is there already gets the new rank and result.
  void insert(TokenId left, TokenId right, int32_t rank, TokenId result);

  struct Entry {
    uint64_t pair;  // left << 32 | right; kEmpty: free
    int32_t rank;
    TokenId result;
  };
  const Entry* find(TokenId left, TokenId right) const {
    const uint64_t pair = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    for (size_t i = slot(pair);; i = (i + 1) & mask_) {
      const Entry& entry = entries_[i];
      if (entry.pair == pair) return &entry;
      if (entry.pair == kEmpty) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~0ull;  // ids are not negative, so no pair is this
  size_t slot(uint64_t pair) const { return static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> shift_); }

  std::vector<Entry> entries_;
  size_t mask_;
  int shift_;
};

// Merges one piece at a time; its buffers live from piece to piece. Owned by one call.
class Merger {
 public:
  explicit Merger(const MergeTable& table) : table_(table) {}

  // Merges `symbols` in place until no pair of neighbours can be merged. O(n log n).
  void merge(std::vector<TokenId>& symbols);

 private:
  void merge_short(std::vector<TokenId>& symbols);
  void merge_long(std::vector<TokenId>& symbols);

  const MergeTable& table_;
  std::vector<int32_t> ranks_;    // of the pair (i, i + 1)
  std::vector<TokenId> results_;  // what that pair becomes
  std::vector<uint32_t> previous_, next_;
  std::vector<uint64_t> heap_;  // rank << 32 | position of a pair's left symbol, the lowest on top
};

// What a piece became, remembered for the length of one call: natural text repeats its words. The tokens lie in the
// call's own output.
class WordCache {
 public:
  static constexpr size_t kMaxWord = 23;  // bytes: an entry is then 32 bytes, two a cache line

  // `text_bytes`: how much text the call will see.
  explicit WordCache(size_t text_bytes);

  // A whole piece, or a stretch of one: a piece may be a token that merging would not have made.
  enum class Kind : uint8_t { kPiece, kStretch };

  struct Entry {
    uint32_t begin = 0;  // in the output
    uint8_t count = 0;   // 0: free
    uint8_t length = 0;
    Kind kind = Kind::kPiece;
    char word[kMaxWord + 2] = {};

    void set(uint32_t at, uint8_t tokens, std::string_view text, Kind of) {
      begin = at;
      count = tokens;
      length = static_cast<uint8_t>(text.size());
      kind = of;
      text.copy(word, kMaxWord);
    }
  };
  // The entry where `word` is or should go.
  Entry& slot(std::string_view word);
  static bool holds(const Entry& entry, std::string_view word, Kind kind) {
    return entry.count != 0 && entry.kind == kind && entry.length == word.size() &&
           std::memcmp(entry.word, word.data(), word.size()) == 0;
  }

 private:
  std::vector<Entry> entries_;
  int shift_ = 0;
};

}  // namespace carronade
