#include "server/operator_routes.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/testing.h"
#include "server/openai_routes.h"
#include "server/testing.h"
#include "workspace/key_ring.h"

namespace carronade {
namespace {

TEST(RouteMetrics, CountsByMethodAndClass) {
  RouteMetrics metrics;
  metrics.answered("GET", 200, 0.05);
  metrics.answered("GET", 404, 0.2);
  metrics.answered("GET", 0, 30);  // the client left
  metrics.answered("POST", 204, 0.7);
  metrics.answered("INVENTED", 405, 0);
  metrics.answered("", 999, 0);
  const auto readings = metrics.readings();
  ASSERT_EQ(readings.size(), 3u);
  using Statuses = std::vector<std::pair<std::string_view, uint64_t>>;
  EXPECT_EQ(readings[0].method, "GET");
  EXPECT_EQ(readings[0].statuses, (Statuses{{"2xx", 1}, {"4xx", 2}}));
  EXPECT_EQ(readings[0].seconds.counts, (std::vector<uint64_t>{1, 1, 0, 1}));
  EXPECT_EQ(readings[1].method, "POST");
  EXPECT_EQ(readings[2].method, "other");
  EXPECT_EQ(readings[2].statuses, (Statuses{{"4xx", 1}, {"5xx", 1}}));
}

// Keeps the answer.
class Answered : public Exchange {
 public:
  void respond(HttpResponse response) override { response_ = std::move(response); }
  void start_stream(HttpResponse) override {}
  void write(std::string) override {}
  void finish() override {}
  void on_abort(std::function<void(AbortReason)>) override {}
  void on_answer_now(std::function<void()>) override {}
  void post(std::function<void()>) override {}
  void compute(std::function<std::function<void()>()> work) override { work()(); }
  const HttpResponse& response() const { return response_; }

 private:
  HttpResponse response_{.status = 0, .headers = {}, .body = {}, .static_body = {}};
};

class OperatorRoutes : public ::testing::Test {
 protected:
  OperatorRoutes() {
    add_openai_routes(router_, state_);
    add_operator_routes(router_, state_, "9.8.7");
  }
  HttpResponse ask(std::string method, std::string path) {
    HttpRequest request;
    request.method = std::move(method);
    request.path = std::move(path);
    request.headers = {{"host", "localhost"}};
    const Verdict verdict = router_.check(request, {});
    if (verdict.refusal) return *verdict.refusal;
    const Route* route = verdict.route;
    const auto exchange = std::make_shared<Answered>();
    try {
      route->handler(request, exchange);
    } catch (const Error& error) {
      return error_response(http_status(error.code), error.what());
    }
    route->metrics->answered(request.method, exchange->response().status, 0.01);
    return exchange->response();
  }
  void make_ready() { serve_test_model(*state_, std::make_shared<ScriptedGenerator>(test_tokens("Yes<|im_end|>"))); }

  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
};

TEST_F(OperatorRoutes, AnswerAsVllms) {
  EXPECT_EQ(ask("GET", "/version").body, R"({"version":"9.8.7"})");
  EXPECT_EQ(ask("GET", "/load").body, R"({"server_load":0})");
  state_->running_answers = 3;
  EXPECT_EQ(ask("GET", "/load").body, R"({"server_load":3})");
  EXPECT_EQ(ask("GET", "/ping").status, 503);
  make_ready();
  for (const char* method : {"GET", "POST"}) {
    const HttpResponse pong = ask(method, "/ping");
    EXPECT_EQ(pong.status, 200);
    EXPECT_EQ(pong.body, "");
  }
}

TEST_F(OperatorRoutes, MetricsWorkBeforeAModelIsLoaded) {
  ask("GET", "/version");
  const HttpResponse answer = ask("GET", "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers[0].second, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(answer.body.find("process_resident_memory_bytes "), std::string::npos);
  EXPECT_NE(answer.body.find("http_requests_total{handler=\"/version\",method=\"GET\",status=\"2xx\"} 1\n"),
            std::string::npos);
  EXPECT_EQ(answer.body.find("vllm:"), std::string::npos);
  EXPECT_EQ(ask("GET", "/debug/scheduler").status, 503);
}

TEST_F(OperatorRoutes, AreBehindTheKeyAndNotOnThePage) {
  for (const char* path : {"/metrics", "/load", "/ping", "/version", "/debug/scheduler"}) {
    HttpRequest request;
    request.method = "GET";
    request.path = path;
    request.headers = {{"host", "localhost"}};
    AccessRules rules;
    rules.keys = std::make_shared<KeyRing>(std::vector<std::string>{"secret"}, nullptr);
    auto refusal = router_.check(request, rules).refusal;
    ASSERT_TRUE(refusal) << path;
    EXPECT_EQ(refusal->status, 401) << path;
    request.listener = ListenerKind::kPage;
    refusal = router_.check(request, {}).refusal;
    ASSERT_TRUE(refusal) << path;
    EXPECT_EQ(refusal->status, 404) << path;
  }
}

}  // namespace
}  // namespace carronade
