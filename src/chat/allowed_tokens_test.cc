#include "chat/allowed_tokens.h"

#include <gtest/gtest.h>

#include <vector>

namespace carronade {
namespace {

std::vector<TokenId> left(std::vector<TokenId> allowed, std::vector<uint32_t> mask) {
  EXPECT_TRUE(make_allowed_tokens_constraint(allowed)->fill_mask(mask));
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < mask.size() * 32; ++i) {
    if (mask[i / 32] >> (i % 32) & 1) tokens.push_back(static_cast<TokenId>(i));
  }
  return tokens;
}

TEST(AllowedTokens, AreWhatIsLeft) {
  EXPECT_EQ(left({70, 0, 31, 32}, {~0u, ~0u, ~0u}), (std::vector<TokenId>{0, 31, 32, 70}));
  EXPECT_EQ(left({5}, {~0u, ~0u, ~0u}), std::vector<TokenId>{5});  // a list that ends before the vocabulary
  EXPECT_EQ(left({5, 1000, -3}, {~0u}), std::vector<TokenId>{5});
}

TEST(AllowedTokens, BringNothingBack) { EXPECT_EQ(left({1, 2, 3}, {1u << 2 | 1u << 9}), std::vector<TokenId>{2}); }

TEST(AllowedTokens, NeitherEndNorForce) {
  const std::vector<TokenId> allowed = {1};
  const auto constraint = make_allowed_tokens_constraint(allowed);
  EXPECT_TRUE(std::holds_alternative<Constraint::Continue>(constraint->accept(1)));
  constraint->rollback(1);
}

}  // namespace
}  // namespace carronade
