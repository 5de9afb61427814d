#include "text/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace carronade {
namespace {

using Ids = std::vector<TokenId>;

// The definition: the lowest rank first, leftmost among equals, until nothing merges.
Ids merge_slowly(const MergeTable& table, Ids ids) {
  for (;;) {
    const MergeTable::Entry* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const MergeTable::Entry* entry = table.find(ids[i], ids[i + 1]);
      if (entry && (!best || entry->rank < best->rank)) {
        best = entry;
        at = i;
      }
    }
    if (!best) return ids;
    ids[at] = best->result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Merger, EqualsTheDefinitionForShortAndLongPieces) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int letters = 2 + round % 4;
    MergeTable table(64);
    TokenId next = letters;
    for (int rank = 0; rank < 40; ++rank) {
      const auto left = static_cast<TokenId>(random() % static_cast<unsigned>(next));
      const auto right = static_cast<TokenId>(random() % static_cast<unsigned>(next));
      if (table.find(left, right)) continue;
      table.insert(left, right, round % 3 == 0 ? rank / 4 : rank, next++);  // equal ranks as well
    }
    Merger merger(table);
    for (const size_t length : {0u, 1u, 2u, 3u, 17u, 95u, 96u, 97u, 300u}) {
      Ids ids(length);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<unsigned>(letters));
      const Ids expected = merge_slowly(table, ids);
      merger.merge(ids);
      ASSERT_EQ(ids, expected) << "round " << round << ", length " << length;
    }
  }
}

TEST(MergeTable, ALaterPairReplacesAnEarlierOne) {
  MergeTable table(4);
  table.insert(1, 2, 0, 3);
  table.insert(1, 2, 5, 4);
  ASSERT_TRUE(table.find(1, 2));
  EXPECT_EQ(table.find(1, 2)->result, 4);
  EXPECT_FALSE(table.find(2, 1));
}

TEST(WordCache, TellsWordsApart) {
  using Kind = WordCache::Kind;
  WordCache cache(1000);
  cache.slot("word").set(7, 2, "word", Kind::kPiece);
  EXPECT_TRUE(WordCache::holds(cache.slot("word"), "word", Kind::kPiece));
  EXPECT_FALSE(WordCache::holds(cache.slot("word"), "word", Kind::kStretch));
  EXPECT_FALSE(WordCache::holds(cache.slot("word"), "worse", Kind::kPiece));
  EXPECT_FALSE(WordCache::holds(cache.slot("other"), "other", Kind::kPiece));
}

}  // namespace
}  // namespace carronade
