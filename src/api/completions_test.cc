#include "api/completions.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace carronade {
namespace {

CompletionCall parse(std::string_view fields) { return parse_completion(fmt::format("{{{}}}", fields)); }

std::string refused(std::string_view fields) {
  try {
    parse(fields);
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << error.what();
    return error.param;
  }
}

ChatFinished finished(FinishReason reason = FinishReason::kLength) {
  ChatFinished result;
  result.reason = reason;
  result.usage = {2, 1, 3, 0};
  return result;
}

// A prompt "ab" of two tokens.
CompletionEncoder::EchoedPrompt prompt_ab() { return {"ab", {'a', 'b'}, "a"}; }

TEST(CompletionRequest, ReadsPromptsInTheirFourForms) {
  EXPECT_EQ(std::get<std::string>(parse(R"("prompt":"x")").prompts.at(0).text), "x");
  EXPECT_EQ(std::get<std::vector<TokenId>>(parse(R"("prompt":[1,2])").prompts.at(0).text),
            (std::vector<TokenId>{1, 2}));
  const auto texts = parse(R"("prompt":["x","y"])").prompts;
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(std::get<std::string>(texts[1].text), "y");
  const auto ids = parse(R"("prompt":[[1],[2,3]])").prompts;
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(std::get<std::vector<TokenId>>(ids[1].text), (std::vector<TokenId>{2, 3}));
}

TEST(CompletionRequest, ReadsWhatIsItsOwn) {
  const auto call = parse(
      R"("prompt":"x","suffix":"y","n":2,"logprobs":3,"add_special_tokens":false,"model":"m","temperature":0,"stop":"z","max_tokens":7)");
  EXPECT_EQ(call.prompts.at(0).suffix, "y");
  EXPECT_FALSE(call.prompts.at(0).add_special);
  EXPECT_EQ(call.reply.n, 2);
  EXPECT_EQ(call.reply.model, "m");
  EXPECT_EQ(call.options.sampling.logprobs, 3);
  EXPECT_EQ(call.options.sampling.max_tokens, 7);
  EXPECT_TRUE(call.options.plain);
  EXPECT_EQ(parse(R"("prompt":"x")").options.sampling.max_tokens, 16);
  const auto rated = parse(R"("prompt":"x","echo":true,"logprobs":2,"max_tokens":0)");
  EXPECT_TRUE(rated.echo && rated.only_prompt);
  EXPECT_EQ(rated.options.prompt_logprobs, 2);
  EXPECT_EQ(rated.options.sampling.max_tokens, 1);
}

TEST(CompletionRequest, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(refused(""), "prompt");
  for (const char* prompt : {"5", "[]", "[[]]", "[1,\"x\"]", "[\"x\",1]", "[-1]", "[[1,[2]]]", "{}", "[1.5]"})
    EXPECT_EQ(refused(fmt::format("\"prompt\":{}", prompt)), "prompt") << prompt;
  EXPECT_EQ(refused(R"("prompt":"x","max_tokens":0)"), "max_tokens");
  EXPECT_EQ(refused(R"("prompt":"x","logprobs":21)"), "logprobs");
  EXPECT_EQ(refused(R"("prompt":"x","logprobs":true)"), "logprobs");
  EXPECT_EQ(refused(R"("prompt":"x","echo":true,"suffix":"y")"), "echo");
  EXPECT_EQ(refused(R"("prompt":"x","echo":true,"logprobs":1,"stream":true)"), "echo");
  EXPECT_EQ(refused(R"("prompt":"x","messages":[])"), "messages");
  EXPECT_EQ(refused(R"("prompt":["x","y"],"suffix":"z")"), "suffix");
  EXPECT_EQ(refused(R"("prompt":["1","2","3","4","5"],"n":128)"), "prompt");
}

TEST(CompletionBody, HasAChoiceForEachAnswerToEachPrompt) {
  CompletionEncoder encoder(parse(R"("prompt":["ab","ab"],"n":2)"), {"m", "1", 123}, {prompt_ab(), prompt_ab()});
  for (int i = 0; i < 4; ++i) {
    encoder.collect(i, AnswerDelta{std::string(1, static_cast<char>('0' + i)), {}, 1});
    encoder.collect(i, finished());
  }
  const Json body = Json::parse(encoder.body());
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["id"], "cmpl-1");
  ASSERT_EQ(body["choices"].size(), 4u);
  EXPECT_EQ(body["choices"][3]["text"], "3");
  EXPECT_EQ(body["choices"][3]["index"], 3);
  EXPECT_EQ(body["choices"][3]["finish_reason"], "length");
  EXPECT_TRUE(body["choices"][3]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 4);  // two prompts of two
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
}

TEST(CompletionBody, EchoesAndRatesThePrompt) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","echo":true,"logprobs":1)"), {"m", "1", 123}, {prompt_ab()});
  encoder.collect(0, PromptDetails{{{'b', "b", -2.0f, {{'x', "x", -0.5f, {}, 1}}, 4}}});
  encoder.collect(0, AnswerDelta{"c", {{'c', "c", -0.25f, {{'c', "c", -0.25f, {}, 1}}, 1}}, 1});
  encoder.collect(0, finished());
  const Json choice = Json::parse(encoder.body())["choices"][0];
  EXPECT_EQ(choice["text"], "abc");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json({"a", "b", "c"}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 2}));
  EXPECT_EQ(logprobs["token_logprobs"], Json({nullptr, -2.0f, -0.25f}));
  EXPECT_EQ(logprobs["top_logprobs"], Json::parse(R"([null,{"x":-0.5,"b":-2.0},{"c":-0.25}])"));
}

