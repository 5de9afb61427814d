#include "server/cors.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/router.h"

namespace carronade {
namespace {

std::string value(const HttpHeaders& headers, std::string_view name) {
  for (const auto& [each, text] : headers) {
    if (each == name) return text;
  }
  return {};
}

HttpRequest from(const std::string& origin, HttpHeaders more = {}) {
  HttpRequest request;
  request.headers = std::move(more);
  request.headers.emplace_back("origin", origin);
  return request;
}

TEST(Cors, NobodyIsLetInUnasked) {
  EXPECT_TRUE(cors_headers(from("https://a.example"), {}).empty());
  EXPECT_TRUE(
      preflight_headers(from("https://a.example", {{"access-control-request-method", "POST"}}), {}, "POST").empty());
}

TEST(Cors, TheListIsExact) {
  const CorsRules rules{{"https://a.example", "http://localhost:3000"}, false};
  const HttpHeaders in = cors_headers(from("https://a.example"), rules);
  EXPECT_EQ(value(in, "Access-Control-Allow-Origin"), "https://a.example");
  EXPECT_EQ(value(in, "Vary"), "Origin");
  EXPECT_EQ(value(in, "Access-Control-Allow-Credentials"), "");
  for (const char* other : {"https://a.example.evil", "https://a.example:8443", "http://a.example", "null", "",
                            "https://b.a.example", "http://localhost:30000"}) {
    const HttpHeaders out = cors_headers(from(other), rules);
    EXPECT_EQ(value(out, "Access-Control-Allow-Origin"), "") << other;
    EXPECT_EQ(value(out, "Vary"), "Origin");
  }
  EXPECT_EQ(value(cors_headers(from("https://a.example"), {rules.origins, true}), "Access-Control-Allow-Credentials"),
            "true");
}

TEST(Cors, AStarIsEveryoneWithoutCookies) {
  const HttpHeaders headers = cors_headers(from("https://any.example"), {{"*"}, true});
  EXPECT_NE(value(headers, "Access-Control-Allow-Origin"), "");
  EXPECT_EQ(value(headers, "Access-Control-Allow-Credentials"), "");
  EXPECT_EQ(value(cors_headers(from("https://any.example"), {{"*"}, false}), "Access-Control-Allow-Origin"), "*");
}

TEST(Cors, AnswersTheBrowsersQuestion) {
  const CorsRules rules{{"https://a.example"}, false};
  const HttpHeaders question = {{"access-control-request-method", "POST"},
                                {"access-control-request-headers", "authorization, content-type"},
                                {"access-control-request-private-network", "true"}};
  const HttpHeaders yes = preflight_headers(from("https://a.example", question), rules, "POST");
  EXPECT_EQ(value(yes, "Access-Control-Allow-Methods"), "POST");
  EXPECT_EQ(value(yes, "Access-Control-Allow-Headers"), "authorization, content-type");
  EXPECT_EQ(value(yes, "Access-Control-Allow-Private-Network"), "true");
  EXPECT_TRUE(preflight_headers(from("https://b.example", question), rules, "POST").empty());
  EXPECT_TRUE(preflight_headers(from("https://a.example"), rules, "POST").empty());
  const HttpHeaders forged = {{"access-control-request-method", "POST"},
                              {"access-control-request-headers", "a\r\nSet-Cookie: b"}};
  EXPECT_EQ(value(preflight_headers(from("https://a.example", forged), rules, "POST"), "Access-Control-Allow-Headers"),
            "");
}

TEST(Cors, OriginsHaveAForm) {
  for (const char* good :
       {"*", "null", "https://a.example", "http://localhost:3000", "http://[::1]:8000", "vscode-webview://abc"})
    EXPECT_NO_THROW(check_origin(good)) << good;
  for (const char* bad : {"", "a.example", "https://", "://a", "https://a.example/", "https://a.example/x",
                          "https://A.example", "https://*.example", "https://a.example, https://b.example"})
    EXPECT_THROW(check_origin(bad), Error) << bad;
}

TEST(Cors, GoesWithEveryReplyOfTheRouter) {
  Router router;
  router.add(
      {.method = "POST", .path = "/v1/x", .handler = [](const HttpRequest&, const std::shared_ptr<Exchange>&) {}});
  AccessRules rules;
  rules.check_host = false;
  rules.cors.origins = {"https://a.example"};
  HttpRequest request = from("https://a.example");
  request.path = "/v1/x";
  for (const char* method : {"POST", "GET", "OPTIONS"}) {  // 415, 405, 204
    request.method = method;
    const Verdict verdict = router.check(request, rules);
    ASSERT_TRUE(verdict.refusal);
    EXPECT_EQ(value(verdict.headers, "Access-Control-Allow-Origin"), "https://a.example") << method;
  }
  request.headers.emplace_back("access-control-request-method", "POST");
  const Verdict verdict = router.check(request, rules);
  EXPECT_EQ(verdict.refusal->status, 204);
  EXPECT_EQ(value(verdict.refusal->headers, "Access-Control-Allow-Methods"), "OPTIONS, POST");
  request.path = "/nothing";
  EXPECT_EQ(value(router.check(request, rules).headers, "Access-Control-Allow-Origin"), "https://a.example");
}

}  // namespace
}  // namespace carronade
