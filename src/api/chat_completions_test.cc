#include "api/chat_completions.h"

#include <gtest/gtest.h>

#include <set>

#include <fmt/format.h>

namespace carronade {
namespace {

constexpr std::string_view kHi = R"("messages":[{"role":"user","content":"Hi"}])";

std::string body_with(std::string_view fields) {
  return "{" + std::string(kHi) + (fields.empty() ? "" : ",") + std::string(fields) + "}";
}

ChatCompletionCall parse(std::string_view fields) { return parse_chat_completion(body_with(fields)); }

// The field that a body is refused for, with "!" before errors of another kind.
std::string refused(const std::string& body) {
  try {
    parse_chat_completion(body);
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << error.what();
    EXPECT_TRUE(error.param.empty() || std::string(error.what()).find(error.param) != std::string::npos)
        << error.what();
    return error.param;
  }
}
std::string refused_with(std::string_view fields) { return refused(body_with(fields)); }

TEST(ChatCompletionRequest, ReadsEveryFieldItHonours) {
  const auto call =
      parse(R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"typical_p":0.8,"presence_penalty":1,
      "frequency_penalty":-1.5,"repetition_penalty":1.1,"seed":-7,"stop":["a","b"],"stop_token_ids":[5],"include_stop_str_in_output":true,
      "max_completion_tokens":12,"max_tokens":12,"min_tokens":3,"ignore_eos":true,"logit_bias":{"17":-100},"logprobs":true,"top_logprobs":4,
      "n":3,"best_of":3,"skip_special_tokens":false,"return_tokens_as_token_ids":true,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
      "chat_template_kwargs":{"enable_thinking":false},"include_reasoning":false,"thinking_token_budget":9,"bad_words":["x","y z"],"dry_multiplier":0.8,
      "dry_base":1.5,"dry_allowed_length":3,"dry_penalty_last_n":-1,"dry_sequence_breakers":["\n"])");
  const SamplingOptions& sampling = call.request.sampling;
  EXPECT_EQ(call.reply.model, "m");
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.1f);
  EXPECT_EQ(sampling.typical_p, 0.8f);
  EXPECT_EQ(sampling.presence_penalty, 1.0f);
  EXPECT_EQ(sampling.frequency_penalty, -1.5f);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-7));
  EXPECT_EQ(call.request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(sampling.stop_token_ids, std::vector<TokenId>{5});
  EXPECT_TRUE(call.request.include_stop);
  EXPECT_EQ(sampling.max_tokens, 12);
  EXPECT_EQ(sampling.min_tokens, 3);
  EXPECT_EQ(sampling.ignore_eos, true);
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{17, -100.0f}}));
  EXPECT_EQ(sampling.logprobs, 4);
  EXPECT_EQ(sampling.bad_words, (std::vector<std::string>{"x", "y z"}));
  EXPECT_EQ(sampling.dry_multiplier, 0.8f);
  EXPECT_EQ(sampling.dry_base, 1.5f);
  EXPECT_EQ(sampling.dry_allowed_length, 3);
  EXPECT_EQ(sampling.dry_penalty_last_n, -1);
  EXPECT_EQ(sampling.dry_sequence_breakers, std::vector<std::string>{"\n"});
  EXPECT_TRUE(call.reply.stream && call.reply.include_usage && call.reply.continuous_usage && !call.include_reasoning);
  EXPECT_EQ(call.request.template_arguments["enable_thinking"], false);
  EXPECT_EQ(call.request.thinking_budget, 9);
  EXPECT_EQ(call.reply.n, 3);
  EXPECT_TRUE(call.request.show_special_tokens && call.reply.tokens_as_ids);
  EXPECT_EQ(parse(R"("prompt_logprobs":2)").request.prompt_logprobs, 2);
}

