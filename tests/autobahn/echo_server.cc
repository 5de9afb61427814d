// A server whose WebSocket sends each message back, as Autobahn's suite wants it: run.py.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"
#include "server/http_server.h"

namespace carronade {
namespace {

class Echo : public WebSocketHandler {
 public:
  explicit Echo(std::shared_ptr<WebSocketConnection> connection) : connection_(std::move(connection)) {}
  void on_message(std::string_view text) override { connection_->send(std::string(text)); }
  void on_abort(AbortReason) override {}

 private:
  std::shared_ptr<WebSocketConnection> connection_;
};

}  // namespace
}  // namespace carronade

int main() {
  using namespace carronade;
  set_up_logging("warn");
  Router router;
  Route route{.method = "GET", .path = "/", .handler = [](const HttpRequest& request, const auto& exchange) {
                exchange->respond(upgrade_required(request));
              }};
  route.websocket = std::make_shared<WebSocketRoute>(WebSocketRoute{
      "echo", [](const WebSocketOpening& opening) { return std::make_shared<Echo>(opening.connection); }});
  router.add(std::move(route));
  HttpLimits limits;
  limits.unsent_bytes = 64 << 20;  // the suite's largest message is as large as one may be
  HttpServer server(router, HttpServerOptions{.limits = limits});
  std::printf("%d\n", server.listen({}));
  std::fflush(stdout);
  server.start();
  char byte;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {  // until whoever started it has gone
  }
}
