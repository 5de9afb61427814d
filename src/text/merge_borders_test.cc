#include "text/merge_borders.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "text/bpe.h"

namespace carronade {
namespace {

TEST(MergeBorders, CutsOnlyBetweenCharactersThatNoTokenSpans) {
  MergeBorders borders;
  borders.add("中文");
  borders.add("\xE6\x96\x87 a");  // 文 and what follows: no such border inside
  const std::string text = "中文文中";
  EXPECT_EQ(borders.stretch_end(text, 0), 6u);
  EXPECT_EQ(borders.stretch_end(text, 6), 9u);
  EXPECT_EQ(borders.stretch_end(text, 9), 12u);
}

TEST(MergeBorders, KnowsTokensThatHoldPartsOfCharacters) {
  MergeBorders borders;
  borders.add("\xAD\xE6");  // the last byte of 中 (E4 B8 AD) and the first of 文 (E6 96 87)
  EXPECT_EQ(borders.stretch_end("中文", 0), 6u);
  EXPECT_EQ(borders.stretch_end("文中", 0), 3u);
}

// Merging stretch by stretch gives what merging the whole gives, for vocabularies made up at random over bytes that
// begin, continue and end characters.
TEST(MergeBorders, ChangesNoToken) {
  const std::vector<unsigned char> bytes = {0xE4, 0xE5, 0xB8, 0xAD, 0x96, 'a'};
  std::mt19937 random(11);
  size_t cuts = 0;
  for (int round = 0; round < 400; ++round) {
    MergeTable table(64);
    std::vector<std::string> tokens;
    for (const unsigned char byte : bytes) tokens.emplace_back(1, static_cast<char>(byte));
    MergeBorders borders;
    for (int rank = 0; rank < 24; ++rank) {
      const size_t left = random() % tokens.size(), right = random() % tokens.size();
      if (table.find(static_cast<TokenId>(left), static_cast<TokenId>(right))) continue;
      table.insert(static_cast<TokenId>(left), static_cast<TokenId>(right), rank, static_cast<TokenId>(tokens.size()));
      tokens.push_back(tokens[left] + tokens[right]);
      borders.add(tokens.back());
    }
    std::string text;
    std::vector<TokenId> symbols;
    for (int i = 0; i < 200; ++i) {
      const size_t byte = random() % bytes.size();
      symbols.push_back(static_cast<TokenId>(byte));
      text += static_cast<char>(bytes[byte]);
    }
    Merger merger(table);
    std::vector<TokenId> whole = symbols, stretched;
    merger.merge(whole);
    for (size_t start = 0, end = 0; start < text.size(); start = end, ++cuts) {
      end = borders.stretch_end(text, start);
      std::vector<TokenId> part(symbols.begin() + static_cast<std::ptrdiff_t>(start),
                                symbols.begin() + static_cast<std::ptrdiff_t>(end));
      merger.merge(part);
      stretched.insert(stretched.end(), part.begin(), part.end());
    }
    ASSERT_EQ(stretched, whole) << "round " << round;
  }
  EXPECT_GT(cuts, 2000u);
}

}  // namespace
}  // namespace carronade
