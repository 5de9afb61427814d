#include "server/stream_route.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/testing.h"
#include "chat/testing.h"
#include "server/http_server.h"
#include "server/openai_routes.h"
#include "server/websocket_testing.h"
#include "workspace/key_ring.h"
#include "workspace/testing.h"

namespace carronade {
namespace {

using Json = nlohmann::ordered_json;

std::string ask(const std::string& fields = "") {
  return R"({"messages":[{"role":"user","content":"Hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
}

class StreamRouteTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  void start(std::string_view script = "Yes<|im_end|>", bool unlimited = true, HttpServerOptions options = {}) {
    generator_ = std::make_shared<ScriptedGenerator>(test_tokens(script), unlimited);
    add_openai_routes(router_, state_);
    server_ = std::make_unique<HttpServer>(router_, std::move(options));
    port_ = server_->listen({.kind = ListenerKind::kApi});
    server_->start();
    serve_test_model(*state_, generator_);
  }
  // The chunks' texts up to the end of this request; the message that ended it is kept.
  std::string text_of(WebSocketClient& client, const std::string& field = "content") {
    std::string text;
    for (last_ = client.read(); last_["type"] == "chunk"; last_ = client.read()) {
      const auto& choice = last_["chunk"]["choices"][0];
      text += choice["delta"].value(field, "");
      if (!choice["finish_reason"].is_null()) reason_ = choice["finish_reason"];
    }
    return text;
  }

  // In the midst of a thought.
  void expect_answer_now(std::string_view message) {
    start("<think>abcdef", false);
    WebSocketClient client(port_);
    client.send(ask(R"("id":"a")"));
    client.read();
    generator_->allow(3);
    std::string thought;
    while (thought != "ab") thought += client.read()["chunk"]["choices"][0]["delta"].value("reasoning", "");
    client.send(R"({"type":"answer_now","id":"b"})");  // nobody's
    client.send(message);
    client.send("{}");  // answered in order, so that those before it have been read
    EXPECT_EQ(client.read()["error"]["param"], "messages");
    generator_->allow(20);
    EXPECT_EQ(text_of(client), "def");
  }

