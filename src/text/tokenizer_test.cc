#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "text/testing.h"

namespace carronade {
namespace {

using Ids = std::vector<TokenId>;

// "Ġ" is the byte-level spelling of a space.
const std::vector<std::string> kMerges = {"h e", "l l",   "he ll", "hell o",  "Ġ w",
                                          "o r", "Ġw or", "l d",   "Ġwor ld", "Ġ Ġ"};
constexpr TokenId kHello = 256 + 3, kWorld = 256 + 8, kTwoSpaces = 256 + 9, kA = 266, kB = 267, kT = 268;

constexpr EncodeOptions kAddSpecial{.add_special = true, .parse_special = false};
constexpr EncodeOptions kParseSpecial{.add_special = false, .parse_special = true};

std::string text_of(const Tokenizer& tokenizer, const Ids& ids) {
  std::string text;
  for (const TokenId id : ids) text += tokenizer.token_bytes(id);
  return text;
}

TEST(Tokenizer, MergesInTheOrderOfTheList) {
  const auto tokenizer = Tokenizer::create(tiny_byte_level("gpt-2", kMerges));
  EXPECT_EQ(tokenizer->encode("hello world"), (Ids{kHello, kWorld}));
  EXPECT_EQ(tokenizer->encode("world"), (Ids{'w', 256 + 5, 256 + 7}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->encode("   hello"), (Ids{kTwoSpaces, ' ', kHello})) << "the last space belongs to the word";
  EXPECT_EQ(tokenizer->encode("hello hello hello"), (Ids{kHello, ' ', kHello, ' ', kHello})) << "from the cache, too";
}

TEST(Tokenizer, SpecialTokensInTextAreTextUnlessAsked) {
  const auto tokenizer = Tokenizer::create(tiny_byte_level("gpt-2", kMerges));
  EXPECT_EQ(tokenizer->encode("<|a|>"), (Ids{'<', '|', 'a', '|', '>'}));
  EXPECT_EQ(tokenizer->encode("x<|a|>hello<|b|>", kParseSpecial), (Ids{'x', kA, kHello, kB}));
  EXPECT_EQ(tokenizer->encode("x<t>hello"), (Ids{'x', kT, kHello})) << "user-defined tokens always count";
  EXPECT_EQ(tokenizer->encode("<|a<|a|>|>", kParseSpecial), (Ids{'<', '|', 'a', kA, '|', '>'}));
}

TEST(Tokenizer, SpecialTokensAreToldApart) {
  const auto tokenizer = Tokenizer::create(tiny_byte_level("gpt-2", kMerges));
  EXPECT_TRUE(tokenizer->is_special(kA));
  EXPECT_FALSE(tokenizer->is_special(kT));
  EXPECT_FALSE(tokenizer->is_special(kHello));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_FALSE(tokenizer->is_special(1 << 30));
  EXPECT_EQ(tokenizer->special_token("<|b|>"), kB);
  EXPECT_EQ(tokenizer->special_token("<t>"), kT);
  EXPECT_EQ(tokenizer->special_token("hello"), -1);
  EXPECT_EQ(tokenizer->token_bytes(kB), "<|b|>");
  EXPECT_EQ(tokenizer->token_bytes(kWorld), " world");
  EXPECT_EQ(tokenizer->token_bytes(0), std::string_view("\0", 1));
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->vocabulary_size()), "");
}

TEST(Tokenizer, BeginAndEndAreAddedWhereTheFileSaysSo) {
  TokenizerData data = tiny_byte_level("gpt-2", kMerges);
  data.bos = kA;
  data.eos = kB;
  data.add_bos = true;
  EXPECT_EQ(Tokenizer::create(data)->encode("hello", kAddSpecial), (Ids{kA, kHello}));
  data.add_eos = true;
  EXPECT_EQ(Tokenizer::create(data)->encode("hello", kAddSpecial), (Ids{kA, kHello, kB}));
  EXPECT_EQ(Tokenizer::create(data)->encode("hello"), (Ids{kHello}));
}

TEST(Tokenizer, InvalidUtf8BecomesReplacementCharacters) {
  const auto tokenizer = Tokenizer::create(tiny_byte_level("gpt-2", {}));
  EXPECT_EQ(text_of(*tokenizer, tokenizer->encode("a\xFF\xE4\xBDz")), "a\uFFFD\uFFFDz");
}

TEST(Tokenizer, QwenComposesCharacters) {
  const auto qwen = Tokenizer::create(tiny_byte_level("qwen2", {}));
  EXPECT_EQ(text_of(*qwen, qwen->encode("e\u0301")), "\u00E9");
  const auto gpt2 = Tokenizer::create(tiny_byte_level("gpt-2", {}));
  EXPECT_EQ(text_of(*gpt2, gpt2->encode("e\u0301")), "e\u0301");
}

TEST(Tokenizer, BytesThatTheVocabularyLacksAreLeftOut) {
  TokenizerData data = tiny_byte_level("gpt-2", {});
  data.tokens[0xF3] = "[none]";
  data.unknown = 1;
  const auto tokenizer = Tokenizer::create(data);
  EXPECT_EQ(tokenizer->encode("\U000E0001").size(), 3u);
}

TEST(Tokenizer, LlamaTakesWholePiecesFirst) {
  TokenizerData data = tiny_byte_level("llama-bpe", {"a b"});
  data.tokens.emplace_back("abc");  // no merge leads here
  data.types.push_back(TokenType::kNormal);
  const auto id = static_cast<TokenId>(data.tokens.size() - 1);
  EXPECT_EQ(Tokenizer::create(data)->encode("abc"), Ids{id});
  data.pre = "qwen2";
  EXPECT_EQ(Tokenizer::create(data)->encode("abc"), (Ids{256, 'c'}));
}

TEST(Tokenizer, SentencePieceMergesByScoreAndFallsBackToBytes) {
  const std::string mark = "\u2581";
  const auto tokenizer =
      Tokenizer::create(tiny_sentence_piece({mark + "a", mark, "a", "b", "ab", "aab", "<", "/", "s", ">", "</s"}));
  constexpr TokenId kFirst = 3 + 256;
  EXPECT_EQ(tokenizer->encode("a"), (Ids{kFirst})) << "as if a space stood before it";
  EXPECT_EQ(tokenizer->encode("ab"), (Ids{kFirst, kFirst + 3})) << "the better score, not the longer token";
  EXPECT_EQ(tokenizer->encode("bab b"), (Ids{kFirst + 1, kFirst + 3, kFirst + 4, kFirst + 1, kFirst + 3}));
  EXPECT_EQ(tokenizer->encode("b\u00E9"), (Ids{kFirst + 1, kFirst + 3, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(tokenizer->token_bytes(kFirst), " a");
  EXPECT_EQ(tokenizer->token_bytes(3 + 0xC3), "\xC3");
  EXPECT_EQ(tokenizer->encode("b", kAddSpecial), (Ids{1, kFirst + 1, kFirst + 3}));
  EXPECT_EQ(tokenizer->encode("</s>"), (Ids{kFirst + 1, kFirst + 6, kFirst + 7, kFirst + 8, kFirst + 9}))
      << "merging never makes a control token of a text";
  EXPECT_EQ(tokenizer->encode("b</s>b", kParseSpecial), (Ids{kFirst + 1, kFirst + 3, 2, kFirst + 1, kFirst + 3}));
}

TEST(Tokenizer, WordPieceTakesTheLongestBeginning) {
  const std::string mark = "\u2581";
  const auto tokenizer =
      Tokenizer::create(tiny_word_piece({mark + "un", "aff", "able", mark + ",", mark + "\u4F60", mark + "cafe"}));
  EXPECT_EQ(tokenizer->encode("UNaffable, caf\u00E9"), (Ids{4, 5, 6, 7, 9}));
  EXPECT_EQ(tokenizer->encode("xunx \u4F60\u4F60"), (Ids{1, 8, 8})) << "one unknown part makes the word unknown";
  EXPECT_EQ(tokenizer->encode("un", kAddSpecial), (Ids{2, 4, 3}));
  EXPECT_EQ(tokenizer->encode("un" + std::string(101, 'x')), (Ids{1}));
}

TEST(Tokenizer, RefusesDataThatContradictThemselves) {
  const auto refused = [](TokenizerData data, ErrorCode code) {
    try {
      Tokenizer::create(std::move(data));
    } catch (const Error& error) {
      return error.code == code && std::string(error.what()).size() > 10;
    }
    return false;
  };
  const TokenizerData good = tiny_byte_level("gpt-2", kMerges);
  TokenizerData bad = good;
  bad.merges.emplace_back("x y");
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile)) << "a merge to a token that is not there";
  bad = good;
  bad.merges.emplace_back("nospace");
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile));
  bad = good;
  bad.types.pop_back();
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile));
  bad = good;
  bad.eos = static_cast<TokenId>(good.tokens.size());
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile));
  bad = good;
  bad.tokens.clear();
  bad.types.clear();
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile));
  bad = good;
  bad.pre = "no-such-splitter";
  EXPECT_TRUE(refused(bad, ErrorCode::kUnsupported));
  bad = good;
  bad.model = "rwkv";
  EXPECT_TRUE(refused(bad, ErrorCode::kUnsupported));
  bad = tiny_sentence_piece({"a"});
  bad.scores.pop_back();
  EXPECT_TRUE(refused(bad, ErrorCode::kCorruptFile));
}

