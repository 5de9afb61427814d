#include "chat/text_prompt.h"

#include <gtest/gtest.h>

#include "chat/testing.h"

namespace carronade {
namespace {

std::shared_ptr<ChatModel> model_with(std::vector<std::string> specials) {
  auto model = make_test_model(std::make_shared<ScriptedGenerator>(std::vector<TokenId>{}));
  model->tokenizer = std::make_shared<ByteTokenizer>(std::move(specials));
  return model;
}

std::string refused(const ChatModel& model, const TextPrompt& prompt) {
  try {
    build_text_prompt(model, prompt);
    return "accepted";
  } catch (const Error& error) {
    return error.param;
  }
}

TEST(TextPrompt, IsTheTextWithItsControlTokens) {
  const auto model = model_with({"<|x|>"});
  const Prompt prompt = build_text_prompt(*model, {"a<|x|>", std::nullopt});
  EXPECT_EQ(prompt.tokens, (std::vector<TokenId>{'a', ByteTokenizer::kFirstSpecial}));
  EXPECT_FALSE(prompt.thought_open);
  EXPECT_EQ(text_of(*model->tokenizer, prompt.tokens), "a<|x|>");
}

TEST(TextPrompt, TokensPassAsTheyAre) {
  const auto model = model_with({});
  EXPECT_EQ(build_text_prompt(*model, {std::vector<TokenId>{5, 6}, std::nullopt}).tokens, (std::vector<TokenId>{5, 6}));
  EXPECT_EQ(refused(*model, {std::vector<TokenId>{100'000}, std::nullopt}), "prompt");
  EXPECT_EQ(refused(*model, {std::string(), std::nullopt}), "prompt");
}

TEST(TextPrompt, AGapStandsBetweenTheModelsMarks) {
  const auto model = model_with({"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"});
  const TokenId first = ByteTokenizer::kFirstSpecial;
  EXPECT_EQ(build_text_prompt(*model, {"a", "b"}).tokens,
            (std::vector<TokenId>{first, 'a', first + 2, 'b', first + 1}));
  EXPECT_EQ(refused(*model_with({"<|fim_prefix|>"}), {"a", "b"}), "suffix");
}

TEST(TextPrompt, IsCutWhereTheRequestSaysSo) {
  const auto model = model_with({"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"});
  const auto cut = [&](TextPrompt prompt, int tokens, bool keep_first = false, int answer_tokens = 0) {
    prompt.cut = {tokens, keep_first, answer_tokens};
    return text_of(*model->tokenizer, build_text_prompt(*model, prompt).tokens);
  };
  EXPECT_EQ(cut({"abcdef", std::nullopt}, 3), "def");
  EXPECT_EQ(cut({"abcdef", std::nullopt}, 3, true), "abc");
  EXPECT_EQ(cut({"abcdef", std::nullopt}, 6), "abcdef");
  EXPECT_EQ(cut({std::vector<TokenId>{'a', 'b'}, std::nullopt}, 1), "b");
  model->max_model_len = 10;
  EXPECT_EQ(cut({"abcdefghijkl", std::nullopt}, -1, false, 4), "ghijkl");
  EXPECT_EQ(cut({"abcdefghijkl", std::nullopt}, -1, false, 1 << 30), "l");
  EXPECT_EQ(cut({"abcdef", "xy"}, -1, false, 3), "<|fim_prefix|>ef<|fim_suffix|>xy<|fim_middle|>");
}

TEST(TextPrompt, ACutTextKeepsItsFirstToken) {
  const auto model = model_with({});
  TokenizerData data;
  data.add_bos = true;
  data.bos = '^';
  model->tokenizer = std::make_shared<ByteTokenizer>(std::vector<std::string>{}, data);
  const auto cut = [&](int tokens, bool keep_first) {
    TextPrompt prompt{"^abcdef", std::nullopt};
    prompt.cut = {tokens, keep_first, 0};
    return text_of(*model->tokenizer, build_text_prompt(*model, prompt).tokens);
  };
  EXPECT_EQ(cut(3, false), "^ef");
  EXPECT_EQ(cut(1, false), "^");
  EXPECT_EQ(cut(3, true), "^ab");
}

}  // namespace
}  // namespace carronade