  Json last_;
  std::string reason_;
  std::shared_ptr<ScriptedGenerator> generator_;
  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

TEST_F(StreamRouteTest, AnswersABodyAsItIs) {
  start();
  WebSocketClient client(port_);
  for (int i = 0; i < 2; ++i) {
    client.send(ask());
    EXPECT_EQ(text_of(client), "Yes");
    EXPECT_EQ(reason_, "stop");
    EXPECT_EQ(last_["type"], "done");
    EXPECT_EQ(last_["usage"]["completion_tokens"], 3);
  }
}

TEST_F(StreamRouteTest, SaysTheRequestsNameInEachMessage) {
  start();
  WebSocketClient client(port_);
  client.send(ask(R"("id":"a","n":2,"stream_options":{"include_usage":true})"));
  std::set<int> choices;
  Json message = client.read();
  for (; message["type"] == "chunk"; message = client.read()) {
    EXPECT_EQ(message["id"], "a");
    EXPECT_TRUE(message["chunk"]["id"].get<std::string>().starts_with("chatcmpl-"));
    EXPECT_EQ(message["chunk"]["object"], "chat.completion.chunk");
    for (const auto& choice : message["chunk"]["choices"]) choices.insert(choice["index"].get<int>());
  }
  EXPECT_EQ(choices, (std::set<int>{0, 1}));
  EXPECT_EQ(message["type"], "done");
  EXPECT_EQ(message["id"], "a");
}

TEST_F(StreamRouteTest, RunsSeveralAtOnceAndCancelsOneOfThem) {
  start("Yes<|im_end|>", false);
  WebSocketClient client(port_);
  client.send(ask(R"("id":"a")"));
  client.send(ask(R"("id":"b")"));
  EXPECT_EQ(client.read()["id"], "a");
  EXPECT_EQ(client.read()["id"], "b");
  client.send(R"({"type":"cancel","id":"nobody"})");
  client.send(R"({"type":"cancel","id":"a"})");
  reason_.clear();
  EXPECT_EQ(text_of(client), "");
  EXPECT_EQ(reason_, "abort");
  EXPECT_EQ(last_["id"], "a");
  EXPECT_EQ(last_["type"], "done");
  generator_->allow(9);
  EXPECT_EQ(text_of(client), "Yes");
  EXPECT_EQ(last_["id"], "b");
}

TEST_F(StreamRouteTest, CancelWithoutANameMeansAll) {
  start("Yes<|im_end|>", false);
  WebSocketClient client(port_);
  client.send(ask(R"("id":"a")"));
  client.send(ask());
  client.read();
  client.read();
  client.send(R"({"type":"cancel"})");
  client.read_until("done");
  client.read_until("done");
  generator_->wait_for_cancelled(2);
}

TEST_F(StreamRouteTest, AnswerNowEndsTheThought) { expect_answer_now(R"({"type":"answer_now","id":"a"})"); }
TEST_F(StreamRouteTest, AnswerNowWithoutANameMeansAll) { expect_answer_now(R"({"type":"answer_now"})"); }

TEST_F(StreamRouteTest, ErrorsHaveTheNameAndEndNothingElse) {
  start("Yes<|im_end|>", false);
  WebSocketClient client(port_);
  const auto error_of = [&](const std::string& message) {
    client.send(message);
    Json reply = client.read();
    EXPECT_EQ(reply["type"], "error");
    return reply;
  };
  Json error = error_of("not JSON");
  EXPECT_TRUE(error["id"].is_null());
  EXPECT_EQ(error["error"]["code"], 400);
  error = error_of(ask(R"("id":"a","temperature":"hot")"));
  EXPECT_EQ(error["id"], "a");
  EXPECT_EQ(error["error"]["param"], "temperature");
  error = error_of(ask(R"("id":"a","model":"other")"));
  EXPECT_EQ(error["error"]["code"], 404);
  EXPECT_EQ(error_of(ask(R"("id":"a","stop":[""])"))["error"]["param"], "stop");
  EXPECT_EQ(error_of(ask(R"("stream":false)"))["error"]["param"], "stream");

  client.send(ask(R"("id":"a")"));
  EXPECT_EQ(client.read()["type"], "chunk");
  error = error_of(ask(R"("id":"a")"));
  EXPECT_TRUE(error["id"].is_null());  // the running one has not ended
  EXPECT_EQ(error["error"]["param"], "id");
  EXPECT_TRUE(error_of(R"({"id":"a"})")["id"].is_null());
  generator_->allow(9);
  EXPECT_EQ(text_of(client), "Yes");
}

TEST_F(StreamRouteTest, AFullQueueIsAnError) {
  start();
  generator_->refuse();
  WebSocketClient client(port_);
  client.send(ask(R"("id":"a")"));
  const Json error = client.read();
  EXPECT_EQ(error["error"]["code"], 503);
  EXPECT_EQ(error["retry_after"], 1);
  EXPECT_EQ(error["id"], "a");
}

TEST_F(StreamRouteTest, OnlySoManyRunAtOnce) {
  start("Yes<|im_end|>", false, {.limits = {.websocket_answers = 2}});
  WebSocketClient client(port_);
  for (const char* id : {"a", "b", "c"}) client.send(ask(R"("id":")" + std::string(id) + '"'));
  EXPECT_EQ(client.read()["id"], "a");
  EXPECT_EQ(client.read()["id"], "b");
  const Json error = client.read();
  EXPECT_EQ(error["id"], "c");
  EXPECT_EQ(error["error"]["code"], 429);
  generator_->allow(99);
  client.read_until("done");
  client.send(ask(R"("id":"c")"));
  while (client.read_until("done")["id"] != "c") {
  }
}

TEST_F(StreamRouteTest, AClientThatLeavesFreesTheModel) {
  start("Yes<|im_end|>", false);
  {
    WebSocketClient client(port_);
    client.send(ask());
    client.send(ask());
    client.read();
    client.read();
  }
  generator_->wait_for_cancelled(2);  // no token was ever allowed
  while (state_->running_answers > 0) std::this_thread::yield();
}

TEST_F(StreamRouteTest, TheServersEndLetsAnswersEndOrEndsThem) {
  start("Yes<|im_end|>", false);
  WebSocketClient client(port_);
  client.send(ask(R"("id":"a")"));
  client.read();
  generator_->allow(1);
  EXPECT_EQ(client.read()["chunk"]["choices"][0]["delta"]["content"], "Y");
  state_->draining();
  client.send(ask(R"("id":"b")"));
  EXPECT_EQ(client.read()["error"]["code"], 503);
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::milliseconds(0))); });
  EXPECT_EQ(text_of(client), "");
  EXPECT_EQ(reason_, "abort");
  EXPECT_EQ(last_["type"], "done");
  EXPECT_EQ(client.read_close(), 1001);
  stopping.join();
}