TEST(CompletionBody, OfAPromptAloneHasNoAnswer) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","echo":true,"logprobs":0,"max_tokens":0)"), {"m", "1", 123},
                            {prompt_ab()});
  encoder.collect(0, PromptDetails{{{'b', "b", -2.0f, {}, 4}}});
  encoder.collect(0, AnswerDelta{"c", {{'c', "c", -0.25f, {}, 1}}, 1});
  encoder.collect(0, finished());
  const Json body = Json::parse(encoder.body());
  EXPECT_EQ(body["choices"][0]["text"], "ab");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"], Json({"a", "b"}));
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
}

std::vector<Json> frames_of(const std::string& text) {
  std::vector<Json> result;
  for (size_t from = 0, end = 0; (end = text.find("\n\n", from)) != std::string::npos; from = end + 2) {
    const std::string line = text.substr(from + 6, end - from - 6);
    result.push_back(line == "[DONE]" ? Json(line) : Json::parse(line));
  }
  return result;
}

TEST(CompletionStream, SendsTextAsItComesAndThePromptFirstWhenAsked) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","echo":true,"stream":true,"stream_options":{"include_usage":true})"),
                            {"m", "1", 123}, {prompt_ab()});
  std::string text = encoder.start_frames();
  text += encoder.frames(0, AnswerDelta{"c", {}, 1});
  text += encoder.frames(0, AnswerDelta{"d", {}, 2});
  text += encoder.frames(0, finished(FinishReason::kStop));
  text += encoder.end_frames();
  const auto frames = frames_of(text);
  ASSERT_EQ(frames.size(), 5u);
  EXPECT_EQ(frames[0]["choices"][0]["text"], "abc");
  EXPECT_EQ(frames[1]["choices"][0]["text"], "d");
  EXPECT_EQ(frames[2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(frames[3]["usage"]["total_tokens"], 5);
  EXPECT_EQ(frames[4], "[DONE]");
}

TEST(CompletionStream, CountsOffsetsOverItsFrames) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","logprobs":0,"stream":true)"), {"m", "1", 123}, {prompt_ab()});
  encoder.frames(0, AnswerDelta{"cd", {{'c', "c", -0.5f, {}, 1}, {'d', "d", -0.5f, {}, 1}}, 2});
  const auto frames = frames_of(encoder.frames(0, AnswerDelta{"e", {{'e', "e", -0.5f, {}, 1}}, 3}));
  EXPECT_EQ(frames.at(0)["choices"][0]["logprobs"]["text_offset"], Json({2}));
}

TEST(CompletionRequest, ReadsHowALongPromptIsCut) {
  const auto cut = [](std::string_view fields) {
    return parse(fmt::format(R"("prompt":"x",{})", fields)).prompts.at(0).cut;
  };
  EXPECT_FALSE(parse(R"("prompt":"x")").prompts.at(0).cut);
  EXPECT_EQ(cut(R"("truncate_prompt_tokens":5)")->tokens, 5);
  EXPECT_FALSE(cut(R"("truncate_prompt_tokens":5,"truncation_side":"left")")->keep_first);
  EXPECT_TRUE(cut(R"("truncate_prompt_tokens":5,"truncation_side":"right")")->keep_first);
  EXPECT_EQ(cut(R"("truncate_prompt_tokens":-1,"max_tokens":9)")->answer_tokens, 9);
  for (const std::string_view wrong : {R"("truncate_prompt_tokens":0)", R"("truncate_prompt_tokens":-2)"})
    EXPECT_EQ(refused(fmt::format(R"("prompt":"x",{})", wrong)), "truncate_prompt_tokens");
  EXPECT_EQ(refused(R"("prompt":"x","truncation_side":"left")"), "truncation_side");
  EXPECT_EQ(refused(R"("prompt":"x","truncate_prompt_tokens":5,"truncation_side":"up")"), "truncation_side");
}

TEST(CompletionStream, CarriesTheIdsOfAllTokens) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","return_token_ids":true,"stream":true)"), {"m", "1", 123},
                            {prompt_ab()});
  std::string text = encoder.frames(0, AnswerDelta{"", {}, 1, {1}});  // nothing to show yet
  EXPECT_EQ(text, "");
  text += encoder.frames(0, AnswerDelta{"é", {}, 2, {2}});
  ChatFinished end = finished(FinishReason::kStop);
  end.token_ids = {9};
  text += encoder.frames(0, end);
  const size_t middle = text.find("\n\n");
  const Json first = Json::parse(text.substr(6, middle - 6)), last = Json::parse(text.substr(middle + 8));
  EXPECT_EQ(first["choices"][0]["prompt_token_ids"], Json({'a', 'b'}));
  EXPECT_EQ(first["choices"][0]["token_ids"], Json({1, 2}));
  EXPECT_EQ(last["choices"][0]["token_ids"], Json({9}));
  EXPECT_FALSE(last["choices"][0].contains("prompt_token_ids"));
}

TEST(CompletionBody, CarriesTheIdsOfAllTokens) {
  CompletionEncoder encoder(parse(R"("prompt":"ab","return_token_ids":true)"), {"m", "1", 123}, {prompt_ab()});
  encoder.collect(0, AnswerDelta{"x", {}, 1, {1}});
  ChatFinished end = finished(FinishReason::kStop);
  end.token_ids = {9};
  encoder.collect(0, end);
  const Json choice = Json::parse(encoder.body())["choices"][0];
  EXPECT_EQ(choice["prompt_token_ids"], Json({'a', 'b'}));
  EXPECT_EQ(choice["token_ids"], Json({1, 9}));
}

}  // namespace
}  // namespace carronade