TEST(ChatCompletionRequest, ReadsWhatVllmHasBeside) {
  const auto call =
      parse(R"("return_token_ids":true,"allowed_token_ids":[7,5,7],"cache_salt":"s","priority":3,"request_id":"my-1",
      "documents":[{"title":"t","text":"x"}],"add_generation_prompt":false,"return_prompt_text":true,"thinking_token_budget":-1)");
  EXPECT_TRUE(call.reply.token_ids && call.request.token_ids && call.request.background && call.prompt_text);
  EXPECT_EQ(*call.request.allowed_token_ids, (std::vector<TokenId>{5, 7}));
  EXPECT_EQ(call.request.cache_salt, "s");
  EXPECT_EQ(call.reply.request_id, "my-1");
  EXPECT_EQ(call.request.documents[0]["text"], "x");
  EXPECT_FALSE(call.request.add_generation_prompt || call.request.continue_last || call.request.thinking_budget);
  EXPECT_EQ(call.role, "user");  // whose turn goes on
  const auto plain = parse("");
  EXPECT_TRUE(plain.request.add_generation_prompt);
  EXPECT_FALSE(plain.request.background || plain.request.allowed_token_ids || plain.reply.token_ids);
  EXPECT_EQ(plain.role, "assistant");
  EXPECT_FALSE(parse(R"("priority":0)").request.background);
  const auto low = parse(R"("priority":1)"), flex = parse(R"("service_tier":"flex")");
  EXPECT_TRUE(low.request.background && !low.reply.background);
  EXPECT_TRUE(flex.request.background && flex.reply.background);
  EXPECT_EQ(parse(R"("reasoning_effort":"low","thinking_token_budget":-1)").request.thinking_budget, std::nullopt);
}

TEST(ChatCompletionRequest, AContinuedMessageHasNoNewTurn) {
  constexpr std::string_view kTurns =
      R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"So"}],)";
  const auto turns = [&](std::string_view fields) {
    return parse_chat_completion(std::string(kTurns) + std::string(fields) + "}");
  };
  const auto call = turns(R"("continue_final_message":true)");
  EXPECT_TRUE(call.request.continue_last);
  EXPECT_FALSE(call.request.add_generation_prompt);
  EXPECT_EQ(call.echo, "");
  EXPECT_EQ(turns(R"("continue_final_message":true,"add_generation_prompt":false,"echo":true)").echo, "So");
  EXPECT_EQ(turns(R"("echo":true)").echo, "So");  // a new turn of the same role
  EXPECT_EQ(parse(R"("echo":true)").echo, "");    // of another
  EXPECT_EQ(refused(std::string(kTurns) + R"("continue_final_message":true,"add_generation_prompt":true})"),
            "continue_final_message");
}

TEST(ChatCompletionRequest, ReadsHowMuchToThink) {
  const auto low = parse(R"("reasoning_effort":"low")").request;
  EXPECT_EQ(low.thinking_budget, 512);
  EXPECT_EQ(low.template_arguments["reasoning_effort"], "low");
  EXPECT_EQ(low.template_arguments["enable_thinking"], true);
  const auto none = parse(R"("reasoning_effort":"none")").request;
  EXPECT_EQ(none.thinking_budget, 0);
  EXPECT_EQ(none.template_arguments["enable_thinking"], false);
  EXPECT_FALSE(parse(R"("reasoning_effort":"high")").request.thinking_budget);
  const auto exact =
      parse(R"("reasoning_effort":"none","thinking_token_budget":5,"chat_template_kwargs":{"enable_thinking":true})")
          .request;
  EXPECT_EQ(exact.thinking_budget, 5);
  EXPECT_EQ(exact.template_arguments["enable_thinking"], true);
  EXPECT_EQ(refused_with(R"("reasoning_effort":"some")"), "reasoning_effort");
}

TEST(ChatCompletionRequest, LeavesUnsetWhatIsAbsentOrNull) {
  const auto call = parse(R"("temperature":null,"stop":null,"max_tokens":null,"tools":null,"stream_options":null)");
  EXPECT_FALSE(call.request.sampling.temperature || call.request.sampling.max_tokens ||
               call.request.sampling.logprobs || call.reply.stream);
  EXPECT_TRUE(call.reply.model.empty() && call.request.stop.empty());
}

