#include "text/token_stream.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace carronade {
namespace {

// Tokens are whatever strings a test needs; the id of a token is its place in the list.
class FakeTokenizer final : public Tokenizer {
 public:
  FakeTokenizer(std::vector<std::string> tokens, TokenId special) : tokens_(std::move(tokens)), special_(special) {}
  std::vector<TokenId> encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string_view token_bytes(TokenId id) const override {
    return id >= 0 && id < vocabulary_size() ? std::string_view(tokens_[static_cast<size_t>(id)]) : std::string_view();
  }
  bool is_special(TokenId id) const override { return id == special_; }
  TokenId special_token(std::string_view) const override { return -1; }
  int vocabulary_size() const override { return static_cast<int>(tokens_.size()); }
  const TokenizerData& data() const override { return data_; }

 private:
  std::vector<std::string> tokens_;
  TokenId special_;
  TokenizerData data_;
};

TokenStreamOptions stops(std::vector<std::string> stop, bool include = false, bool special = false) {
  return {std::move(stop), include, special};
}

std::vector<std::string> stream(const std::vector<std::string>& tokens, TokenStreamOptions options = {},
                                TokenId special = -1) {
  const FakeTokenizer tokenizer(tokens, special);
  TokenStream out(tokenizer, std::move(options));
  std::vector<std::string> parts;
  for (TokenId id = 0; id < static_cast<TokenId>(tokens.size()); ++id) parts.push_back(out.push(id));
  parts.push_back(out.finish());
  return parts;
}

using Parts = std::vector<std::string>;

TEST(TokenStream, HoldsIncompleteCharacters) {
  EXPECT_EQ(stream({"a\xF0", "\x9F\xA6", "\x99", "b"}), (Parts{"a", "", "\xF0\x9F\xA6\x99", "b", ""}));
}

TEST(TokenStream, ReplacesEachMaximalInvalidPart) {
  EXPECT_EQ(stream({"\xE2\x82", "x\xFF", "\xED\xA0\x80"}), (Parts{"", "\uFFFDx\uFFFD", "\uFFFD\uFFFD\uFFFD", ""}));
  EXPECT_EQ(stream({"\xF0\x9F"}), (Parts{"", "\uFFFD"})) << "cut off at the end";
}

TEST(TokenStream, CutsAtStopStringsAcrossTokens) {
  EXPECT_EQ(stream({"one ST", "OP two", "three"}, stops({"STOP"})), (Parts{"one ", "", "", ""}));
  EXPECT_EQ(stream({"one ST", "OP two"}, stops({"STOP"}, true)), (Parts{"one ", "STOP", ""}));
}

TEST(TokenStream, ReleasesWhatTurnsOutNotToBeAStopString) {
  EXPECT_EQ(stream({"aST", "AR", "T"}, stops({"STOP"})), (Parts{"a", "STAR", "T", ""}));
  EXPECT_EQ(stream({"aST"}, stops({"STOP"})), (Parts{"a", "ST"}));
}

TEST(TokenStream, TakesTheEarliestStopStringAndNamesIt) {
  const FakeTokenizer tokenizer({"x</b", "></a>"}, -1);
  TokenStream out(tokenizer, stops({"</a>", "</b>"}));
  EXPECT_EQ(out.push(0), "x");
  EXPECT_EQ(out.push(1), "");
  EXPECT_TRUE(out.stopped());
  EXPECT_EQ(out.stop_string(), "</b>");
}

TEST(TokenStream, WaitsForALongerStopStringThatBeginsEarlier) {
  // "b" may be the middle of "abc": whether "abc" comes decides where the text is cut.
  EXPECT_EQ(stream({"xa", "b", "c"}, stops({"abc", "bd"})), (Parts{"x", "", "", ""}));
  EXPECT_EQ(stream({"xa", "b", "d"}, stops({"abc", "bd"})), (Parts{"x", "", "a", ""}));
}

TEST(TokenStream, TheStopStringThatIsCompleteFirstWins) {
  // In one token or byte by byte: "bc" is complete before "abcX" is.
  EXPECT_EQ(stream({"1abcX"}, stops({"abcX", "bc"})), (Parts{"1a", ""}));
  EXPECT_EQ(stream({"1", "a", "b", "c", "X"}, stops({"abcX", "bc"})), (Parts{"1", "", "", "a", "", ""}));
}

TEST(TokenStream, SelfOverlappingStopString) {
  EXPECT_EQ(stream({"aa", "a", "b", "z"}, stops({"aab"})), (Parts{"", "a", "", "", ""}));
}

TEST(TokenStream, HidesSpecialTokensUnlessAsked) {
  EXPECT_EQ(stream({"hi", "<|end|>", "!"}, {}, 1), (Parts{"hi", "", "!", ""}));
  EXPECT_EQ(stream({"hi", "<|end|>", "!"}, stops({}, false, true), 1), (Parts{"hi", "<|end|>", "!", ""}));
}

TEST(TokenStream, UnknownIdsGiveNothing) {
  const FakeTokenizer tokenizer({"a"}, -1);
  TokenStream out(tokenizer, {});
  EXPECT_EQ(out.push(7) + out.push(-3) + out.push(0), "a");
}

TEST(TokenStream, RefusesAnEmptyStopString) {
  const FakeTokenizer tokenizer({"a"}, -1);
  EXPECT_THROW(TokenStream(tokenizer, stops({""})), Error);
}

// However the bytes are cut into tokens, the whole text is the same: all cuts of a text with every kind of trouble.
TEST(TokenStream, SameTextForEveryCut) {
  const std::string bytes = "a\xE4\xBD\xA0\xFF END";
  for (unsigned cuts = 0; cuts < 1u << (bytes.size() - 1); ++cuts) {
    std::vector<std::string> tokens(1);
    for (size_t i = 0; i < bytes.size(); ++i) {
      tokens.back().push_back(bytes[i]);
      if (cuts >> i & 1) tokens.emplace_back();
    }
    std::string text;
    for (const std::string& part : stream(tokens, stops({"END", " E?"}))) text += part;
    ASSERT_EQ(text, "a\xE4\xBD\xA0\uFFFD ") << cuts;
  }
}

}  // namespace
}  // namespace carronade
