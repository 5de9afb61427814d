// A connection that has become a WebSocket. Only http_session.cc and websocket_session.cc include this.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "server/client_stream.h"
#include "server/http_session.h"
#include "server/websocket.h"

namespace carronade {

struct WebSocketSetting {
  std::shared_ptr<ServerContext> context;
  ClientStream& stream;
  std::shared_ptr<void> owner;  // of the stream
  std::string client;           // its address
  const Route& route;
  HttpRequest request;  // that was found right
  HttpHeaders headers;  // for its reply
  std::shared_ptr<const KeyRing> keys;
  std::function<void(bool)> set_idle;  // called when the last answer has ended, or a first one begins
};

// Belongs to the strand of its connection.
class WebSocketSession {
 public:
  virtual ~WebSocketSession() = default;
  // Until the connection has ended or both sides have said that it does (then true: there may be bytes to wait for).
  virtual boost::asio::awaitable<bool> run() = 0;
  virtual uint64_t bytes_sent() const = 0;
  virtual void drain() = 0;          // says farewell as soon as no answer is made
  virtual void abort() = 0;          // and these are told to end; a farewell that was said already is not waited for
  virtual void close_if_idle() = 0;  // another connection needs the place
};

std::shared_ptr<WebSocketSession> make_websocket_session(WebSocketSetting setting);

}  // namespace carronade