TEST(ChatCompletionRequest, ReadsMessagesInTheirForms) {
  const auto call = parse_chat_completion(R"({"messages":[
      {"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":"c","reasoning":"r"}, {"role":"assistant","content":null,"reasoning_content":"s","tool_calls":null},
      {"role":"user","content":"","name":"Ann"}, {"role":"tool","content":"t","tool_call_id":"1"}]})");
  const auto& messages = call.request.messages;
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].content, "a\nb");
  EXPECT_EQ(messages[1].reasoning, "r");
  EXPECT_EQ(messages[2].reasoning, "s");
  EXPECT_EQ(messages[3].name, "Ann");
  EXPECT_EQ(messages[4].role, "tool");
}

TEST(ChatCompletionRequest, NamesTheFieldOfAWrongType) {
  for (const char* field : {"temperature",
                            "top_p",
                            "top_k",
                            "min_p",
                            "typical_p",
                            "presence_penalty",
                            "frequency_penalty",
                            "repetition_penalty",
                            "seed",
                            "max_tokens",
                            "max_completion_tokens",
                            "min_tokens",
                            "ignore_eos",
                            "logprobs",
                            "n",
                            "stream",
                            "chat_template_kwargs",
                            "logit_bias",
                            "stream_options",
                            "stop_token_ids",
                            "bad_words",
                            "dry_multiplier",
                            "dry_base",
                            "dry_allowed_length",
                            "dry_penalty_last_n",
                            "dry_sequence_breakers",
                            "include_reasoning",
                            "include_stop_str_in_output"}) {
    EXPECT_EQ(refused_with(fmt::format("\"{}\":\"5\"", field)), field);
  }
  EXPECT_EQ(refused_with(R"("model":5)"), "model");
  EXPECT_EQ(refused_with(R"("stop":5)"), "stop");
  EXPECT_EQ(refused_with(R"("stop":["a",5])"), "stop");
  EXPECT_EQ(refused_with(R"("max_tokens":1.5)"), "max_tokens");
  EXPECT_EQ(refused_with(R"("max_tokens":1e300)"), "max_tokens");
  EXPECT_EQ(refused_with(R"("max_tokens":99999999999)"), "max_tokens");
  EXPECT_EQ(refused_with(R"("max_tokens":0)"), "max_tokens");
  EXPECT_EQ(refused_with(R"("temperature":true)"), "temperature");
  EXPECT_EQ(refused_with(R"("logit_bias":{"x":1})"), "logit_bias");
  EXPECT_EQ(refused_with(R"("logit_bias":{"1":"x"})"), "logit_bias");
  EXPECT_EQ(refused_with(R"("stop_token_ids":[-1])"), "stop_token_ids");
  EXPECT_EQ(refused_with(R"("bad_words":[5])"), "bad_words");
  EXPECT_EQ(refused_with(R"("dry_sequence_breakers":[null])"), "dry_sequence_breakers");
  EXPECT_EQ(refused_with(R"("dry_penalty_last_n":-2)"), "dry_penalty_last_n");
  EXPECT_EQ(refused_with(R"("allowed_token_ids":[])"), "allowed_token_ids");
  EXPECT_EQ(refused_with(R"("allowed_token_ids":["x"])"), "allowed_token_ids");
  EXPECT_EQ(refused_with(R"("cache_salt":"")"), "cache_salt");
  EXPECT_EQ(refused_with(R"("priority":-1)"), "priority");
  EXPECT_EQ(refused_with(R"("request_id":"a b")"), "request_id");
  EXPECT_EQ(refused_with(R"("request_id":"")"), "request_id");
  EXPECT_EQ(refused_with(R"("documents":["x"])"), "documents[0]");
  EXPECT_EQ(refused_with(R"("documents":[{"text":5}])"), "documents[0].text");
  EXPECT_EQ(refused_with(R"("thinking_token_budget":-2)"), "thinking_token_budget");
  EXPECT_EQ(refused_with(R"("n":0)"), "n");
  EXPECT_EQ(refused_with(R"("n":129)"), "n");
  EXPECT_EQ(refused_with(R"("n":2,"best_of":3)"), "best_of");
  EXPECT_EQ(refused_with(R"("prompt_logprobs":21)"), "prompt_logprobs");
  EXPECT_EQ(refused_with(R"("prompt_logprobs":1,"stream":true)"), "prompt_logprobs");
  EXPECT_EQ(refused_with(R"("top_logprobs":2)"), "top_logprobs");
  EXPECT_EQ(refused_with(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs");
  EXPECT_EQ(refused_with(R"("max_tokens":5,"max_completion_tokens":6)"), "max_completion_tokens");
  EXPECT_EQ(refused_with(R"("stream_options":{"include_usage":true})"), "stream_options");
  EXPECT_EQ(refused_with(R"("stream":true,"stream_options":{"other":true})"), "stream_options.other");
}

TEST(ChatCompletionRequest, NamesThePlaceInAMessage) {
  const auto message = [](std::string_view json) {
    return refused(R"({"messages":[{"role":"user","content":"x"},)" + std::string(json) + "]}");
  };
  EXPECT_EQ(message("5"), "messages[1]");
  EXPECT_EQ(message(R"({"content":"x"})"), "messages[1].role");
  EXPECT_EQ(message(R"({"role":"king","content":"x"})"), "messages[1].role");
  EXPECT_EQ(message(R"({"role":"user"})"), "messages[1].content");
  EXPECT_EQ(message(R"({"role":"user","content":5})"), "messages[1].content");
  EXPECT_EQ(message(R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]})"),
            "messages[1].content[0].type");
  EXPECT_EQ(message(R"({"role":"user","content":[{"type":"text"}]})"), "messages[1].content[0].text");
  EXPECT_EQ(message(R"({"role":"user","content":["x"]})"), "messages[1].content[0]");
  EXPECT_EQ(message(R"({"role":"assistant","content":"x","tool_calls":[{"id":"1"}]})"), "messages[1].tool_calls");
  EXPECT_EQ(message(R"({"role":"user","content":"x","contnet":"y"})"), "messages[1].contnet");
  EXPECT_EQ(refused("{}"), "messages");
  EXPECT_EQ(refused(R"({"messages":[]})"), "messages");
  EXPECT_EQ(refused(R"({"messages":"Hi"})"), "messages");
}