TEST(Tokenizer, AnAddedTokenOfHalfACharacterCutsNone) {
  TokenizerData data = tiny_word_piece({"\u2581a"});
  data.tokens.emplace_back("\xC3");
  data.types.push_back(TokenType::kUserDefined);
  EXPECT_EQ(Tokenizer::create(data)->encode("a \u00E9").size(), 2u);
}

TEST(Tokenizer, LongRunsTakeNotQuadraticTime) {
  // Quadratic merging of this would take minutes, not a test's time.
  const auto tokenizer = Tokenizer::create(tiny_byte_level("gpt-2", {"a a", "aa aa", "aaaa aaaa"}));
  const std::string text((size_t{1} << 20) + 3, 'a');
  const Ids ids = tokenizer->encode(text);
  EXPECT_EQ(ids.size(), (size_t{1} << 17) + 2);
  EXPECT_EQ(text_of(*tokenizer, ids), text);
}

TEST(Tokenizer, ManyThreadsMayUseOne) {
  const auto tokenizer = Tokenizer::create(tiny_byte_level("qwen2", kMerges));
  const std::string text = "hello world caf\u0065\u0301 <t> 123 \n\n hello";
  const Ids expected = tokenizer->encode(text);
  std::vector<std::thread> threads;
  std::vector<int> equal(4);
  for (size_t t = 0; t < equal.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) equal[t] += tokenizer->encode(text) == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 200));
}

