#include "server/http_server.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "base/error.h"
#include "chat/testing.h"
#include "server/model_wait.h"
#include "server/openai_routes.h"
#include "server/testing.h"
#include "server/web_assets.h"
#include "workspace/key_ring.h"

namespace carronade {
namespace {

class HttpServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  void start(std::string_view script = "Yes<|im_end|>", bool unlimited = true, HttpLimits limits = {},
             const std::string& key = "") {
    generator_ = std::make_shared<ScriptedGenerator>(test_tokens(script), unlimited);
    add_openai_routes(router_, state_);
    add_web_routes(router_);
    std::shared_ptr<KeyRing> keys;
    if (!key.empty()) keys = std::make_shared<KeyRing>(std::vector<std::string>{key}, nullptr);
    server_ = std::make_unique<HttpServer>(router_, HttpServerOptions{.keys = keys, .limits = limits});
    api_ = server_->listen({.kind = ListenerKind::kApi, .port_flag = "--port"});
    page_ = server_->listen({.kind = ListenerKind::kPage, .port_flag = "--ui-port"});
    server_->start();
  }
  void make_ready() { serve_test_model(*state_, generator_); }
  void start_ready(std::string_view script = "Yes<|im_end|>", bool unlimited = true, HttpLimits limits = {},
                   const std::string& key = "") {
    start(script, unlimited, limits, key);
    make_ready();
  }
  std::string ask(uint16_t port, const std::string& bytes) { return Client(port).send(bytes).read_answer(); }

  std::shared_ptr<ScriptedGenerator> generator_;
  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
  std::unique_ptr<HttpServer> server_;
  uint16_t api_ = 0, page_ = 0;
};

TEST_F(HttpServerTest, HealthTellsProgressThenIsEmpty) {
  start();
  state_->loading("m", "loading", 1, 4);
  std::string answer = ask(api_, get("/health"));
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_EQ(body_of(answer)["progress"], 0.25);
  EXPECT_EQ(status_of(ask(api_, post(kChat))), 503);
  make_ready();
  answer = ask(page_, get("/health"));
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_NE(answer.find("Content-Length: 0"), std::string::npos);
}

TEST_F(HttpServerTest, AnswersOnOneConnectionAfterAnother) {
  start_ready();
  Client client(api_);
  for (int i = 0; i < 3; ++i) {
    const std::string answer = client.send(post(kChat)).read_answer();
    EXPECT_EQ(status_of(answer), 200);
    EXPECT_EQ(body_of(answer)["choices"][0]["message"]["content"], "Yes");
  }
  client.send(get("/health") + get("/v1/models"));  // both at once
  EXPECT_EQ(status_of(client.read_answer()), 200);
  EXPECT_EQ(body_of(client.read_answer())["data"][0]["id"], "tiny");
}

TEST_F(HttpServerTest, StreamsAsTheModelGoes) {
  start_ready("Yes<|im_end|>", false);
  Client client(api_);
  client.send(post(kStream));
  ASSERT_TRUE(client.read_until("\"role\":\"assistant\""));
  EXPECT_EQ(client.received().find("\"Y\""), std::string::npos);
  generator_->allow(1);
  ASSERT_TRUE(client.read_until("\"content\":\"Y\""));
  generator_->allow(9);
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n\r\n0\r\n\r\n"));
  EXPECT_NE(client.received().find("\"finish_reason\":\"stop\""), std::string::npos);
  EXPECT_EQ(status_of(Client(api_).send(get("/health")).read_answer()), 200);
}

TEST_F(HttpServerTest, AClientThatLeavesFreesTheModel) {
  start_ready("Yes<|im_end|>", false);
  for (const std::string_view body : {kStream, kChat}) {
    Client client(api_);
    client.send(post(body));
    if (body == kStream) {
      ASSERT_TRUE(client.read_until("assistant"));
    }
    client.close();
  }
  generator_->wait_for_cancelled(
      2);  // no token was ever allowed: nothing but the closed connection can have ended them
  generator_->allow(9);
  EXPECT_EQ(status_of(ask(api_, post(kChat))), 200);
}

TEST_F(HttpServerTest, StopLetsAnswersEndOrEndsThemProperly) {
  start_ready("Yes<|im_end|>", false);
  Client idle(api_), streaming(api_), waiting(api_);
  idle.send(get("/health"));
  idle.read_answer();
  streaming.send(post(kStream));
  ASSERT_TRUE(streaming.read_until("assistant"));
  generator_->allow(1);
  ASSERT_TRUE(streaming.read_until("\"Y\""));
  waiting.send(post(kChat));
  while (state_->running_answers < 2) std::this_thread::yield();
  EXPECT_TRUE(server_->stop(std::chrono::milliseconds(0)));
  EXPECT_EQ(idle.read_to_end(), "");
  const std::string stream = streaming.read_to_end();
  EXPECT_NE(stream.find("\"finish_reason\":\"abort\""), std::string::npos) << stream;
  EXPECT_TRUE(stream.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
  EXPECT_EQ(status_of(waiting.read_to_end()), 503);  // half an answer must not look like a whole one
  EXPECT_THROW(Client{api_}, std::runtime_error);
}

TEST_F(HttpServerTest, StopWaitsForAnswersWithinTheGrace) {
  start_ready("Yes<|im_end|>", false);
  Client client(api_);
  client.send(post(kStream));
  ASSERT_TRUE(client.read_until("assistant"));
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::seconds(60))); });
  generator_->allow(9);
  EXPECT_NE(client.read_to_end().find("\"finish_reason\":\"stop\""), std::string::npos);
  stopping.join();
}

