#include "grammar/grammar.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace carronade {
namespace {

// A vocabulary of the 95 printable ASCII characters, a few longer tokens and one stop token.
class GrammarTest : public testing::Test {
 protected:
  GrammarTest()
      : tokens_(make_tokens()), stop_(static_cast<int32_t>(tokens_.size()) - 1), compiler_(tokens_, {stop_}) {}

  static std::vector<std::string> make_tokens() {
    std::vector<std::string> tokens;
    for (char c = ' '; c <= '~'; ++c) tokens.emplace_back(1, c);
    tokens.insert(tokens.end(), {"true", "{\"", "\":", "}}", "<end>"});
    return tokens;
  }
  int32_t id(const std::string& token) const {
    for (size_t i = 0; i < tokens_.size(); ++i)
      if (tokens_[i] == token) return static_cast<int32_t>(i);
    throw std::runtime_error("no token " + token);
  }
  std::vector<std::string> allowed(GrammarMatcher& matcher) const {
    std::vector<uint32_t> mask((tokens_.size() + 31) / 32);
    std::vector<std::string> result;
    if (!matcher.fill_mask(mask)) return tokens_;
    for (size_t i = 0; i < tokens_.size(); ++i)
      if (mask[i / 32] >> (i % 32) & 1) result.push_back(tokens_[i]);
    return result;
  }
  bool accept_all(GrammarMatcher& matcher, const std::string& text) const {
    for (char c : text)
      if (!matcher.accept(id(std::string(1, c)))) return false;
    return true;
  }

  std::vector<std::string> tokens_;
  int32_t stop_;
  GrammarCompiler compiler_;
};

TEST_F(GrammarTest, ARegexAllowsExactlyItsTokens) {
  GrammarMatcher matcher(compiler_.regex("(yes|no)"));
  EXPECT_EQ(allowed(matcher), (std::vector<std::string>{"n", "y"}));
  ASSERT_TRUE(matcher.accept(id("n")));
  EXPECT_EQ(allowed(matcher), (std::vector<std::string>{"o"}));
  EXPECT_FALSE(matcher.accept(id("e")));
  ASSERT_TRUE(matcher.accept(id("o")));
  EXPECT_TRUE(matcher.complete());
  EXPECT_EQ(allowed(matcher), (std::vector<std::string>{"<end>"}));
  ASSERT_TRUE(matcher.accept(stop_));
  EXPECT_TRUE(matcher.terminated());
}

TEST_F(GrammarTest, RollbackTakesTokensBack) {
  GrammarMatcher matcher(compiler_.regex("ab*c"));
  ASSERT_TRUE(accept_all(matcher, "abb"));
  matcher.rollback(2);
  EXPECT_EQ(allowed(matcher), (std::vector<std::string>{"b", "c"}));
}

TEST_F(GrammarTest, ASchemaHoldsItsTypes) {
  GrammarMatcher matcher(compiler_.json_schema(
      R"({"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false})"));
  ASSERT_TRUE(accept_all(matcher, R"({"ok":)"));
  EXPECT_FALSE(matcher.accept(id("1")));
  ASSERT_TRUE(matcher.accept(id("true")));
  ASSERT_TRUE(accept_all(matcher, "}"));
  EXPECT_TRUE(matcher.complete());
}

TEST_F(GrammarTest, AnInvalidSourceIsAnError) {
  for (const std::string schema : {"{", R"({"type":"no such type"})"})
    EXPECT_THROW(compiler_.json_schema(schema), Error) << schema;
  EXPECT_THROW(compiler_.regex("("), Error);
  EXPECT_THROW(compiler_.ebnf("root ::= missing"), Error);
}

}  // namespace
}  // namespace carronade
