#include "api/tokenize.h"

#include <gtest/gtest.h>

#include "api/json_fields.h"
#include "chat/testing.h"

namespace carronade {
namespace {

template <typename Parse>
std::string refused(Parse parse, std::string_view body) {
  try {
    parse(body);
    return "accepted";
  } catch (const Error& error) {
    return error.param;
  }
}

TEST(Tokenize, ReadsATextOrAConversation) {
  const auto text = parse_tokenize(R"({"prompt":"x","add_special_tokens":false,"return_token_strs":true,"model":"m"})");
  EXPECT_EQ(std::get<std::string>(std::get<TextPrompt>(text.input).text), "x");
  EXPECT_FALSE(std::get<TextPrompt>(text.input).add_special);
  EXPECT_TRUE(text.return_texts);
  EXPECT_EQ(text.model, "m");
  const auto chat = parse_tokenize(R"({"messages":[{"role":"user","content":"x"}],"add_generation_prompt":true})");
  EXPECT_EQ(std::get<PromptRequest>(chat.input).messages.at(0).content, "x");
  const auto open = parse_tokenize(
      R"({"messages":[{"role":"assistant","content":"x"}],"continue_final_message":true,"add_generation_prompt":false})");
  EXPECT_TRUE(std::get<PromptRequest>(open.input).continue_last);
  EXPECT_FALSE(std::get<PromptRequest>(open.input).add_generation_prompt);
}

TEST(Tokenize, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(refused(parse_tokenize, "{}"), "prompt");
  EXPECT_EQ(refused(parse_tokenize, R"({"prompt":5})"), "prompt");
  EXPECT_EQ(refused(parse_tokenize, R"({"prompt":"x","other":1})"), "other");
  EXPECT_EQ(refused(parse_tokenize, R"({"messages":[]})"), "messages");
  EXPECT_EQ(refused(parse_tokenize, R"({"messages":[{"role":"user","content":"x"}],"add_special_tokens":true})"),
            "add_special_tokens");
  EXPECT_EQ(refused(parse_detokenize, "{}"), "tokens");
  EXPECT_EQ(refused(parse_detokenize, R"({"tokens":[-1]})"), "tokens");
  EXPECT_EQ(refused(parse_detokenize, R"({"tokens":["x"]})"), "tokens");
}

TEST(Tokenize, CountsAndSpells) {
  const ByteTokenizer tokenizer({});
  const Json body = Json::parse(tokenize_body({'a', 'b'}, 100, &tokenizer));
  EXPECT_EQ(body, Json::parse(R"({"count":2,"max_model_len":100,"tokens":[97,98],"token_strs":["a","b"]})"));
  EXPECT_TRUE(Json::parse(tokenize_body({}, 100, nullptr))["token_strs"].is_null());
  EXPECT_EQ(parse_detokenize(R"({"tokens":[1,2]})").tokens, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(detokenize_body("x"), R"({"prompt":"x"})");
}

}  // namespace
}  // namespace carronade