TEST(ChatCompletionRequest, NothingThatIsDocumentedIsIgnoredInSilence) {
  std::set<std::string_view> names;
  for (const auto& rule : chat_completion_fields()) {
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name << " twice";
    const std::string field = fmt::format("\"{}\":", rule.name);
    EXPECT_FALSE(rule.why.empty()) << rule.name;
    if (rule.use == FieldUse::kHonoured) {
      EXPECT_TRUE(Json::parse(rule.schema).is_object()) << rule.name;
      continue;
    }
    EXPECT_EQ(refused_with(field + R"({"asks":["for","something"]})"),
              rule.use == FieldUse::kRefused ? rule.name : "accepted");
    if (rule.use == FieldUse::kRefused) {
      EXPECT_EQ(refused_with(field + "{}"), rule.name);  // to some, an object without fields asks for the defaults
    }
    for (const std::string_view nothing : {std::string_view("null"), std::string_view("[]"), rule.neutral}) {
      if (nothing.empty()) continue;
      EXPECT_EQ(refused_with(field + std::string(nothing)), "accepted") << rule.name;
    }
  }
  EXPECT_EQ(refused_with(R"("temprature":1)"), "temprature");
  try {
    parse(R"("temprature":1)");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean temperature?"), std::string::npos);
  }
}

TEST(ChatCompletionRequest, ManyFieldsCostLittle) {
  const auto object = [](int fields) {
    std::string text;
    for (int i = 0; i < fields; ++i) text += fmt::format("{}\"k{}\":1", i == 0 ? '{' : ',', i);
    text += '}';
    return text;
  };
  EXPECT_EQ(refused_with(R"("metadata":)" + object(1024)), "accepted");
  EXPECT_EQ(refused_with(R"("metadata":)" + object(1025)), "");
  EXPECT_EQ(refused(object(1'000'000)), "");
  std::string many = object(1000);
  for (int i = 0; i < 200; ++i) many += fmt::format(",{}", object(1000));
  EXPECT_EQ(refused_with(fmt::format(R"("metadata":[{}])", many)), "");
  EXPECT_EQ(refused_with(R"("metadata":{"a":"::::::::::"})"), "accepted");
}

