#include "server/model_wait.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "base/error.h"
#include "chat/testing.h"
#include "server/http_server.h"
#include "server/openai_routes.h"
#include "server/operator_routes.h"
#include "server/testing.h"

namespace carronade {
namespace {

// Two scripted models, "one" and "two", within a budget that holds one of them; loads wait until they are let through.
class ModelWaitTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  void start(PoolLimits limits = {}, HttpLimits http = {}) {
    limits.budget = 100;
    std::vector<PoolModel> models;
    for (const char* name : {"one", "two"}) {
      models.push_back({name, {60, 60}, [this, name = std::string(name)](uint64_t, const std::stop_token& stop) {
                          return load(name, stop);
                        }});
    }
    auto pool = std::make_shared<ModelPool>(std::move(models), limits);
    pool->hold_or_wait({});
    state_->ready(std::move(pool), {{.id = "one", .root = "/1", .model = 0}, {.id = "two", .root = "/2", .model = 1}});
    add_openai_routes(router_, state_);
    add_operator_routes(router_, state_, "1.2.3");
    server_ = std::make_unique<HttpServer>(router_, HttpServerOptions{.limits = http});
    port_ = server_->listen({});
    server_->start();
  }
  std::unique_ptr<PooledModel> load(const std::string& name, const std::stop_token& stop) {
    {
      std::unique_lock lock(mutex_);
      ++loading_[name];
      changed_.notify_all();
      while (!may_load_ && !stop.stop_requested()) changed_.wait_for(lock, std::chrono::milliseconds(5));
      if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
      if (!failure_.empty()) throw Error(ErrorCode::kCorruptFile, failure_);
    }
    const auto model = make_test_model(generators_.at(name));
    model->name = name;
    return std::make_unique<Sized>(model);
  }
  struct Sized : PooledChatModel {
    using PooledChatModel::PooledChatModel;
    uint64_t bytes() const override { return 60; }
  };