TEST_F(HttpServerTest, SaysThatItEndsAsLongAsAnswersRun) {
  start_ready("Yes<|im_end|>", false);
  Client streaming(api_), kept(api_);
  kept.send(get("/health"));
  EXPECT_EQ(status_of(kept.read_answer()), 200);
  streaming.send(post(kStream));
  ASSERT_TRUE(streaming.read_until("assistant"));
  state_->draining();
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::seconds(60))); });
  // Until stop() has begun, a connection is kept for the next request; afterwards, closed behind the answer.
  while (kept.send(get("/health")).read_answer().find("Connection: close") == std::string::npos) {
  }
  for (const uint16_t port : {api_, page_}) {
    const std::string health = ask(port, get("/health"));
    EXPECT_EQ(status_of(health), 503);
    EXPECT_NE(health.find("shutting down"), std::string::npos) << health;
    EXPECT_EQ(status_of(ask(port, post(kChat))), 503);
  }
  generator_->allow(9);
  EXPECT_NE(streaming.read_to_end().find("\"finish_reason\":\"stop\""), std::string::npos);
  stopping.join();
  EXPECT_THROW(Client{api_}, std::runtime_error);
}

// A client that sends all before it looks for an answer, as Python's urllib does, must be able to.
TEST_F(HttpServerTest, ReadsOnPastARefusalSoThatItCanBeRead) {
  start_ready();
  const std::string large(8 << 20, ' '), too_large(32 << 20, ' ');
  for (const auto& [status, request] :
       {std::pair{413, post(too_large)}, std::pair{415, post(large, "Content-Type: text/plain\r\n")}}) {
    Client client(api_);
    EXPECT_TRUE(client.send_all(request));
    const std::string answer = client.read_to_end();
    EXPECT_EQ(status_of(answer), status);
    EXPECT_FALSE(body_of(answer)["error"]["message"].empty());
  }
}

TEST_F(HttpServerTest, ReadsOnWithinLimits) {
  HttpLimits limits;
  limits.body_bytes = 10'000;
  limits.linger_bytes = 1 << 20;
  start_ready("Yes<|im_end|>", true, limits);
  EXPECT_FALSE(Client(api_).send_all(post(std::string(64 << 20, ' '))));
}