TEST_F(StreamRouteTest, EachRequestIsCounted) {
  start();
  WebSocketClient client(port_);
  client.send(ask());
  text_of(client);
  client.send("no");
  client.read();
  uint64_t good = 0, bad = 0;
  for (const Route& route : router_.routes()) {
    if (route.path != "/v1/stream") continue;
    for (const auto& reading : route.metrics->readings()) {
      if (reading.method != "POST") continue;
      for (const auto& [status, count] : reading.statuses) (status == "2xx" ? good : bad) += count;
    }
  }
  EXPECT_EQ(good, 1u);
  EXPECT_EQ(bad, 1u);
}

// ---- Who may

class StreamAccessTest : public StreamRouteTest {
 protected:
  std::string add(const std::string& name, const ApiKeyRow& row = {}) { return add_key(store_, name, row); }
  void start_with_keys(HttpServerOptions options = {}) {
    keys_ = std::make_shared<KeyRing>(std::vector<std::string>{"operator"}, database_,
                                      KeyRingOptions{std::chrono::milliseconds(0), [this] { return now_; }});
    options.keys = keys_;
    start("Yes<|im_end|>", true, std::move(options));
  }
  static std::string bearer(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }
  static std::string subprotocol(const std::string& token) {
    return "Sec-WebSocket-Protocol: carronade.stream.v1, openai-insecure-api-key." + token + "\r\n";
  }

