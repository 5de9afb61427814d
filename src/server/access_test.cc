#include "server/access.h"

#include <gtest/gtest.h>

#include <set>

#include "base/testing.h"
#include "chat/testing.h"
#include "server/http_server.h"
#include "server/openai_routes.h"
#include "server/operator_routes.h"
#include "server/testing.h"
#include "server/web_assets.h"
#include "workspace/testing.h"

namespace carronade {
namespace {

std::string bearer(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }

std::string post_chat(const std::string& token) {
  return post(kChat, "Content-Type: application/json\r\n" + bearer(token));
}

class AccessTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  std::string add(const std::string& name, const ApiKeyRow& row = {}) { return add_key(store_, name, row); }
  // After the keys were made.
  void start() {
    add_openai_routes(router_, state_);
    add_docs_routes(router_, "1.2.3");
    add_web_routes(router_);
    add_operator_routes(router_, state_, "1.2.3");
    keys_ = std::make_shared<KeyRing>(std::vector<std::string>{"operator"}, database_,
                                      KeyRingOptions{std::chrono::milliseconds(0), [this] { return now_; }});
    generator_ = std::make_shared<ScriptedGenerator>(test_tokens("Yes<|im_end|>"), true);
    serve_test_model(*state_, generator_);
    server_ = std::make_unique<HttpServer>(router_, HttpServerOptions{.keys = keys_});
    api_ = server_->listen({.kind = ListenerKind::kApi});
    page_ = server_->listen({.kind = ListenerKind::kPage});
    server_->start();
  }
  std::string ask(const std::string& bytes) { return Client(api_).send(bytes).read_answer(); }

