// Connections that became WebSockets, with a handler that sends each message back. What RFC 6455 says of frames is in
// tests/api/test_websocket_conformance.py.
#include "server/websocket_session.h"

#include <gtest/gtest.h>

#include <thread>

#include "server/http_server.h"
#include "server/websocket_testing.h"

namespace carronade {
namespace {

// "hold" begins an answer, and "release" ends it; "flood" sends more than anyone may leave unread. Anything else comes
// back.
class Echo : public WebSocketHandler {
 public:
  struct Log {
    std::atomic<int> opened{0}, disconnected{0}, told_to_end{0};
  };
  Echo(std::shared_ptr<WebSocketConnection> connection, Log& log) : connection_(std::move(connection)), log_(log) {
    ++log_.opened;
  }
  void on_message(std::string_view text) override {
    if (text == R"("hold")") held_ = connection_->count_answer();
    if (text == R"("release")") held_.reset();
    const bool flood = text == R"("flood")";
    for (int i = 0; i < (flood ? 300 : 1); ++i)
      connection_->send(flood ? std::string(100'000, ' ') : std::string(text));
  }
  void on_abort(AbortReason reason) override {
    ++(reason == AbortReason::kDisconnected ? log_.disconnected : log_.told_to_end);
    held_.reset();
  }

 private:
  std::shared_ptr<WebSocketConnection> connection_;
  std::shared_ptr<void> held_;
  Log& log_;
};

class WebSocketSessionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  void start(HttpLimits limits = {}) {
    Route route{.method = "GET", .path = "/echo", .handler = {}};
    route.handler = [](const HttpRequest& request, const auto& exchange) {
      exchange->respond(upgrade_required(request));
    };
    route.websocket = std::make_shared<WebSocketRoute>(WebSocketRoute{
        "echo", [this](const WebSocketOpening& opening) { return std::make_shared<Echo>(opening.connection, log_); }});
    router_.add(std::move(route));
    server_ = std::make_unique<HttpServer>(router_, HttpServerOptions{.limits = limits});
    port_ = server_->listen({.kind = ListenerKind::kApi});
    server_->start();
  }
  std::string echo(WebSocketClient& client, const std::string& text) {
    client.send(text);
    return client.read().dump();
  }
  void wait_for(const std::atomic<int>& count, int value) {
    while (count < value) std::this_thread::yield();
  }

  Echo::Log log_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

TEST_F(WebSocketSessionTest, CarriesMessagesBothWays) {
  start();
  WebSocketClient client(port_, "X-Request-Id: mine\r\nSec-WebSocket-Protocol: other, echo\r\n", "/echo");
  EXPECT_EQ(client.status(), 101);
  EXPECT_EQ(header_of(client.head(), "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");  // RFC 6455, 1.3
  EXPECT_EQ(header_of(client.head(), "Sec-WebSocket-Protocol"), "echo");
  EXPECT_EQ(header_of(client.head(), "X-Request-Id"), "mine");
  for (const char* text : {"1", "\"two\"", "[]"}) EXPECT_EQ(echo(client, text), text);
  const std::string large = '"' + std::string(60'000, 'x') + '"';
  EXPECT_EQ(echo(client, large), large);
  client.send_frame(WebSocketClient::kClose, "\x03\xe8");
  EXPECT_EQ(client.read_close(), 1000);
  EXPECT_EQ(client.read_to_end(), "");
  wait_for(log_.disconnected, 1);
  EXPECT_EQ(log_.told_to_end, 0);
}

TEST_F(WebSocketSessionTest, ConfirmsNoSubprotocolThatItDoesNotSpeak) {
  start();
  EXPECT_EQ(
      header_of(WebSocketClient(port_, "Sec-WebSocket-Protocol: other\r\n", "/echo").head(), "Sec-WebSocket-Protocol"),
      "");
}

TEST_F(WebSocketSessionTest, AClientThatVanishesIsNoticedAtOnce) {
  start();
  WebSocketClient client(port_, "", "/echo");
  echo(client, "\"hold\"");
  client.leave();
  wait_for(log_.disconnected, 1);
  EXPECT_TRUE(server_->stop(std::chrono::seconds(10)));
}

TEST_F(WebSocketSessionTest, SilenceIsAskedAboutAndThenEnds) {
  start({.websocket_heartbeat = std::chrono::seconds(1)});
  WebSocketClient alive(port_, "", "/echo"), dead(port_, "", "/echo");
  for (int beat = 0; beat < 2; ++beat) {
    const auto frame = alive.read_frame();
    ASSERT_EQ(frame.opcode, WebSocketClient::kPing);
    alive.send_frame(WebSocketClient::kPong, frame.payload);
  }
  EXPECT_EQ(dead.read_frame().opcode, WebSocketClient::kPing);
  dead.read_to_end();  // without a pong
  wait_for(log_.disconnected, 1);
  EXPECT_EQ(echo(alive, "5"), "5");
}

TEST_F(WebSocketSessionTest, WithoutARequestItIsClosedInTheEnd) {
  start({.websocket_idle_time = std::chrono::seconds(1)});
  WebSocketClient idle(port_, "", "/echo"), busy(port_, "", "/echo");
  echo(busy, "\"hold\"");
  EXPECT_EQ(idle.read_close(), 1000);
  EXPECT_EQ(echo(busy, "6"), "6");
  echo(busy, "\"release\"");
  EXPECT_EQ(busy.read_close(), 1000);
}

TEST_F(WebSocketSessionTest, AMessageThatNeverEndsIsNotWaitedFor) {
  start({.body_time = std::chrono::seconds(1)});
  Client client(port_);
  client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n" + std::string(WebSocketClient::kUpgrade) + "\r\n");
  ASSERT_TRUE(client.read_until("\r\n\r\n"));
  client.send(std::string("\x01\x81\0\0\0\0x", 7));  // a fragment, and no more
  EXPECT_TRUE(client.read_until("\x03\xf0the message did not arrive in time"));
}

TEST_F(WebSocketSessionTest, WhoDoesNotReadLosesTheConnection) {
  start({.unsent_bytes = 1 << 20});
  WebSocketClient client(port_, "", "/echo");
  client.send("\"flood\"");
  wait_for(log_.disconnected, 1);
  EXPECT_LT(client.read_to_end().size(), 30'000'000u);
}

TEST_F(WebSocketSessionTest, TheServersEndIsSaidToWhoIsIdleAndWaitsForAnswers) {
  start();
  WebSocketClient idle(port_, "", "/echo"), busy(port_, "", "/echo");
  echo(idle, "1");
  echo(busy, "\"hold\"");
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::seconds(60))); });
  while (WebSocketClient(port_, "", "/echo").status() != 503) {
  }
  EXPECT_EQ(echo(busy, "2"), "2");
  EXPECT_EQ(log_.told_to_end, 0);
  busy.send("\"release\"");
  EXPECT_EQ(busy.read().dump(), "\"release\"");
  EXPECT_EQ(busy.read_close(), 1001);
  EXPECT_EQ(idle.read_close(), 1001);
  stopping.join();
}

TEST_F(WebSocketSessionTest, AnswersAreToldToEndWhenTheTimeIsUp) {
  start();
  WebSocketClient busy(port_, "", "/echo");
  echo(busy, "\"hold\"");
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::milliseconds(0))); });
  EXPECT_EQ(busy.read_close(), 1001);
  stopping.join();
  EXPECT_EQ(log_.told_to_end, 1);
}

