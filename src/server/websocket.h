// WebSockets as the rest of this room sees them, free of sockets. Source: RFC 6455.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace carronade {

class KeyRing;
struct Route;

enum class WebSocketClose : uint16_t {
  kNormal = 1000,
  kGoingAway = 1001,  // the server is ending
  kUnsupportedData = 1003,
  kPolicyViolation = 1008,
};

// What a handler sends through. Belongs to the strand of its connection; only post() and the dropping of what
// count_answer() gave may be done on any thread.
class WebSocketConnection {
 public:
  virtual ~WebSocketConnection() = default;

  // One text message. Nothing is sent behind a close, and who does not read what was sent loses the connection.
  virtual void send(std::string text) = 0;

  // As long as it is held the connection is not idle, and a server that ends waits for it.
  virtual std::shared_ptr<void> count_answer() = 0;
  virtual bool ending() const = 0;  // the server is: nothing new is to be begun

  // Counts and logs a request that came as a message.
  virtual void answered(const HttpRequest& request, int status, uint64_t bytes, double seconds) = 0;

  virtual void post(std::function<void()> work) = 0;
  virtual void compute(std::function<std::function<void()>()> work) = 0;  // as Exchange has it
};

// What becomes of the messages. Called on the connection's strand.
class WebSocketHandler {
 public:
  virtual ~WebSocketHandler() = default;
  virtual void on_message(std::string_view text) = 0;
  virtual void on_abort(AbortReason reason) = 0;  // of all that runs; kDisconnected comes once, at the end
};

struct WebSocketOpening {
  const HttpRequest& request;
  const Route& route;
  std::shared_ptr<const KeyRing> keys;  // nullptr: none is asked for
  int max_answers;                      // at once
  std::shared_ptr<WebSocketConnection> connection;
};

struct WebSocketRoute {
  std::string subprotocol;  // chosen when the client offers it
  std::function<std::shared_ptr<WebSocketHandler>(const WebSocketOpening&)> open;
};

// The request asks for a WebSocket, rightly or not.
bool is_websocket_request(const HttpRequest& request);

// What is wrong with such a request, or nothing.
std::optional<HttpResponse> websocket_refusal(const HttpRequest& request);

// 426, for a request that should have asked for one.
HttpResponse upgrade_required(const HttpRequest& request);

// What the client offers in Sec-WebSocket-Protocol.
std::vector<std::string_view> offered_subprotocols(const HttpRequest& request);

// A browser's page can set no header, so its key comes as OpenAI has it: a subprotocol "openai-insecure-api-key.KEY".
// Empty when there is none. It is never chosen, so never repeated in the reply.
std::string_view subprotocol_key(const HttpRequest& request);

}  // namespace carronade
