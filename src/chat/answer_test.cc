#include "chat/answer.h"

#include <gtest/gtest.h>

#include "chat/testing.h"

namespace carronade {
namespace {

struct Result {
  std::string thought, answer;
  bool stopped = false;
  std::string stop_string;
  int thought_tokens = 0;
};

Result parse(std::string_view text, AnswerOptions options) {
  const auto model = make_test_model(nullptr);
  AnswerParser parser(*model, std::move(options));
  std::vector<AnswerPiece> pieces;
  for (const TokenId token : test_tokens(text)) parser.push(token, pieces);
  parser.finish(pieces);
  Result result{"", "", parser.stopped(), parser.stop_string(), parser.thought_tokens()};
  for (const auto& piece : pieces) (piece.is_thought ? result.thought : result.answer) += piece.text;
  return result;
}

TEST(AnswerParser, SplitsThoughtAndAnswerByTheirTokens) {
  const Result result = parse("<think>abc</think>\n\nYes", {});
  EXPECT_EQ(result.thought, "abc");
  EXPECT_EQ(result.answer, "Yes");
  EXPECT_EQ(result.thought_tokens, 5);  // both marks and three letters
}

TEST(AnswerParser, LeavesOutOtherSpecialTokens) { EXPECT_EQ(parse("a<|im_start|>b", {}).answer, "ab"); }

TEST(AnswerParser, CutsAtTheFirstStopString) {
  const Result result = parse("one STOP two", {.stop = {"zz", "STOP", "TOP"}});
  EXPECT_EQ(result.answer, "one ");
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.stop_string, "STOP");
  EXPECT_EQ(parse("one STOP two", {.stop = {"STOP"}, .include_stop = true}).answer, "one STOP");
}

TEST(AnswerParser, LooksForStopStringsInTheAnswerOnly) {
  const Result result = parse("<think>a\n\nb</think>c\n\nd", {.stop = {"\n\n"}});
  EXPECT_EQ(result.thought, "a\n\nb");
  EXPECT_EQ(result.answer, "c");
}

TEST(AnswerParser, GivesBackWhatOnlyLookedLikeAStopString) {
  const Result result = parse("abcab", {.stop = {"abd"}});
  EXPECT_EQ(result.answer, "abcab");
  EXPECT_FALSE(result.stopped);
}

TEST(AnswerParser, StopStringsCountFromMinTokensOn) {
  EXPECT_EQ(parse("axbxc", {.stop = {"x"}, .min_tokens = 3}).answer, "axb");
}

TEST(StopMatcher, FindsStopsHoweverTheTextIsCut) {
  const std::string text = "aab aabaac and more";
  for (size_t chunk = 1; chunk <= text.size(); ++chunk) {
    StopMatcher matcher({"aabaac", "nothing"}, false);
    std::string out;
    for (size_t i = 0; i < text.size(); i += chunk) out += matcher.push(text.substr(i, chunk));
    out += matcher.finish();
    EXPECT_EQ(out, "aab ") << chunk;
    EXPECT_TRUE(matcher.stopped());
  }
}

TEST(StopConstraint, StopsWithTheTokenThatCompletesTheStringAndCanGoBack) {
  const auto model = make_test_model(nullptr);
  const auto constraint = make_stop_constraint(*model, {.stop = {"xyz"}});
  ASSERT_NE(constraint, nullptr);
  const auto stops = [&](char c) { return std::holds_alternative<Constraint::Stop>(constraint->accept(c)); };
  EXPECT_FALSE(stops('x'));
  EXPECT_FALSE(stops('y'));
  EXPECT_TRUE(stops('z'));
  constraint->rollback(2);  // as drafts that did not hold
  EXPECT_FALSE(stops('z'));
  EXPECT_FALSE(stops('x'));
  EXPECT_FALSE(stops('y'));
  EXPECT_TRUE(stops('z'));
  EXPECT_EQ(make_stop_constraint(*model, {}), nullptr);
}

}  // namespace
}  // namespace carronade
