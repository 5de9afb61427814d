#include "engine/dry.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

namespace carronade {
namespace {

using Tokens = std::vector<TokenId>;

std::map<TokenId, int> find(const Tokens& tokens, const DryParameters& dry) {
  RepetitionFinder finder;
  std::map<TokenId, int> found;
  for (const Repetition& repetition : finder.find(tokens, dry)) found[repetition.token] = repetition.length;
  return found;
}

DryParameters parameters(int allowed_length = 2, int last_n = -1) {
  DryParameters dry;
  dry.multiplier = 1;
  dry.allowed_length = allowed_length;
  dry.penalty_last_n = last_n;
  return dry;
}

std::shared_ptr<SequenceBreakers> breakers(const Tokens& single, const std::vector<Tokens>& sequences = {}) {
  auto result = std::make_shared<SequenceBreakers>();
  result->single.resize(100);
  for (const TokenId token : single) result->single[static_cast<size_t>(token)] = true;
  for (const Tokens& sequence : sequences) result->sequences[sequence.back()].push_back(sequence);
  return result;
}

TEST(Repetitions, AreTheLongestMatchOfTheEndBeforeEachToken) {
  //                     a  b  c  c  b  c  y  a  b  c
  const Tokens tokens = {1, 2, 3, 3, 2, 3, 9, 1, 2, 3};
  EXPECT_EQ(find(tokens, parameters(1)), (std::map<TokenId, int>{{2, 1}, {3, 3}, {9, 2}}));
  EXPECT_EQ(find(tokens, parameters(2)), (std::map<TokenId, int>{{3, 3}, {9, 2}}));
  EXPECT_EQ(find(tokens, parameters(3)), (std::map<TokenId, int>{{3, 3}}));
  EXPECT_TRUE(find(tokens, parameters(4)).empty());
  EXPECT_EQ(find(tokens, parameters(1, 7)), (std::map<TokenId, int>{{2, 1}, {9, 2}}));  // c b c y a b c
  EXPECT_TRUE(find({}, parameters()).empty());
  EXPECT_TRUE(find({1}, parameters()).empty());
}

TEST(Repetitions, AreNotFollowedAcrossABreaker) {
  const Tokens tokens = {1, 2, 7, 3, 4, 5, 1, 2, 7, 3, 4};
  EXPECT_EQ(find(tokens, parameters())[5], 5);
  DryParameters dry = parameters();
  dry.breakers = breakers({7});
  EXPECT_EQ(find(tokens, dry), (std::map<TokenId, int>{{5, 2}}));
  dry.allowed_length = 3;
  EXPECT_TRUE(find(tokens, dry).empty());
  dry = parameters();
  dry.breakers = breakers({}, {{2, 7}});
  EXPECT_EQ(find(tokens, dry)[5], 2);
  dry.breakers = breakers({}, {{2, 8, 7}, {9, 7}});  // others that end alike
  EXPECT_EQ(find(tokens, dry)[5], 5);
  dry.breakers = breakers({5});  // would continue, but is never held against the model
  EXPECT_TRUE(find(tokens, dry).empty());
}

// By the definition alone: for each earlier place, how far the end can be followed back.
std::map<TokenId, int> find_slowly(Tokens tokens, const DryParameters& dry) {
  if (dry.penalty_last_n >= 0 && tokens.size() > static_cast<size_t>(dry.penalty_last_n))
    tokens.erase(tokens.begin(), tokens.end() - dry.penalty_last_n);
  std::map<TokenId, int> found;
  const auto breaks = [&](TokenId token) { return dry.breakers && dry.breakers->single[static_cast<size_t>(token)]; };
  for (size_t next = 1; next < tokens.size(); ++next) {
    size_t length = 0;
    while (length < next && tokens[next - 1 - length] == tokens[tokens.size() - 1 - length] &&
           !breaks(tokens[next - 1 - length]))
      ++length;
    if (breaks(tokens[next]) || static_cast<int>(length) < dry.allowed_length) continue;
    found[tokens[next]] = std::max(found[tokens[next]], static_cast<int>(length));
  }
  return found;
}

TEST(Repetitions, AreTheDefinitionsOnRandomTokens) {
  std::mt19937 random(1);
  for (int round = 0; round < 4000; ++round) {
    Tokens tokens(random() % 60);
    const uint32_t alphabet = 1 + random() % 5;
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % alphabet);
    DryParameters dry = parameters(static_cast<int>(random() % 4), static_cast<int>(random() % 70) - 1);
    if (random() % 2) dry.breakers = breakers({static_cast<TokenId>(random() % 6)});
    ASSERT_EQ(find(tokens, dry), find_slowly(tokens, dry)) << "round " << round;
  }
}

// Comparing every pair of places would be 10^12 steps here.
TEST(Repetitions, OfALongMonotonousTextAreFoundInLinearTime) {
  const Tokens tokens(1'000'000, 3);
  EXPECT_EQ(find(tokens, parameters()), (std::map<TokenId, int>{{3, 999'999}}));
}

TEST(DryPenalty, GrowsByTheBaseAndStaysFinite) {
  DryParameters dry = parameters(2);
  dry.multiplier = 0.8f;
  EXPECT_FLOAT_EQ(dry_penalty(dry, 2), 0.8f);
  EXPECT_FLOAT_EQ(dry_penalty(dry, 3), 0.8f * 1.75f);
  EXPECT_FLOAT_EQ(dry_penalty(dry, 7), 0.8f * std::pow(1.75f, 5.0f));
  dry.base = 1;
  EXPECT_FLOAT_EQ(dry_penalty(dry, 1'000'000), 0.8f);
  dry.base = 100;
  EXPECT_GT(dry_penalty(dry, 1'000'000), 1e29f);
  EXPECT_TRUE(std::isfinite(dry_penalty(dry, 1'000'000)));
}

}  // namespace
}  // namespace carronade
