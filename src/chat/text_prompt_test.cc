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

}  // namespace
}  // namespace carronade
