#include "api/stream_messages.h"

#include <gtest/gtest.h>

#include "api/openai.h"
#include "api/stream_framing.h"

namespace carronade {
namespace {

constexpr std::string_view kMessages = R"("messages":[{"role":"user","content":"Hi"}])";

StreamMessage parse(const std::string& fields) { return parse_stream_message("{" + fields + "}"); }
Error error_in(const std::string& text) {
  const StreamMessage message = parse_stream_message(text);
  const Error* error = std::get_if<Error>(&message.what);
  return error ? *error : Error(ErrorCode::kInternal, "no error");
}

TEST(StreamMessages, ABodyAsItIsIsARequest) {
  const StreamMessage message = parse(std::string(kMessages) + R"(,"model":"m","n":2,"temperature":0.5)");
  EXPECT_EQ(message.id, "");
  const auto& call = std::get<ChatCompletionCall>(message.what);
  EXPECT_TRUE(call.reply.stream);
  EXPECT_EQ(call.reply.model, "m");
  EXPECT_EQ(call.reply.n, 2);
  EXPECT_EQ(call.request.messages.at(0).content, "Hi");
}

TEST(StreamMessages, ARequestMayHaveANameAndSayWhatItIs) {
  const StreamMessage message = parse(
      R"("type":"request","id":"a","stream":true,"stream_options":{"include_usage":true},)" + std::string(kMessages));
  EXPECT_EQ(message.id, "a");
  EXPECT_TRUE(std::get<ChatCompletionCall>(message.what).reply.include_usage);
}

TEST(StreamMessages, CancelAndAnswerNowNameARequestOrNone) {
  EXPECT_TRUE(std::holds_alternative<CancelAnswer>(parse(R"("type":"cancel","id":"a")").what));
  EXPECT_EQ(parse(R"("type":"cancel","id":"a")").id, "a");
  const StreamMessage all = parse(R"("type":"answer_now")");
  EXPECT_TRUE(std::holds_alternative<AnswerNow>(all.what));
  EXPECT_EQ(all.id, "");
}

TEST(StreamMessages, WhatIsWrongNamesItsField) {
  const std::string messages(kMessages);
  EXPECT_EQ(error_in("{" + messages + R"(,"stream":false})").param, "stream");
  EXPECT_EQ(error_in("{" + messages + R"(,"id":7})").param, "id");
  EXPECT_EQ(error_in("{" + messages + R"(,"id":""})").param, "id");
  EXPECT_EQ(error_in("{" + messages + R"(,"id":")" + std::string(65, 'x') + R"("})").param, "id");
  EXPECT_EQ(error_in(R"({"type":"stop"})").param, "type");
  EXPECT_EQ(error_in(R"({"type":5})").param, "type");
  EXPECT_EQ(error_in(R"({"type":"cancel","ids":["a"]})").param, "ids");
  EXPECT_EQ(error_in(R"({"id":"a"})").param, "messages");
  EXPECT_EQ(error_in("{" + messages + R"(,"temprature":1})").param, "temprature");
  for (const char* text : {"", "null", "[]", "\"x\"", "{", "{}}", "\xff"}) {
    EXPECT_EQ(error_in(text).code, ErrorCode::kInvalidArgument) << text;
  }
}

TEST(StreamMessages, AWrongRequestKeepsItsName) { EXPECT_EQ(parse(R"("id":"a","temperature":"hot")").id, "a"); }

TEST(StreamMessages, ErrorsAreTheDialectsOwnWithTheName) {
  const Json named = Json::parse(stream_error_message("a", openai_error_body(429, "too many"), 30));
  EXPECT_EQ(named["type"], "error");
  EXPECT_EQ(named["id"], "a");
  EXPECT_EQ(named["error"]["message"], "too many");
  EXPECT_EQ(named["error"]["code"], 429);
  EXPECT_EQ(named["retry_after"], 30);
  const Json unnamed = Json::parse(stream_error_message("", openai_error_body(400, "no")));
  EXPECT_TRUE(unnamed["id"].is_null());
  EXPECT_FALSE(unnamed.contains("retry_after"));
}

TEST(MessageFraming, IsALineForEachMessageAndOneEnd) {
  const auto framing = make_message_framing("a \"quoted\"\nname");
  const std::string chunk = framing->chunk({{"choices", Json::array({"two\nlines"})}});
  EXPECT_EQ(chunk.find('\n'), chunk.size() - 1);
  const Json parsed = Json::parse(chunk);
  EXPECT_EQ(parsed["type"], "chunk");
  EXPECT_EQ(parsed["id"], "a \"quoted\"\nname");
  EXPECT_EQ(parsed["chunk"]["choices"][0], "two\nlines");
  const Json done = Json::parse(framing->end({3, 0, 2, 1}));
  EXPECT_EQ(done["type"], "done");
  EXPECT_EQ(done["usage"]["total_tokens"], 5);
  EXPECT_EQ(framing->end({}), "");
}

TEST(MessageFraming, NothingFollowsAnError) {
  const auto framing = make_message_framing("a");
  EXPECT_EQ(Json::parse(framing->error(Error(ErrorCode::kInternal, "it broke")))["error"]["code"], 500);
  EXPECT_EQ(framing->chunk({}), "");
  EXPECT_EQ(framing->error(Error(ErrorCode::kInternal, "again")), "");
  EXPECT_EQ(framing->end({}), "");
}

// A stream's frames, as the encoder writes them with this framing, are those of server-sent events.
TEST(MessageFraming, CarriesTheSameChunksAsEvents) {
  const ChatCompletionCall call = parse_chat_completion("{" + std::string(kMessages) + R"(,"stream":true,"n":2})");
  const AnswerHead head{"m", "1", 7};
  ChatCompletionEncoder events(call, head, 3), messages(call, head, 3, make_message_framing("a"));
  const auto all = [](ChatCompletionEncoder& encoder) {
    std::string text = encoder.start_frames();
    text += encoder.frames(1, AnswerDelta{"Yes", {}, 1});
    text += encoder.frames(0, ReasoningDelta{"Hm", 1});
    ChatFinished finished;
    finished.usage = {3, 0, 1, 0};
    text += encoder.frames(0, finished);
    text += encoder.frames(1, finished);
    return text + encoder.end_frames();
  };
  std::string expected, unwrapped, text = all(events);
  for (size_t at = 0, end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
    expected += text.substr(at + 6, end - at - 6) + "\n";
  }
  text = all(messages);
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const Json message = Json::parse(text.substr(at, end - at));
    EXPECT_EQ(message["id"], "a");
    unwrapped += message["type"] == "done" ? "[DONE]\n" : message["chunk"].dump() + "\n";
  }
  EXPECT_EQ(unwrapped, expected);
}

}  // namespace
}  // namespace carronade
