// One connection. Only http_server.cc and http_session.cc include this: Boost.Beast is slow to compile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>

#include "server/http_server.h"

namespace carronade {

class HttpSession;

// What all connections of a server share. Lives until the last of them has gone, whatever becomes of the server.
struct ServerContext {
  ServerContext(const Router& router, const HttpServerOptions& options)
      : router(router),
        limits(options.limits),
        tls(options.tls.given() ? make_tls_context(options.tls) : nullptr),
        access_log(options.access_log) {}

  // `work` here, and what it returns on `strand`; `keeps` lives until then.
  void run_computation(std::function<std::function<void()>()> work, const boost::asio::any_io_executor& strand,
                       std::shared_ptr<void> keeps);

  boost::asio::io_context io;
  boost::asio::thread_pool compute{1};  // for what would keep connections waiting
  const Router& router;
  const HttpLimits limits;
  const std::shared_ptr<boost::asio::ssl::context> tls;  // nullptr: in clear
  const bool access_log;
  std::atomic<bool> draining{false};  // each connection is closed behind its next answer
  std::atomic<bool> stopping{false};  // no further requests
  std::atomic<bool> aborting{false};  // and what still comes is told to end at once
  std::atomic<int> exchanges{0};      // that some handler still holds
  std::mutex mutex;
  std::condition_variable changed;                  // a session has gone
  std::set<std::shared_ptr<HttpSession>> sessions;  // under mutex
};

class HttpSession {
 public:
  virtual ~HttpSession() = default;
  virtual void close_when_done() = 0;      // any thread: no further request, and none if none is running
  virtual void abort_answer() = 0;         // any thread: the running answer is told to end
  virtual void end_if_idle() = 0;          // any thread: no longer counts as idle, and is closed if it still is
  virtual int64_t idle_since() const = 0;  // any thread: some monotonous count; 0: not idle
};

// Serves the connection on a strand of its own until it ends; the context holds it meanwhile.
void start_session(std::shared_ptr<ServerContext> context, boost::asio::ip::tcp::socket socket, ListenerKind kind,
                   AccessRules rules);

}  // namespace carronade
