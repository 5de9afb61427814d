#include "chat/token_sequences.h"

#include <gtest/gtest.h>

#include "chat/testing.h"

namespace carronade {
namespace {

using Words = std::vector<std::string>;

TEST(BadWordSequences, HaveEachWordWithAndWithoutASpaceBefore) {
  const ByteTokenizer tokenizer({"<|im_end|>"});
  const std::vector<std::vector<TokenId>> expected = {{'a', 'b'}, {' ', 'a', 'b'}, {'c'}, {' ', 'c'}};
  EXPECT_EQ(bad_word_sequences(tokenizer, Words{"ab", " c", "c"}), expected);
  EXPECT_TRUE(bad_word_sequences(tokenizer, Words{}).empty());
  // What a user writes is text, even where it is spelled like a control token.
  EXPECT_EQ(bad_word_sequences(tokenizer, Words{"<|im_end|>"}).front().size(), 10u);
}

TEST(SequenceBreakers, AreTokensThatHoldTheTextAndSequencesThatMakeIt) {
  const ByteTokenizer tokenizer({"<|im_end|>"});
  const auto breakers = find_sequence_breakers(tokenizer, Words{"\n", "xyz"});
  const auto is_single = [&](TokenId token) { return breakers->single[static_cast<size_t>(token)]; };
  EXPECT_TRUE(is_single('\n'));
  EXPECT_TRUE(is_single(ByteTokenizer::kTwoLineEnds));   // holds one
  EXPECT_TRUE(is_single(ByteTokenizer::kFirstSpecial));  // always
  EXPECT_FALSE(is_single('x') || is_single('z'));
  EXPECT_EQ(breakers->sequences.at('z'), (std::vector<std::vector<TokenId>>{{'x', 'y', 'z'}}));
  EXPECT_EQ(breakers->sequences.size(), 1u);
}

}  // namespace
}  // namespace carronade