TEST(ChatCompletionRequest, SurvivesHostileBodies) {
  EXPECT_EQ(refused(""), "");
  EXPECT_EQ(refused("{"), "");
  EXPECT_EQ(refused("[]"), "");
  EXPECT_EQ(refused("\xff\xfe{}"), "");
  EXPECT_EQ(refused(R"({"messages":[{"role":"user","content":")"
                    "\xc3"
                    R"("}]})"),
            "");
  EXPECT_EQ(refused(std::string(1 << 20, '[')), "");
  EXPECT_EQ(refused(body_with("\"metadata\":" + std::string(50'000, '[') + std::string(50'000, ']'))), "");
  EXPECT_EQ(refused(body_with("\"user\":\"" + std::string(50'000, '[') + "\"")), "accepted");
}

// ---- Answers

ChatFinished finished(FinishReason reason) {
  ChatFinished result;
  result.reason = reason;
  result.usage = {10, 4, 5, 2};
  return result;
}

std::vector<Json> frames_of(const std::string& text) {
  std::vector<Json> result;
  for (size_t from = 0; from < text.size();) {
    const size_t end = text.find("\n\n", from);
    EXPECT_NE(end, std::string::npos);
    const std::string line = text.substr(from, end - from);
    EXPECT_TRUE(line.starts_with("data: "));
    result.push_back(line == "data: [DONE]" ? Json("[DONE]") : Json::parse(line.substr(6)));
    from = end + 2;
  }
  return result;
}

TEST(ChatCompletionStream, HasTheFramesThatClientsExpect) {
  const auto call = parse(R"("stream":true,"stream_options":{"include_usage":true})");
  ChatCompletionEncoder encoder(call, {"m", "1", 123}, 10);
  std::string text = encoder.start_frames();
  text += encoder.frames(0, ReasoningDelta{"hm", 1});
  text += encoder.frames(0, AnswerDelta{"Yes", {}, 2});
  text += encoder.frames(0, finished(FinishReason::kStop));
  text += encoder.end_frames();
  const auto frames = frames_of(text);
  ASSERT_EQ(frames.size(), 6u);
  EXPECT_EQ(frames[0]["choices"][0]["delta"], Json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(frames[1]["choices"][0]["delta"], Json({{"reasoning", "hm"}, {"reasoning_content", "hm"}}));
  EXPECT_EQ(frames[2]["choices"][0]["delta"], Json({{"content", "Yes"}}));
  EXPECT_EQ(frames[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(frames[3]["choices"][0]["delta"], Json::object());
  EXPECT_EQ(frames[4]["choices"], Json::array());
  EXPECT_EQ(frames[4]["usage"]["total_tokens"], 15);
  EXPECT_EQ(frames[4]["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
  EXPECT_EQ(frames[4]["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
  EXPECT_EQ(frames[5], "[DONE]");
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(frames[i]["id"], "chatcmpl-1");
    EXPECT_EQ(frames[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(frames[i]["created"], 123);
    EXPECT_EQ(frames[i]["model"], "m");
    if (i == 4) continue;
    EXPECT_TRUE(frames[i]["usage"].is_null() && frames[i].contains("usage"));
  }
}

TEST(ChatCompletionStream, CarriesTheIdsOfAllTokens) {
  const auto call =
      parse(R"("stream":true,"return_token_ids":true,"return_prompt_text":true,"include_reasoning":false)");
  ChatCompletionEncoder encoder(call, {"m", "1", 123}, 2, make_event_framing(), {{5, 6}, "ab"});
  std::string text = encoder.start_frames();
  text += encoder.frames(0, ReasoningDelta{"hm", 2, {1, 2}});
  text += encoder.frames(0, AnswerDelta{"Yes", {}, 3, {3}});
  ChatFinished end = finished(FinishReason::kStop);
  end.token_ids = {4, 9};
  text += encoder.frames(0, end) + encoder.end_frames();
  const auto frames = frames_of(text);
  ASSERT_EQ(frames.size(), 4u);
  EXPECT_EQ(frames[0]["prompt_token_ids"], Json({5, 6}));
  EXPECT_EQ(frames[0]["prompt_text"], "ab");
  EXPECT_EQ(frames[1]["choices"][0]["token_ids"], Json({1, 2, 3}));  // those of the thought that is not sent
  EXPECT_EQ(frames[2]["choices"][0]["token_ids"], Json({4, 9}));
  EXPECT_FALSE(frames[1].contains("prompt_token_ids") || frames[2].contains("prompt_text"));
}

TEST(ChatCompletionBody, CarriesTheIdsOfAllTokensOnlyWhenAskedFor) {
  const auto body = [](std::string_view fields) {
    ChatCompletionEncoder encoder(parse(fields), {"m", "1", 123}, 2, make_event_framing(), {{5, 6}, "ab"});
    encoder.collect(0, ReasoningDelta{"hm", 2, {1, 2}});
    encoder.collect(0, AnswerDelta{"Yes", {}, 3, {3}});
    ChatFinished end = finished(FinishReason::kStop);
    end.token_ids = {9};
    encoder.collect(0, end);
    return Json::parse(encoder.body());
  };
  const Json asked = body(R"("return_token_ids":true)");
  EXPECT_EQ(asked["prompt_token_ids"], Json({5, 6}));
  EXPECT_EQ(asked["choices"][0]["token_ids"], Json({1, 2, 3, 9}));
  EXPECT_FALSE(asked.contains("prompt_text"));
  const Json plain = body("");
  EXPECT_FALSE(plain.contains("prompt_token_ids") || plain["choices"][0].contains("token_ids"));
}

TEST(ChatCompletionBody, BeginsWithTheMessageThatItEchoes) {
  const auto call = parse_chat_completion(
      R"({"messages":[{"role":"user","content":"So"}],"add_generation_prompt":false,"echo":true})");
  ChatCompletionEncoder encoder(call, {"m", "1", 123}, 10);
  const auto first = frames_of(encoder.start_frames())[0]["choices"][0]["delta"];
  EXPECT_EQ(first, Json({{"role", "user"}, {"content", "So"}}));
  encoder.collect(0, AnswerDelta{" on", {}, 1});
  encoder.collect(0, finished(FinishReason::kStop));
  const Json message = Json::parse(encoder.body())["choices"][0]["message"];
  EXPECT_EQ(message["content"], "So on");
  EXPECT_EQ(message["role"], "user");
}

TEST(ChatCompletionStream, MixesSeveralAnswersAndCountsThePromptOnce) {
  ChatCompletionEncoder encoder(parse(R"("n":2,"stream":true,"stream_options":{"include_usage":true})"),
                                {"m", "1", 123}, 10);
  std::string text = encoder.start_frames();
  text += encoder.frames(1, AnswerDelta{"B", {}, 1});
  text += encoder.frames(0, AnswerDelta{"A", {}, 1});
  text += encoder.frames(1, finished(FinishReason::kLength));
  text += encoder.frames(0, finished(FinishReason::kStop));
  text += encoder.end_frames();
  const auto frames = frames_of(text);
  ASSERT_EQ(frames.size(), 8u);
  std::vector<int> indices;
  for (size_t i = 0; i < 6; ++i) indices.push_back(frames[i]["choices"][0]["index"]);
  EXPECT_EQ(indices, (std::vector<int>{0, 1, 1, 0, 1, 0}));
  EXPECT_EQ(frames[4]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(frames[6]["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(frames[6]["usage"]["completion_tokens"], 10);
  EXPECT_EQ(frames[7], "[DONE]");
}

TEST(ChatCompletionStream, EndsInAnErrorFrameWhenTheModelFails) {
  ChatCompletionEncoder encoder(parse(R"("stream":true)"), {"m", "1", 123}, 10);
  ChatFinished failed = finished(FinishReason::kFailed);
  failed.error = Error(ErrorCode::kInternal, "no");
  const auto frames = frames_of(encoder.frames(0, failed) + encoder.end_frames());
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0]["error"]["code"], 500);
  EXPECT_EQ(frames[1], "[DONE]");
}

TEST(ChatCompletionStream, EndsProperlyWhenCancelled) {
  ChatCompletionEncoder encoder(parse(R"("stream":true)"), {"m", "1", 123}, 10);
  const auto frames = frames_of(encoder.frames(0, finished(FinishReason::kCancelled)) + encoder.end_frames());
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0]["choices"][0]["finish_reason"], "abort");
}

TEST(ChatCompletionBody, CarriesAnswerThoughtLogprobsAndStopReason) {
  ChatCompletionEncoder encoder(parse(R"("logprobs":true,"top_logprobs":1)"), {"m", "1", 123}, 10);
  encoder.collect(0, ReasoningDelta{"hm", 1});
  encoder.collect(0, AnswerDelta{"Y", {{7, "Y", -0.25f, {{7, "Y", -0.25f, {}, 1}, {8, "N", -2.0f, {}, 2}}, 1}}, 2});
  encoder.collect(0, AnswerDelta{"es", {{9, "e\xc3", -0.5f, {}, 1}}, 3});
  ChatFinished end = finished(FinishReason::kStop);
  end.stop_string = "END";
  encoder.collect(0, end);
  const Json body = Json::parse(encoder.body());
  const Json& choice = body["choices"][0];
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(choice["message"]["content"], "Yes");
  EXPECT_EQ(choice["message"]["reasoning"], "hm");
  EXPECT_EQ(choice["message"]["reasoning_content"], "hm");
  EXPECT_EQ(choice["stop_reason"], "END");
  const Json& logprobs = choice["logprobs"]["content"];
  ASSERT_EQ(logprobs.size(), 2u);
  EXPECT_EQ(logprobs[0]["top_logprobs"].size(), 1u);
  EXPECT_EQ(logprobs[0]["logprob"], -0.25f);
  EXPECT_EQ(logprobs[1]["bytes"], Json({0x65, 0xc3}));  // the text of half a character is replaced, its bytes are not
}

TEST(ChatCompletionBody, RatesThePromptAsVllmDoes) {
  ChatCompletionEncoder encoder(parse(R"("prompt_logprobs":1,"n":2)"), {"m", "1", 123}, 3);
  encoder.collect(0, PromptDetails{{{5, "b", -3.0f, {{6, "c", -0.1f, {}, 1}, {7, "d", -2.5f, {}, 2}}, 3}}});
  encoder.collect(1, AnswerDelta{"two", {}, 1});
  encoder.collect(0, finished(FinishReason::kStop));
  encoder.collect(1, finished(FinishReason::kStop));
  const Json body = Json::parse(encoder.body());
  EXPECT_EQ(body["choices"][1]["message"]["content"], "two");
  const Json& rated = body["prompt_logprobs"];
  ASSERT_EQ(rated.size(), 2u);
  EXPECT_TRUE(rated[0].is_null());
  EXPECT_EQ(rated[1].size(), 2u);  // the token itself, and the most probable one
  EXPECT_EQ(rated[1]["5"]["rank"], 3);
  EXPECT_EQ(rated[1]["6"]["decoded_token"], "c");
}

TEST(ChatCompletionBody, SpellsTokensAsIdsWhenAsked) {
  ChatCompletionEncoder encoder(parse(R"("logprobs":true,"return_tokens_as_token_ids":true)"), {"m", "1", 123}, 3);
  encoder.collect(0, AnswerDelta{"Y", {{7, "Y", -0.25f, {}, 1}}, 1});
  encoder.collect(0, finished(FinishReason::kStop));
  EXPECT_EQ(Json::parse(encoder.body())["choices"][0]["logprobs"]["content"][0]["token"], "token_id:7");
}

}  // namespace
}  // namespace carronade