constexpr std::string_view kJson = R"({
  "added_tokens": [
    {"id": 5, "content": "<s>", "special": true, "normalized": false},
    {"id": 6, "content": "<x>", "special": false, "lstrip": true, "rstrip": true, "normalized": false},
    {"id": 7, "content": "ab", "special": false, "single_word": true, "normalized": true}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
  "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "_+"}, "behavior": "MergedWithNext", "invert": false},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}},
  "model": {"type": "BPE", "unk_token": "?", "fuse_unk": true, "vocab": {"?": 0, "_": 1, "a": 2, "b": 3, "_b": 4}, "merges": [["_", "b"]]}})";

TEST(TokenizerJson, FollowsItsSteps) {
  const auto tokenizer = Tokenizer::create(tokenizer_data_from_json(kJson, R"({"bos_token": {"content": "<s>"}})"));
  EXPECT_EQ(tokenizer->encode("A bb"), (Ids{2, 4, 3}));
  EXPECT_EQ(tokenizer->encode("zz a"), (Ids{0, 1, 2})) << "unknown characters in a row are one";
  EXPECT_EQ(tokenizer->encode("a  <x> \n a"), (Ids{2, 6, 2})) << "takes the white space around it";
  EXPECT_EQ(tokenizer->encode("AB"), (Ids{7})) << "after the normalizers";
  EXPECT_EQ(tokenizer->encode("aab"), (Ids{2, 2, 3})) << "not inside of a word";
  EXPECT_EQ(tokenizer->encode("a", kAddSpecial), (Ids{5, 2}));
  EXPECT_EQ(tokenizer->data().bos, 5);
  EXPECT_TRUE(tokenizer->data().add_bos);
  EXPECT_TRUE(tokenizer->is_special(5));
  EXPECT_FALSE(tokenizer->is_special(6));
}

TEST(TokenizerJson, RefusesWhatItDoesNotKnow) {
  const auto message = [](std::string_view json) {
    try {
      Tokenizer::create(tokenizer_data_from_json(json));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(message("not json").find("not a tokenizer.json"), std::string::npos);
  EXPECT_NE(message(R"({"model": {"type": "Unigram", "vocab": []}})").find("'Unigram'"), std::string::npos);
  std::string json(kJson);
  json.replace(json.find("Lowercase"), 9, "Precompil");
  EXPECT_NE(message(json).find("'Precompil'"), std::string::npos);
  json = kJson;
  json.replace(json.find("_+"), 2, "(_");
  EXPECT_NE(message(json).find("expression"), std::string::npos);
  json = kJson;
  json.replace(json.find("\"ids\": [5]"), 10, "\"ids\": [9]");
  EXPECT_NE(message(json).find("token 9"), std::string::npos);
}

TEST(TokenizerJson, BacktrackingIsBounded) {
  std::string json(kJson);
  json.replace(json.find("_+"), 2, "(a+)+c");
  const auto tokenizer = Tokenizer::create(tokenizer_data_from_json(json));
  EXPECT_THROW(tokenizer->encode(std::string(60, 'a') + "!c"), Error);
}

}  // namespace
}  // namespace carronade