  TemporaryDirectory directory_;
  std::shared_ptr<Database> database_ = Database::open(directory_.path());
  ApiKeyStore store_{database_};
  Moment now_{std::chrono::seconds(20'000 * 86'400 + 43'200)};
  std::shared_ptr<ScriptedGenerator> generator_;
  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
  std::shared_ptr<KeyRing> keys_;
  std::unique_ptr<HttpServer> server_;
  uint16_t api_ = 0, page_ = 0;
};

// Every route of the table, as it is asked by those who may not: nothing but /health and the page's own files answers.
TEST_F(AccessTest, EveryRouteButHealthIsBehindAKeyOfItsScope) {
  const std::string chat = add("chat"), admin = add("admin", {.scopes = static_cast<KeyScopes>(KeyScope::kAdmin)});
  start();
  const auto status = [&](uint16_t port, const Route& route, const std::string& headers) {
    std::string path = route.path;
    if (path.ends_with("/*")) path.replace(path.size() - 1, 1, "x.y");
    Client client(port);
    client.send(route.method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                "Content-Length: 2\r\nConnection: close\r\n" + headers + "\r\n{}");
    return status_of(client.read_to_end());
  };
  // The program's own files, equal for everyone.
  const std::set<std::string> own_files = {"/*", "/docs", "/assets/*", "/favicon.svg"};
  int walked = 0;
  for (const Route& route : router_.routes()) {
    SCOPED_TRACE(route.method + " " + route.path);
    EXPECT_EQ(route.needs_key, !own_files.contains(route.path) && route.path != "/health");
    if (!route.needs_key) continue;
    const bool for_admin = route.path == "/metrics" || route.path.starts_with("/debug/");
    EXPECT_EQ(route.scope, for_admin ? KeyScope::kAdmin : KeyScope::kChat);
    for (const auto& [port, there] : {std::pair{api_, route.on_api}, {page_, route.on_page}}) {
      if (!there) continue;
      ++walked;
      EXPECT_EQ(status(port, route, ""), 401);
      EXPECT_EQ(status(port, route, bearer("wrong")), 401);
      EXPECT_EQ(status(port, route, bearer(for_admin ? chat : admin)), 403);
      for (const std::string& token : {for_admin ? admin : chat, std::string("operator")}) {
        const int answered = status(port, route, bearer(token));
        EXPECT_TRUE(answered != 401 && answered != 403 && answered != 0) << answered;
      }
    }
  }
  EXPECT_GE(walked, 12);
}

TEST_F(AccessTest, RevokedKeysAreToldSo) {
  const std::string token = add("alice");
  start();
  EXPECT_EQ(status_of(ask(get("/v1/models", bearer(token)))), 200);
  store_.revoke("alice", 5);
  keys_->synchronize();
  const std::string answer = ask(get("/v1/models", bearer(token)));
  EXPECT_EQ(status_of(answer), 401);
  EXPECT_NE(answer.find("revoked"), std::string::npos);
  EXPECT_EQ(header_of(answer, "WWW-Authenticate"), "Bearer");
}

TEST_F(AccessTest, LimitsAreInTheHeadersAndEndIn429) {
  const std::string token = add("alice", {.requests_per_minute = 2, .tokens_per_minute = 100'000});
  start();
  std::string answer = ask(post_chat(token));
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(header_of(answer, "x-ratelimit-limit-requests"), "2");
  EXPECT_EQ(header_of(answer, "x-ratelimit-remaining-requests"), "1");
  EXPECT_EQ(header_of(answer, "x-ratelimit-reset-requests"), "30s");
  EXPECT_EQ(header_of(answer, "x-ratelimit-limit-tokens"), "100000");
  EXPECT_EQ(header_of(answer, "x-ratelimit-remaining-tokens"), "100000");
  EXPECT_EQ(header_of(answer, "x-ratelimit-reset-tokens"), "0ms");

  Client stream(api_);
  stream.send(post(kStream, "Content-Type: application/json\r\n" + bearer(token)));
  ASSERT_TRUE(stream.read_until("[DONE]"));
  EXPECT_EQ(header_of(stream.received(), "x-ratelimit-remaining-requests"), "0");
  EXPECT_LT(std::stoi(header_of(stream.received(), "x-ratelimit-remaining-tokens")), 100'000);

  answer = ask(post_chat(token));
  EXPECT_EQ(status_of(answer), 429);
  EXPECT_EQ(header_of(answer, "Retry-After"), "30");
  EXPECT_EQ(header_of(answer, "x-ratelimit-remaining-requests"), "0");
  EXPECT_EQ(body_of(answer)["error"]["code"], 429);
  EXPECT_EQ(status_of(ask(get("/v1/models", bearer(token)))), 200);  // costs nothing
  EXPECT_EQ(header_of(ask(post_chat("operator")), "x-ratelimit-limit-requests"), "");
  now_ += std::chrono::seconds(30);
  EXPECT_EQ(status_of(ask(post_chat(token))), 200);
}

TEST_F(AccessTest, WhatAnswersUseIsCountedAndEndsAQuota) {
  const std::string token = add("alice", {.tokens_per_day = 10});
  start();
  const std::string first = ask(post_chat(token));
  EXPECT_EQ(status_of(first), 200);
  const auto told = body_of(first)["usage"];
  // The answer's last tokens are counted when it has ended, a moment after its bytes.
  std::string answer;
  while (status_of(answer = ask(post_chat(token))) == 200) {
  }
  EXPECT_EQ(status_of(answer), 429);
  EXPECT_EQ(header_of(answer, "Retry-After"), "43200");
  EXPECT_EQ(header_of(answer, "x-should-retry"), "false");
  EXPECT_TRUE(server_->stop(std::chrono::seconds(10)));
  keys_->synchronize();
  const auto used = store_.usage_since(0);
  ASSERT_EQ(used.size(), 1u);
  EXPECT_EQ(used[0].prompt_tokens, used[0].requests * told["prompt_tokens"].get<int64_t>());
  EXPECT_EQ(used[0].completion_tokens, used[0].requests * told["completion_tokens"].get<int64_t>());
}

TEST_F(AccessTest, EachKeyIsATenant) {
  const std::string alice = add("alice"), bob = add("bob");
  start();
  const auto tenant = [&](const std::string& token) {
    HttpRequest request;
    request.key = keys_->find(token).key;
    return tenant_of(request).id;
  };
  EXPECT_NE(tenant(alice), tenant(bob));
  EXPECT_EQ(tenant_of({}).id, 0u);
  ask(post_chat(alice));
  EXPECT_EQ(generator_->last_tenant().id, tenant(alice));
}

TEST(ResetText, IsAsOpenAiWritesIt) {
  EXPECT_EQ(reset_text(0), "0ms");
  EXPECT_EQ(reset_text(0.0121), "13ms");
  EXPECT_EQ(reset_text(1), "1s");
  EXPECT_EQ(reset_text(8.64), "8.64s");
  EXPECT_EQ(reset_text(360), "6m0s");
  EXPECT_EQ(reset_text(72.5), "1m12.5s");
  EXPECT_EQ(reset_text(3661), "1h1m1s");
}

}  // namespace
}  // namespace carronade
