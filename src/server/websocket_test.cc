#include "server/websocket.h"

#include <gtest/gtest.h>

#include "server/cors.h"
#include "server/router.h"

namespace carronade {
namespace {

HttpRequest request(HttpHeaders headers) {
  HttpRequest result;
  result.method = "GET";
  result.path = "/v1/stream";
  result.headers = std::move(headers);
  return result;
}

HttpRequest upgrade(const HttpHeaders& changes = {}) {
  HttpRequest result = request({{"host", "localhost:8000"},
                                {"connection", "keep-alive, Upgrade"},
                                {"upgrade", "WebSocket"},
                                {"sec-websocket-version", "13"},
                                {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}});
  for (const auto& [name, value] : changes) {
    for (auto& header : result.headers) {
      if (header.first == name) header.second = value;
    }
  }
  return result;
}

int refused(const HttpHeaders& changes) {
  const auto refusal = websocket_refusal(upgrade(changes));
  return refusal ? refusal->status : 0;
}

TEST(WebSocket, KnowsARequestForOne) {
  EXPECT_TRUE(is_websocket_request(upgrade()));
  EXPECT_FALSE(is_websocket_request(upgrade({{"upgrade", "h2c"}})));
  EXPECT_FALSE(is_websocket_request(request({})));
  HttpRequest post = upgrade();
  post.method = "POST";
  EXPECT_FALSE(is_websocket_request(post));
}

TEST(WebSocket, SaysWhatIsWrongWithOne) {
  EXPECT_EQ(refused({}), 0);
  EXPECT_EQ(refused({{"connection", "close"}}), 400);
  EXPECT_EQ(refused({{"sec-websocket-version", "8"}}), 426);
  EXPECT_EQ(refused({{"sec-websocket-key", ""}}), 400);
  EXPECT_EQ(refused({{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"}}), 400);
  EXPECT_EQ(refused({{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ=0="}}), 400);
  HttpRequest with_body = upgrade();
  with_body.body = "{}";
  EXPECT_EQ(websocket_refusal(with_body)->status, 400);
}

TEST(WebSocket, TakesAKeyFromTheSubprotocols) {
  const HttpRequest asked =
      request({{"sec-websocket-protocol", "carronade.stream.v1 ,openai-insecure-api-key.ck-1_2"}});
  EXPECT_EQ(subprotocol_key(asked), "ck-1_2");
  EXPECT_EQ(offered_subprotocols(asked),
            (std::vector<std::string_view>{"carronade.stream.v1", "openai-insecure-api-key.ck-1_2"}));
  const HttpRequest twice = request({{"sec-websocket-protocol", "a"}, {"sec-websocket-protocol", "b,, c"}});
  EXPECT_EQ(offered_subprotocols(twice), (std::vector<std::string_view>{"a", "b", "c"}));
  EXPECT_EQ(subprotocol_key(twice), "");
}

bool is_foreign(const std::string& origin, const CorsRules& rules = {}, const std::string& host = "localhost:8000") {
  return is_of_foreign_page(request({{"host", host}, {"origin", origin}}), rules);
}

TEST(WebSocket, KnowsAPageOfAnotherOrigin) {
  EXPECT_FALSE(is_of_foreign_page(request({{"host", "localhost:8000"}}), {}));  // no page
  EXPECT_FALSE(is_foreign("http://localhost:8000"));
  EXPECT_FALSE(is_foreign("https://localhost:8000"));
  EXPECT_FALSE(is_foreign("https://app.example", {}, "App.Example"));
  EXPECT_FALSE(is_foreign("https://app.example", {}, "app.example:443"));
  EXPECT_FALSE(is_foreign("http://[::1]:8000", {}, "[::1]:8000"));
  EXPECT_TRUE(is_foreign("https://app.example", {}, "app.example:80"));
  EXPECT_TRUE(is_foreign("http://localhost:7860"));
  EXPECT_TRUE(is_foreign("http://localhost"));
  EXPECT_TRUE(is_foreign("http://evil.example"));
  EXPECT_TRUE(is_foreign("null"));
  EXPECT_TRUE(is_foreign(""));
  EXPECT_TRUE(is_foreign("localhost:8000"));
  EXPECT_TRUE(is_foreign("ftp://localhost:8000"));
  EXPECT_FALSE(is_foreign("https://app.example", {.origins = {"https://app.example"}}));
  EXPECT_TRUE(is_foreign("https://app.example.evil", {.origins = {"https://app.example"}}));
  EXPECT_FALSE(is_foreign("https://any.example", {.origins = {"*"}}));
  EXPECT_TRUE(is_of_foreign_page(
      request({{"host", "localhost"}, {"origin", "http://localhost"}, {"origin", "http://evil.example"}}), {}));
}

}  // namespace
}  // namespace carronade
