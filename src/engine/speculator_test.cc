#include "engine/speculator.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace carronade {
namespace {

using Tokens = std::vector<TokenId>;

Tokens propose(PromptLookup& lookup, const Tokens& tokens, int most = 8) {
  const std::span<const TokenId> drafts = lookup.propose(tokens, most);
  return {drafts.begin(), drafts.end()};
}

TEST(PromptLookup, ProposesWhatFollowedTheLatestOccurrence) {
  PromptLookup lookup;
  Tokens tokens = {1, 2, 3, 4, 5, 9, 1, 2, 3, 7, 8, 9, 1, 2};
  EXPECT_EQ(propose(lookup, tokens), (Tokens{3, 7, 8, 9, 1, 2}));
  tokens.push_back(3);
  EXPECT_EQ(propose(lookup, tokens), (Tokens{7, 8, 9, 1, 2, 3}));
  EXPECT_EQ(propose(lookup, tokens, 2), (Tokens{7, 8}));
}

TEST(PromptLookup, ARunOfOneTokenGoesOn) {
  PromptLookup lookup;
  EXPECT_EQ(propose(lookup, {5, 5, 5}), Tokens{});
  EXPECT_EQ(propose(lookup, {5, 5, 5, 5}), Tokens{5});
  EXPECT_EQ(propose(lookup, {5, 5, 5, 5, 6}), Tokens{});
}

TEST(PromptLookup, ShortTextsHaveNothing) {
  PromptLookup lookup;
  EXPECT_EQ(propose(lookup, {}), Tokens{});
  EXPECT_EQ(propose(lookup, {1, 2}), Tokens{});
}

// Against the definition, while a text grows.
TEST(PromptLookup, EqualsASearchBackwards) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    PromptLookup lookup;
    Tokens tokens;
    for (int i = 0; i < 400; ++i) {
      tokens.push_back(static_cast<TokenId>(random() % 4));
      if (random() % 3 == 0) continue;  // several may come between two questions
      Tokens expected;
      for (size_t end = tokens.size() - 1; end >= 3 && expected.empty() && tokens.size() > 3; --end) {
        if (!std::equal(tokens.end() - 3, tokens.end(), tokens.begin() + static_cast<std::ptrdiff_t>(end) - 3))
          continue;
        expected.assign(tokens.begin() + static_cast<std::ptrdiff_t>(end),
                        tokens.begin() + static_cast<std::ptrdiff_t>(std::min(tokens.size(), end + 5)));
      }
      ASSERT_EQ(propose(lookup, tokens, 5), expected) << "round " << round << ", length " << tokens.size();
    }
  }
}

TEST(StepCosts, AreMonotonousAndLearn) {
  StepCosts costs;
  EXPECT_EQ(costs.of(1), costs.of(8));
  costs.measured(1, 0.10);
  costs.measured(4, 0.14);
  costs.measured(3, 0.20);
  EXPECT_DOUBLE_EQ(costs.of(1), 0.10);
  EXPECT_DOUBLE_EQ(costs.of(2), 0.10);
  EXPECT_DOUBLE_EQ(costs.of(4), 0.20);
  for (int i = 0; i < 50; ++i) costs.measured(3, 0.12);
  EXPECT_NEAR(costs.of(4), 0.14, 1e-9);
}

StepCosts memory_bound() {
  StepCosts costs;
  for (int rows = 1; rows <= 16; ++rows) costs.measured(rows, 0.040 + 0.003 * rows);
  return costs;
}

TEST(SpeculationGate, GuessesMoreTheMoreHolds) {
  const StepCosts costs = memory_bound();
  SpeculationGate gate;
  for (int i = 0; i < 20; ++i) gate.checked(4, 4);
  EXPECT_EQ(gate.choose(costs, 1, 8), 8);
  for (int i = 0; i < 6; ++i) gate.checked(4, 1);
  const int some = gate.choose(costs, 1, 8);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, 8);
}

TEST(SpeculationGate, SwitchesItselfOffAndLooksAgainNowAndThen) {
  const StepCosts costs = memory_bound();
  SpeculationGate gate;
  int tried = 0, drafted = 0;
  for (int step = 0; step < 480; ++step) {
    const int drafts = gate.choose(costs, 1, 8);
    if (drafts == 0) continue;
    ++tried;
    drafted += drafts;
    gate.checked(drafts, 0);
  }
  EXPECT_LE(tried, 16);
  EXPECT_GE(tried, 8);
  EXPECT_LE(drafted, 60);
  EXPECT_EQ(gate.choose(costs, 1, 0), 0);
}

TEST(SpeculationGate, DoesNotGuessWhereRowsAreDear) {
  StepCosts costs;
  for (int rows = 1; rows <= 16; ++rows) costs.measured(rows, 0.040 * rows);
  SpeculationGate gate;
  int drafted = 0;
  for (int step = 0; step < 40; ++step) drafted += gate.choose(costs, 8, 4);
  EXPECT_EQ(drafted, 0);
}

}  // namespace
}  // namespace carronade