// What Beast's own time limit does not end.
TEST_F(WebSocketSessionTest, AFarewellAndWrongTextThatCrossOnTheWayEndToo) {
  start({.websocket_close_time = std::chrono::seconds(1)});
  Client client(port_);
  client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n" + std::string(WebSocketClient::kUpgrade) + "\r\n");
  ASSERT_TRUE(client.read_until("\r\n\r\n"));
  client.send(std::string("\x89\x80\0\0\0\0", 6) + std::string("\x81\x90\0\0\0\0abc", 9));  // a ping; 3 bytes of 16
  ASSERT_TRUE(client.read_until(std::string("\x8a\0", 2)));
  std::thread stopping([&] { EXPECT_TRUE(server_->stop(std::chrono::milliseconds(0))); });
  EXPECT_TRUE(client.read_until("the server is shutting down"));
  client.send("\xff\xff\xff");
  stopping.join();
}

TEST_F(WebSocketSessionTest, AnIdleOneMakesRoomForAnother) {
  start({.connections = 2});
  WebSocketClient idle(port_, "", "/echo"), busy(port_, "", "/echo");
  echo(busy, "\"hold\"");
  echo(idle, "1");
  WebSocketClient another(port_, "", "/echo");
  EXPECT_EQ(idle.read_close(), 1001);
  EXPECT_EQ(echo(another, "2"), "2");
  EXPECT_EQ(echo(busy, "3"), "3");
}

TEST_F(WebSocketSessionTest, BytesBehindTheRequestAreRefused) {
  start();
  Client client(port_);
  client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n" + std::string(WebSocketClient::kUpgrade) + "\r\n\x81\x80");
  EXPECT_EQ(status_of(client.read_answer()), 400);
}

TEST_F(WebSocketSessionTest, NeedsHttp11) {
  start();
  const std::string request =
      "GET /echo HTTP/1.0\r\nHost: localhost\r\n" + std::string(WebSocketClient::kUpgrade) + "\r\n";
  EXPECT_EQ(status_of(Client(port_).send(request).read_answer()), 400);
}

TEST_F(WebSocketSessionTest, IsCountedWhenItBegins) {
  start();
  const WebSocketClient client(port_, "", "/echo");
  EXPECT_EQ(status_of(Client(port_).send(get("/echo")).read_answer()), 426);
  const RouteMetrics& metrics = *router_.routes().front().metrics;
  while (metrics.readings().empty()) std::this_thread::yield();  // the client may know before it is counted
  const auto readings = metrics.readings();
  EXPECT_EQ(readings[0].statuses.front(), (std::pair<std::string_view, uint64_t>{"1xx", 1}));
}

}  // namespace
}  // namespace carronade