  static std::string body(std::string_view model, std::string_view more = "") {
    return R"({"model":")" + std::string(model) + R"(","messages":[{"role":"user","content":"Hi"}])" +
           std::string(more) + "}";
  }
  std::string ask(const std::string& bytes) { return Client(port_).send(bytes).read_answer(); }
  void may_load(bool may) {
    const std::lock_guard lock(mutex_);
    may_load_ = may;
    changed_.notify_all();
  }
  void wait_for_load(const std::string& name, int count = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return loading_[name] >= count; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, int> loading_;
  bool may_load_ = true;
  std::string failure_;
  std::map<std::string, std::shared_ptr<ScriptedGenerator>> generators_ = {
      {"one", std::make_shared<ScriptedGenerator>(test_tokens("One<|im_end|>"), false)},
      {"two", std::make_shared<ScriptedGenerator>(test_tokens("Two<|im_end|>"), false)}};
  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

std::string text_of(const std::string& answer) { return body_of(answer)["choices"][0]["message"]["content"]; }

TEST_F(ModelWaitTest, ARequestWaitsForItsModel) {
  generators_["one"]->allow(99);
  generators_["two"]->allow(99);
  start();
  EXPECT_EQ(text_of(ask(post(body("one")))), "One");
  may_load(false);
  Client waiting(port_), another(port_);
  waiting.send(post(body("two")));
  another.send(post(body("two")));
  wait_for_load("two");
  const auto listed = body_of(ask(get("/v1/models")))["data"];
  EXPECT_EQ(listed[0]["status"]["value"], "unloaded");
  EXPECT_EQ(listed[1]["status"]["value"], "loading");
  EXPECT_EQ(status_of(ask(get("/health"))), 200) << "others can be served";
  may_load(true);
  for (Client* client : {&waiting, &another}) {
    const std::string answer = client->read_answer();
    EXPECT_EQ(body_of(answer)["model"], "two");
    EXPECT_EQ(text_of(answer), "Two");
  }
  EXPECT_EQ(loading_["two"], 1);
  const auto debug = body_of(ask(get("/debug/scheduler")));
  EXPECT_EQ(debug["memory"]["committed_bytes"], 60);
  EXPECT_EQ(debug["pool"][1]["loads"], 1);
  const std::string metrics = ask(get("/metrics"));
  EXPECT_NE(metrics.find("carronade:model_loaded{model_name=\"one\"} 0\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("carronade:model_loaded{model_name=\"two\"} 1\n"), std::string::npos);
}

TEST_F(ModelWaitTest, TokensNeedTheModelToo) {
  start();
  const auto tokenize = [](std::string_view model) {
    const std::string text = R"({"prompt":"abc","model":")" + std::string(model) + R"("})";
    return "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(text.size()) + "\r\n\r\n" + text;
  };
  EXPECT_EQ(body_of(ask(tokenize("two")))["count"], 3);
  EXPECT_EQ(status_of(ask(tokenize("three"))), 404);
}

TEST_F(ModelWaitTest, AFailedLoadIsAnErrorAndTriedAgain) {
  generators_["two"]->allow(99);
  start();
  failure_ = "/srv/two.gguf is broken";
  const std::string answer = ask(post(body("two")));
  EXPECT_EQ(status_of(answer), 500);
  EXPECT_EQ(body_of(answer)["error"]["message"], "the model two cannot be loaded; the server's log says why");
  EXPECT_TRUE(body_of(answer)["error"]["param"].is_null());
  failure_ = "";
  EXPECT_EQ(text_of(ask(post(body("two")))), "Two");
}

TEST_F(ModelWaitTest, ALongWaitBeginsTheStream) {
  PoolLimits limits;
  limits.notice_after = std::chrono::milliseconds(0);
  HttpLimits http;
  http.stream_heartbeat = std::chrono::seconds(1);
  generators_["two"]->allow(99);
  start(limits, http);
  may_load(false);
  Client client(port_);
  client.send(post(body("two", R"(,"stream":true)")));
  ASSERT_TRUE(client.read_until(": still here"));
  EXPECT_NE(client.received().find("200 OK"), std::string::npos);
  may_load(true);
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n\r\n0\r\n\r\n"));
  EXPECT_NE(client.received().find("\"content\":\"T\""), std::string::npos);
  EXPECT_EQ(client.received().find("200 OK"), client.received().rfind("200 OK"));
}

TEST_F(ModelWaitTest, AFailureAfterThatIsAnErrorInTheStream) {
  PoolLimits limits;
  limits.notice_after = std::chrono::milliseconds(0);
  start(limits);
  may_load(false);
  failure_ = "the file is broken";
  Client client(port_);
  client.send(post(body("two", R"(,"stream":true)")));
  ASSERT_TRUE(client.read_until("text/event-stream"));
  may_load(true);
  ASSERT_TRUE(client.read_until("\r\n0\r\n\r\n"));
  EXPECT_NE(client.received().find("data: {\"error\":{\"message\":\"the model two cannot be loaded"), std::string::npos)
      << client.received();
}

TEST_F(ModelWaitTest, AClientThatLeavesEndsItsWait) {
  generators_["one"]->allow(99);
  start();
  may_load(false);
  {
    Client client(port_);
    client.send(post(body("two")));
    wait_for_load("two");
  }
  while (state_->running_answers > 0) std::this_thread::yield();
  // Nobody wants that load any more, so that it makes way.
  Client client(port_);
  client.send(post(body("one")));
  wait_for_load("one", 2);
  may_load(true);
  EXPECT_EQ(text_of(client.read_answer()), "One");
}

TEST_F(ModelWaitTest, TheEndRefusesWhoeverWaits) {
  start();
  may_load(false);
  Client client(port_);
  client.send(post(body("two")));
  wait_for_load("two");
  state_->draining();
  const std::string answer = client.read_answer();
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_NE(answer.find("shutting down"), std::string::npos);
  EXPECT_EQ(header_of(answer, "Retry-After"), "1");
  EXPECT_TRUE(server_->stop(std::chrono::seconds(60)));
  state_->drop();
}

TEST_F(ModelWaitTest, AnAnswerThatRunsIsNotDisturbed) {
  start();
  generators_["two"]->allow(99);
  Client running(port_), waiting(port_);
  running.send(post(body("one", R"(,"stream":true)")));
  ASSERT_TRUE(running.read_until("assistant"));
  waiting.send(post(body("two")));
  while (state_->report()->models[1].status.waiting == 0) std::this_thread::yield();
  EXPECT_EQ(body_of(ask(get("/load")))["server_load"], 2);
  generators_["one"]->allow(99);
  ASSERT_TRUE(running.read_until("data: [DONE]"));
  EXPECT_NE(running.received().find("\"finish_reason\":\"stop\""), std::string::npos);
  EXPECT_EQ(text_of(waiting.read_answer()), "Two");
}

TEST_F(ModelWaitTest, ABackgroundAnswerGivesWay) {
  start();
  generators_["two"]->allow(99);
  Client background(port_), streaming(port_);
  background.send(post(body("one", R"(,"service_tier":"flex")")));
  streaming.send(post(body("", R"(,"service_tier":"flex","stream":true)")));  // with whatever is loaded
  ASSERT_TRUE(streaming.read_until("assistant"));
  while (state_->report()->models[0].status.background < 2) std::this_thread::yield();
  // No token of "one" is ever allowed: only giving way can end those.
  EXPECT_EQ(text_of(ask(post(body("two")))), "Two");
  const std::string answer = background.read_answer();
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_EQ(header_of(answer, "Retry-After"), "1");
  ASSERT_TRUE(streaming.read_until("it gave way"));
  const std::string refused = ask(post(body("one", R"(,"service_tier":"flex")")));
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("background requests load no model"), std::string::npos) << refused;
  EXPECT_EQ(text_of(ask(post(body("", R"(,"service_tier":"flex")")))), "Two");
  EXPECT_EQ(loading_["one"], 1);
}

TEST_F(ModelWaitTest, KeepAliveIsTheRequests) {
  generators_["one"]->allow(99);
  start();
  EXPECT_EQ(text_of(ask(post(body("one", R"(,"keep_alive":0)")))), "One");
  while (state_->report()->models[0].unloads == 0) std::this_thread::yield();
  EXPECT_EQ(text_of(ask(post(body("one", R"(,"keep_alive":"10m")")))), "One");
  EXPECT_EQ(loading_["one"], 2);
  for (const char* longest : {"10000000000", R"("2562048h")", "-1"}) {
    EXPECT_EQ(text_of(ask(post(body("one", std::string(",\"keep_alive\":") + longest)))), "One");
    while (state_->report()->models[0].status.users > 0) std::this_thread::yield();
    EXPECT_EQ(state_->report()->models[0].status.keep_until, PoolTime::max()) << longest;
  }
  EXPECT_EQ(loading_["one"], 2);
  for (const char* wrong : {R"("soon")", "true", "[]"}) {
    const std::string answer = ask(post(body("one", std::string(",\"keep_alive\":") + wrong)));
    EXPECT_EQ(status_of(answer), 400);
    EXPECT_EQ(body_of(answer)["error"]["param"], "keep_alive");
  }
}

}  // namespace
}  // namespace carronade
