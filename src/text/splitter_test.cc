#include "text/splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/unicode.h"

namespace carronade {
namespace {

using Pieces = std::vector<std::string>;

Pieces pieces_of(const Splitter& splitter, std::string_view text) {
  std::vector<uint32_t> ends;
  splitter.split(text, 0, ends);
  Pieces pieces;
  uint32_t start = 0;
  for (const uint32_t marked : ends) {
    const uint32_t end = marked & ~kRemovedPiece;
    EXPECT_GT(end, start);
    if (end == marked) pieces.emplace_back(text.substr(start, end - start));
    start = end;
  }
  EXPECT_EQ(start, text.size());
  return pieces;
}

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

TEST(Splitter, Gpt2) {
  const auto splitter = make_gpt2_splitter();
  EXPECT_EQ(pieces_of(*splitter, "Hello, y'all's  1234 x\n\n y "),
            (Pieces{"Hello", ",", " y", "'", "all", "'s", " ", " 1234", " x", "\n\n", " y", " "}));
}

TEST(Splitter, Qwen2) {
  const auto splitter = make_gpt4_splitter(1, false);
  EXPECT_EQ(pieces_of(*splitter, "I'LL (see)\r\n\n  12!!\n x"),
            (Pieces{"I", "'LL", " (", "see", ")\r\n\n", " ", " ", "1", "2", "!!\n", " x"}));
  EXPECT_EQ(pieces_of(*splitter, "a \n \n b"), (Pieces{"a", " \n \n", " b"}));
}

// Every string of up to five of these, which are one of each kind that the expressions tell apart, against PCRE2
// itself.
TEST(Splitter, HandWrittenOnesEqualTheirExpressions) {
  const std::vector<std::string> alphabet = {"a",  "S", "l", "1",      " ",      "\n",     "\r",
                                             "\t", "'", "!", "\u0301", "\u017F", "\u3000", "\u00E9"};
  for (const char* regex : {kGpt2, kQwen2, kQwen35, kLlama3}) {
    const auto fast = splitter_by_regex(regex);
    ASSERT_TRUE(fast) << regex;
    const auto slow = make_regex_splitter(regex, SplitBehavior::kIsolated, false);
    std::vector<uint32_t> fast_ends, slow_ends;
    size_t total = 1;
    for (int length = 1; length <= 5; ++length) {
      total *= alphabet.size();
      const size_t step = length == 5 ? 7 : 1;  // every seventh of the longest: enough, and quick under the sanitizers
      for (size_t i = 0; i < total; i += step) {
        std::string text;
        for (size_t rest = i, k = 0; k < static_cast<size_t>(length); ++k, rest /= alphabet.size())
          text += alphabet[rest % alphabet.size()];
        fast_ends.clear();
        slow_ends.clear();
        fast->split(text, 0, fast_ends);
        slow->split(text, 0, slow_ends);
        ASSERT_EQ(fast_ends, slow_ends) << regex << " on " << testing::PrintToString(text);
      }
    }
  }
}

TEST(Splitter, ByName) {
  const auto falcon = splitters_by_name("falcon");
  ASSERT_EQ(falcon.size(), 3u);
  EXPECT_EQ(pieces_of(*falcon[2], " 12345"), (Pieces{" ", "123", "45"}));
  EXPECT_EQ(pieces_of(*falcon[2], " 12"), (Pieces{" 12"}));
  EXPECT_TRUE(splitters_by_name("nothing").empty());
  for (const char* name : {"qwen2", "qwen35", "deepseek-r1-qwen", "deepseek-llm", "deepseek-coder", "smollm",
                           "llama-bpe", "gpt-2", "starcoder", "falcon", "command-r", "refact"}) {
    EXPECT_FALSE(splitters_by_name(name).empty()) << name;
    EXPECT_NE(known_splitter_names().find(name), std::string::npos);
  }
}

TEST(Splitter, Behaviors) {
  const auto with = [](SplitBehavior behavior, bool invert = false) {
    return pieces_of(*make_string_splitter("-", behavior, invert), "the-final--countdown");
  };
  EXPECT_EQ(with(SplitBehavior::kRemoved), (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::kIsolated), (Pieces{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::kMergedWithPrevious), (Pieces{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::kMergedWithNext), (Pieces{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(with(SplitBehavior::kContiguous), (Pieces{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::kRemoved, true), (Pieces{"-", "-", "-"}));
}

TEST(Splitter, BertAndWords) {
  EXPECT_EQ(pieces_of(*make_bert_splitter(), " a,b  c!"), (Pieces{"a", ",", "b", "c", "!"}));
  EXPECT_EQ(pieces_of(*make_before_splitter("_"), "a__b_c"), (Pieces{"a", "__b", "_c"}));
}

}  // namespace
}  // namespace carronade
