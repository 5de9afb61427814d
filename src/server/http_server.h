// Listening sockets, connections and their threads, over Boost.Asio; nothing of it shows here.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/router.h"
#include "server/tls.h"

namespace carronade {

struct HttpLimits {
  size_t header_bytes = 32 << 10;
  size_t body_bytes = 16 << 20;
  size_t unsent_bytes = 8 << 20;         // of a stream that its client does not read; beyond, the connection is closed
  int connections = 4096;                // together; one more costs the longest idle one, or is closed at once
  std::chrono::seconds idle_time{75};    // between requests of a connection
  std::chrono::seconds header_time{15};  // from a request's first byte to its headers' last
  std::chrono::seconds body_time{60};    // and a second more for every …
  size_t body_bytes_per_second = 8 << 10;  // … that have come
  std::chrono::seconds write_time{60};     // without a byte being taken by the client
  // What is read of a request that was answered before it had come whole. Four bodies: most clients look for an answer
  // only when they have sent all.
  size_t linger_bytes = 64 << 20;
  std::chrono::seconds linger_time{10};
  std::chrono::seconds stream_heartbeat{15};     // a comment in silent event streams, so that nothing between cuts them
  std::chrono::seconds websocket_heartbeat{15};  // a ping to a client that is silent; as much later it is gone
  std::chrono::seconds websocket_idle_time{600};  // of a WebSocket without a request
  std::chrono::seconds websocket_close_time{5};   // from a farewell to the client's own
  int websocket_answers = 32;                     // at once on one connection
};

struct ListenOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0: a free one
  ListenerKind kind = ListenerKind::kApi;
  std::string port_flag = "--port";  // what a message calls the setting: "--port"
};

struct HttpServerOptions {
  std::shared_ptr<const KeyRing> keys{};  // nullptr: none is asked for
  HttpLimits limits{};
  int threads = 2;
  CorsRules cors{};
  TlsFiles tls{};           // of all listeners
  bool access_log = false;  // a line for each request
};

class HttpServer {
 public:
  // The router must outlive the server and not change.
  explicit HttpServer(const Router& router, HttpServerOptions options = {});
  ~HttpServer();  // stop(0) if still running
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and listens; connections are taken from start() on. Returns the port. Throws Error{kUnavailable} in one line
  // with the remedy when the port is taken, Error{kInvalidArgument} for an address that is not this machine's.
  uint16_t listen(const ListenOptions& options);
  void start();

  // Lets running answers end for `grace`; meanwhile requests are still taken, one a connection, so that whoever asks
  // hears from the handlers that the server is ending. Then takes no more connections, closes the idle ones, tells
  // answers that still run to end (AbortReason::kShutdown) and waits until they have, at most `patience` longer. False
  // if some had not.
  bool stop(std::chrono::milliseconds grace, std::chrono::milliseconds patience = std::chrono::seconds(10));

  // `callback` runs on an I/O thread for each SIGINT or SIGTERM from now on.
  void on_signal(std::function<void(int)> callback);

  int connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A host's addresses are all of loopback, so that only this machine can reach it.
bool is_loopback_address(const std::string& host);

}  // namespace carronade