TEST_F(HttpServerTest, UnknownPathsAndMethodsAreErrorsOfTheDialect) {
  start_ready();
  std::string answer = ask(api_, get("/v1/nothing"));
  EXPECT_EQ(status_of(answer), 404);
  EXPECT_EQ(body_of(answer)["error"]["code"], 404);
  answer = ask(api_, get("/v1/chat/completions"));
  EXPECT_EQ(status_of(answer), 405);
  EXPECT_NE(answer.find("Allow: OPTIONS, POST"), std::string::npos);
  answer = ask(api_, "OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(status_of(answer), 204);
  EXPECT_EQ(answer.find("Access-Control"), std::string::npos);
  answer = Client(api_).send("HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").read_to_end();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
  EXPECT_EQ(status_of(ask(api_, get("/"))), 404);
  EXPECT_EQ(body_of(ask(api_, get("/v1/models/other")))["error"]["param"], "model");
  EXPECT_EQ(body_of(ask(api_, get("/v1/models/tiny")))["id"], "tiny");
  EXPECT_EQ(status_of(ask(api_, post(R"({"model":"other","messages":[{"role":"user","content":"x"}]})"))), 404);
}

TEST_F(HttpServerTest, AsksForTheKeyEverywhereButHealthAndThePagesFiles) {
  start_ready("Yes<|im_end|>", true, {}, "secret");
  for (const uint16_t port : {api_, page_}) {
    for (const auto& route : router_.routes()) {
      const bool open = route.path == "/health" || route.path == "/*";
      EXPECT_EQ(route.needs_key, !open) << route.path;
    }
    EXPECT_EQ(status_of(ask(port, get("/health"))), 200);
    for (const char* header :
         {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer secrets\r\n", "Authorization: secret\r\n"}) {
      EXPECT_EQ(status_of(ask(port, get("/v1/models", header))), 401) << header;
    }
    EXPECT_EQ(status_of(ask(port, get("/v1/models", "Authorization: bearer secret\r\n"))), 200);
    EXPECT_EQ(status_of(Client(port).send(post(kChat)).read_answer()), 401);
  }
}

TEST_F(HttpServerTest, OnLoopbackOnlyLoopbackNamesAreServed) {
  start_ready();
  const auto with_host = [&](const std::string& host) {
    return status_of(ask(api_, "GET /v1/models HTTP/1.1\r\nHost: " + host + "\r\n\r\n"));
  };
  for (const char* host : {"localhost", "LOCALHOST:8000", "127.0.0.1:7860", "127.0.0.2", "[::1]:8000", "a.localhost"})
    EXPECT_EQ(with_host(host), 200) << host;
  for (const char* host : {"evil.example", "127.evil.example", "localhost.evil.example", "192.168.1.5", ""})
    EXPECT_EQ(with_host(host), 403) << host;
  EXPECT_EQ(status_of(ask(api_, "GET /v1/models HTTP/1.1\r\n\r\n")), 400);
  EXPECT_EQ(status_of(Client(api_).send("GET /health HTTP/1.0\r\n\r\n").read_to_end()), 200);  // as balancers ask
  EXPECT_EQ(status_of(ask(api_, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")), 400);
}

TEST_F(HttpServerTest, PostsMustBeJson) {
  start_ready();
  EXPECT_EQ(status_of(ask(api_, post(kChat, "Content-Type: text/plain\r\n"))), 415);
  EXPECT_EQ(status_of(ask(api_, post(kChat, ""))), 415);
  EXPECT_EQ(status_of(ask(api_, post(kChat, "Content-Type: Application/JSON; charset=utf-8\r\n"))), 200);
  EXPECT_EQ(status_of(ask(api_, post("{\"messages\":"))), 400);
}

TEST_F(HttpServerTest, LimitsWhatItReads) {
  HttpLimits limits;
  limits.header_bytes = 4096;
  limits.body_bytes = 10'000;
  start_ready("Yes<|im_end|>", true, limits);
  EXPECT_EQ(status_of(ask(api_, get("/health", "X: " + std::string(5000, 'x') + "\r\n"))), 431);
  EXPECT_EQ(status_of(ask(api_, post(std::string(20'000, ' ')))), 413);
  EXPECT_EQ(status_of(ask(api_, post("", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"))), 400);
  EXPECT_EQ(status_of(ask(api_, std::string(1000, '\x01') + "\r\n\r\n")), 400);
  EXPECT_EQ(status_of(ask(api_, "GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")), 400);
  EXPECT_EQ(status_of(ask(api_, get("/health"))), 200);
}

TEST_F(HttpServerTest, ClosesConnectionsThatDawdle) {
  HttpLimits limits;
  limits.idle_time = limits.header_time = limits.body_time = std::chrono::seconds(1);
  start_ready("Yes<|im_end|>", true, limits);
  Client idle(api_), header(api_), body(api_);
  header.send("GET /health HTTP/1.1\r\nHos");
  body.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "99\r\n\r\n{");
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_EQ(header.read_to_end(), "");
  EXPECT_EQ(body.read_to_end(), "");
}

TEST_F(HttpServerTest, ContinuesOnlyWhatWouldBeTaken) {
  start_ready();
  const std::string head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " +
      std::to_string(kChat.size()) + "\r\n";
  Client client(api_);
  client.send(head + "Content-Type: application/json\r\n\r\n");
  ASSERT_TRUE(client.read_until("100 Continue\r\n\r\n"));
  client.send(kChat);
  ASSERT_TRUE(client.read_until("HTTP/1.1 200"));
  EXPECT_EQ(status_of(ask(api_, head + "Content-Type: text/plain\r\n\r\n")), 415);
}

TEST_F(HttpServerTest, SpeaksTheOlderProtocolToo) {
  start_ready();
  const std::string body(kStream);
  const std::string answer = Client(api_)
                                 .send(
                                     "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: "
                                     "application/json\r\nContent-Length: " +
                                     std::to_string(body.size()) + "\r\n\r\n" + body)
                                 .read_to_end();
  EXPECT_TRUE(answer.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
}

// Writes without end until it is told that nobody reads.
struct Flood : std::enable_shared_from_this<Flood> {
  std::shared_ptr<Exchange> exchange;
  std::promise<AbortReason> told;
  bool over = false;
  void begin() {
    exchange->start_stream({});
    exchange->on_abort([self = shared_from_this()](AbortReason reason) {
      self->over = true;
      self->told.set_value(reason);
    });
    more();
  }
  void more() {
    exchange->write(std::string(64 << 10, 'x'));
    if (!over) exchange->post([self = shared_from_this()] { self->more(); });
  }
};

TEST_F(HttpServerTest, AStreamThatNobodyReadsIsCutOff) {
  const auto flood = std::make_shared<Flood>();
  router_.add({.method = "GET",
               .path = "/flood",
               .handler = [flood](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
                 flood->exchange = exchange;
                 flood->begin();
               }});
  start_ready();
  Client client(api_);
  client.send(get("/flood"));  // and never reads
  EXPECT_EQ(flood->told.get_future().get(), AbortReason::kDisconnected);
  // The strand still holds the flood for a moment; the exchange must be gone before the server is.
  std::promise<void> released;
  flood->exchange->post([&] {
    flood->exchange.reset();
    released.set_value();
  });
  released.get_future().get();
}

TEST_F(HttpServerTest, WhatTakesLongToReadKeepsNobodyWaiting) {
  std::promise<void> gate;
  const std::shared_future<void> open = gate.get_future().share();
  router_.add({.method = "GET",
               .path = "/slow",
               .handler = [open](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
                 exchange->compute([open, exchange]() -> std::function<void()> {
                   open.wait();
                   return
                       [exchange] { exchange->respond({.status = 204, .headers = {}, .body = {}, .static_body = {}}); };
                 });
               }});
  start_ready();
  Client slow(api_), patient(api_), broken(api_);
  slow.send(get("/slow"));
  const std::string padding(kReadAtOnceBytes, ' ');
  patient.send(post(padding + std::string(kChat)));
  broken.send(post(padding + R"({"messages":1})"));
  Client(api_).send(post(padding + std::string(kStream)));  // and away
  for (int i = 0; i < 20; ++i) EXPECT_EQ(status_of(ask(api_, get("/health"))), 200);
  EXPECT_EQ(status_of(ask(api_, post(kChat))), 200);
  gate.set_value();
  EXPECT_EQ(status_of(slow.read_answer()), 204);
  EXPECT_EQ(status_of(broken.read_answer()), 400);
  const std::string answer = patient.read_answer();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(body_of(answer)["choices"][0]["message"]["content"], "Yes");
}

TEST_F(HttpServerTest, AClientThatLeavesBeforeItsLongBodyIsReadFreesTheModel) {
  start_ready("Yes<|im_end|>", false);  // no token is allowed: an answer would never end by itself
  for (int i = 0; i < 20; ++i) Client(api_).send(post(std::string(kReadAtOnceBytes, ' ') + std::string(kStream)));
  EXPECT_TRUE(server_->stop(std::chrono::seconds(60)));
  EXPECT_EQ(state_->running_answers, 0);
}

TEST_F(HttpServerTest, HeartbeatsKeepASilentStreamOpen) {
  HttpLimits limits;
  limits.stream_heartbeat = std::chrono::seconds(1);
  start_ready("Yes<|im_end|>", false, limits);
  Client client(api_);
  client.send(post(kStream));
  EXPECT_TRUE(client.read_until(": still here\n\n"));
}

TEST_F(HttpServerTest, ServesThePageOnItsPortAlone) {
  start_ready();
  const std::string answer = ask(page_, get("/"));
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_NE(answer.find("Content-Security-Policy: default-src 'self'"), std::string::npos);
  EXPECT_NE(answer.find("frame-ancestors 'none'"), std::string::npos);
  EXPECT_NE(answer.find("X-Content-Type-Options: nosniff"), std::string::npos);
  const size_t at = answer.find("ETag: ") + 6;
  const std::string etag = answer.substr(at, answer.find('\r', at) - at);
  EXPECT_EQ(status_of(ask(page_, get("/index.html", "If-None-Match: " + etag + "\r\n"))), 304);
  EXPECT_EQ(status_of(ask(page_, get("/chat/42"))), 200);
  EXPECT_EQ(status_of(ask(page_, get("/missing.js"))), 404);
  EXPECT_EQ(status_of(ask(page_, get("/v1/missing"))), 404);
  EXPECT_EQ(status_of(ask(page_, get("/../../etc/passwd"))), 200);  // an address of the page, not a file
  EXPECT_NE(ask(page_, get("/", "Accept-Encoding: br, gzip;q=0\r\n")).find("<title>"), std::string::npos);
}

TEST_F(HttpServerTest, SaysWhatToDoAboutABusyPort) {
  start();
  HttpServer other(router_);
  try {
    other.listen({.port = api_, .port_flag = "--port"});
    FAIL() << "listened twice";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("in use by another program"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos);
  }
  EXPECT_THROW(other.listen({.host = "203.0.113.7"}), Error);
  EXPECT_THROW(other.listen({.host = "no.such.host.invalid"}), Error);
}

TEST_F(HttpServerTest, ManyClientsAtOnce) {
  start_ready();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      for (int j = 0; j < 10; ++j) {
        if (j % 3 == 0) {
          Client(api_).send(post(kStream));  // and away
        } else {
          EXPECT_EQ(status_of(ask(j % 2 ? api_ : page_, post(kChat))), 200);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(server_->stop(std::chrono::seconds(10)));
  EXPECT_EQ(state_->running_answers, 0);
}

TEST(LoopbackHost, IsToldFromNamesThatLookLikeIt) {
  EXPECT_TRUE(is_loopback_host("localhost:1"));
  EXPECT_FALSE(is_loopback_host("127.0.0.1.example.com"));
  EXPECT_TRUE(is_loopback_address("127.0.0.1"));
  EXPECT_FALSE(is_loopback_address("0.0.0.0"));
}

TEST(PercentDecode, LeavesMalformedEscapes) {
  EXPECT_EQ(percent_decode("/a%2Fb%20"), "/a/b ");
  EXPECT_EQ(percent_decode("%"), "%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz%41"), "%zzA");
}

}  // namespace
}  // namespace carronade