  TemporaryDirectory directory_;
  std::shared_ptr<Database> database_ = Database::open(directory_.path());
  ApiKeyStore store_{database_};
  Moment now_{std::chrono::seconds(20'000 * 86'400 + 43'200)};
  std::shared_ptr<KeyRing> keys_;
};

TEST_F(StreamAccessTest, AKeyIsAHeaderOrASubprotocol) {
  const std::string token = add("alice"), admin = add("admin", {.scopes = static_cast<KeyScopes>(KeyScope::kAdmin)});
  start_with_keys();
  EXPECT_EQ(WebSocketClient(port_).status(), 401);
  EXPECT_EQ(WebSocketClient(port_, bearer("wrong")).status(), 401);
  EXPECT_EQ(WebSocketClient(port_, subprotocol("wrong")).status(), 401);
  EXPECT_EQ(WebSocketClient(port_, bearer("wrong") + subprotocol(token)).status(), 401);
  EXPECT_EQ(WebSocketClient(port_, "", "/v1/stream?api_key=" + token).status(), 401);
  EXPECT_EQ(WebSocketClient(port_, bearer(admin)).status(), 403);
  EXPECT_EQ(WebSocketClient(port_, bearer(token)).status(), 101);
  WebSocketClient browser(port_, subprotocol(token));
  EXPECT_EQ(browser.status(), 101);
  EXPECT_EQ(header_of(browser.head(), "Sec-WebSocket-Protocol"), "carronade.stream.v1");
  EXPECT_EQ(browser.head().find(token), std::string::npos);
  browser.send(ask());
  EXPECT_EQ(text_of(browser), "Yes");
  EXPECT_EQ(generator_->last_tenant().id, keys_->find(token).key->tenant().id);
  // A key of this kind is for WebSockets alone.
  EXPECT_EQ(status_of(Client(port_).send(get("/v1/models", subprotocol(token))).read_answer()), 401);
}

TEST_F(StreamAccessTest, EachRequestIsLetInByItself) {
  const std::string token = add("alice", {.requests_per_minute = 2});
  start_with_keys();
  WebSocketClient client(port_, bearer(token));
  for (int i = 0; i < 2; ++i) {
    client.send(ask());
    EXPECT_EQ(text_of(client), "Yes");
  }
  client.send(ask(R"("id":"third")"));
  Json error = client.read();
  EXPECT_EQ(error["id"], "third");
  EXPECT_EQ(error["error"]["code"], 429);
  EXPECT_EQ(error["retry_after"], 30);
  client.send(R"({"type":"cancel"})");  // costs nothing
  now_ += std::chrono::seconds(60);
  client.send(ask());
  EXPECT_EQ(text_of(client), "Yes");
  store_.revoke("alice", 5);
  keys_->synchronize();
  client.send(ask());
  error = client.read();
  EXPECT_EQ(error["error"]["code"], 401);
  EXPECT_NE(error["error"]["message"].get<std::string>().find("revoked"), std::string::npos);
}

TEST_F(StreamAccessTest, WhatAnswersUseIsPaid) {
  const std::string token = add("alice");
  start_with_keys();
  WebSocketClient client(port_, bearer(token));
  client.send(ask());
  text_of(client);
  const Json usage = last_["usage"];
  client.leave();
  EXPECT_TRUE(server_->stop(std::chrono::seconds(10)));
  keys_->synchronize();
  const auto used = store_.usage_since(0);
  ASSERT_EQ(used.size(), 1u);
  EXPECT_EQ(used[0].requests, 1);
  EXPECT_EQ(used[0].prompt_tokens, usage["prompt_tokens"].get<int64_t>());
  EXPECT_EQ(used[0].completion_tokens, usage["completion_tokens"].get<int64_t>());
}

TEST_F(StreamRouteTest, PagesOfOtherOriginsAreRefused) {
  start("Yes<|im_end|>", true, {.cors = {.origins = {"https://app.example"}}});
  EXPECT_EQ(WebSocketClient(port_, "Origin: http://evil.example\r\n").status(), 403);
  EXPECT_EQ(WebSocketClient(port_, "Origin: null\r\n").status(), 403);
  EXPECT_EQ(WebSocketClient(port_, "Origin: http://localhost:1\r\n").status(), 403);
  EXPECT_EQ(WebSocketClient(port_, "Origin: https://app.example\r\n").status(), 101);
  EXPECT_EQ(WebSocketClient(port_, "Origin: http://localhost\r\n").status(), 101);  // the Host that is asked
  EXPECT_EQ(status_of(Client(port_)
                          .send("GET /v1/stream HTTP/1.1\r\nHost: evil.example\r\n" +
                                std::string(WebSocketClient::kUpgrade) + "\r\n")
                          .read_answer()),
            403);
}

TEST_F(StreamRouteTest, WithoutAnUpgradeItSaysWhatItIs) {
  start();
  const std::string answer = Client(port_).send(get("/v1/stream")).read_answer();
  EXPECT_EQ(status_of(answer), 426);
  EXPECT_EQ(header_of(answer, "Upgrade"), "websocket");
  EXPECT_NE(body_of(answer)["error"]["message"].get<std::string>().find("WebSocket"), std::string::npos);
}

}  // namespace
}  // namespace carronade
