#include "server/http_server.h"

#include <pthread.h>

#include <algorithm>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include "base/error.h"
#include "base/log.h"
#include "server/http_session.h"

namespace carronade {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

tcp::endpoint resolve(const std::string& host, uint16_t port) {
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return {address, port};
  asio::io_context io;
  const auto found = tcp::resolver(io).resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the host " + host + " is not known here; use an address of this machine, as 127.0.0.1", "--host");
  }
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

[[noreturn]] void throw_cannot_listen(const ListenOptions& options, const error_code& error) {
  if (error == asio::error::address_in_use) {
    throw_error(ErrorCode::kUnavailable,
                "port {} on {} is in use by another program; stop that, or choose another port with {}", options.port,
                options.host, options.port_flag);
  }
  if (error == asio::error::access_denied) {
    throw_error(ErrorCode::kUnavailable, "this user may not listen on port {}; choose one above 1023 with {}",
                options.port, options.port_flag);
  }
  if (error == boost::system::errc::address_not_available) {
    throw_error(ErrorCode::kInvalidArgument,
                "{} is not an address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all", options.host);
  }
  throw_error(ErrorCode::kIo, "cannot listen on {} port {}: {}", options.host, options.port, error.message());
}

}  // namespace

bool is_loopback_address(const std::string& host) {
  try {
    return resolve(host, 0).address().is_loopback();
  } catch (const Error&) {
    return false;
  }
}

struct HttpServer::Impl {
  struct Listener {
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    ListenerKind kind;
    AccessRules rules;
  };

  Impl(const Router& router, HttpServerOptions options)
      : context(std::make_shared<ServerContext>(router, options)),
        keys(std::move(options.keys)),
        cors(std::move(options.cors)),
        thread_count(options.threads),
        work(asio::make_work_guard(context->io)),
        signals(context->io) {}

  void accept(Listener& listener) {
    listener.acceptor.async_accept(
        asio::make_strand(context->io), [this, &listener](error_code error, tcp::socket socket) {
          if (error == asio::error::operation_aborted || context->stopping) return;
          if (error) {  // out of descriptors, most likely: connections that end give some back
            spdlog::warn("cannot take a connection: {}", error.message());
            listener.pause.expires_after(std::chrono::milliseconds(100));
            listener.pause.async_wait([this, &listener](error_code cancelled) {
              if (!cancelled) accept(listener);
            });
            return;
          }
          if (connections() < context->limits.connections || end_longest_idle()) {
            error_code ignored;
            socket.set_option(tcp::no_delay(true), ignored);
            start_session(context, std::move(socket), listener.kind, listener.rules);
          }
          accept(listener);
        });
  }

  // Connections that only wait must not keep others out. False when none does.
  bool end_longest_idle() {
    std::lock_guard lock(context->mutex);
    HttpSession* longest = nullptr;
    int64_t since = 0;
    for (const auto& session : context->sessions) {
      const int64_t idle = session->idle_since();
      if (idle != 0 && (!longest || idle < since)) {
        longest = session.get();
        since = idle;
      }
    }
    if (longest) longest->end_if_idle();
    return longest != nullptr;
  }

  int connections() const {
    std::lock_guard lock(context->mutex);
    return static_cast<int>(context->sessions.size());
  }

  void await_signal() {
    signals.async_wait([this](error_code error, int number) {
      if (error) return;
      on_signal(number);
      await_signal();
    });
  }

  // Calls `tell` for each session there is.
  template <typename Tell>
  void tell_sessions(Tell&& tell) {
    std::lock_guard lock(context->mutex);
    for (const auto& session : context->sessions) tell(*session);
  }

  // Waits until every connection and every answer has ended.
  bool wait_for_end(std::chrono::steady_clock::time_point deadline) {
    return wait_for([this] { return context->sessions.empty() && context->exchanges == 0; }, deadline);
  }

  // `done` is called under the context's mutex. False when it was too late.
  template <typename Done>
  bool wait_for(const Done& done, std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(context->mutex);
    // Exchanges may end a moment after their connections, without a notice.
    while (!done()) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) return false;
      context->changed.wait_until(lock, std::min(deadline, now + std::chrono::milliseconds(5)));
    }
    return true;
  }

  std::shared_ptr<ServerContext> context;
  std::shared_ptr<const KeyRing> keys;
  CorsRules cors;
  int thread_count;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  asio::signal_set signals;
  std::function<void(int)> on_signal;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::thread> threads;
  bool stopped = false;
};

HttpServer::HttpServer(const Router& router, HttpServerOptions options)
    : impl_(std::make_unique<Impl>(router, std::move(options))) {}

HttpServer::~HttpServer() {
  stop(std::chrono::milliseconds(0));
  impl_->signals.cancel();
  impl_->work.reset();
  impl_->context->io.stop();
  impl_->context->compute.stop();
  impl_->context->compute.join();
  for (auto& thread : impl_->threads) thread.join();
}

uint16_t HttpServer::listen(const ListenOptions& options) {
  const tcp::endpoint endpoint = resolve(options.host, options.port);
  const auto strand = asio::make_strand(impl_->context->io);
  auto listener = std::make_unique<Impl::Listener>(
      Impl::Listener{tcp::acceptor(strand), asio::steady_timer(strand), options.kind, {}});
  error_code error;
  const auto check = [&] {
    if (error) throw_cannot_listen(options, error);
  };
  listener->acceptor.open(endpoint.protocol(), error);
  check();
  listener->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  check();
  listener->acceptor.bind(endpoint, error);
  check();
  listener->acceptor.listen(asio::socket_base::max_listen_connections, error);
  check();
  std::string host = options.host;
  std::ranges::transform(host, host.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  listener->rules = {impl_->keys, {host}, impl_->cors, endpoint.address().is_loopback()};
  const uint16_t port = listener->acceptor.local_endpoint().port();
  impl_->listeners.push_back(std::move(listener));
  return port;
}

void HttpServer::start() {
  for (auto& listener : impl_->listeners) impl_->accept(*listener);
  for (int i = 0; i < impl_->thread_count; ++i) {
    impl_->threads.emplace_back([this] {
      ::pthread_setname_np(::pthread_self(), "http");
      impl_->context->io.run();
    });
  }
}

bool HttpServer::stop(std::chrono::milliseconds grace, std::chrono::milliseconds patience) {
  if (impl_->stopped) return true;
  impl_->stopped = true;
  impl_->context->draining = true;
  const auto end = std::chrono::steady_clock::now() + grace;
  const bool idle = impl_->threads.empty() || impl_->wait_for([&] { return impl_->context->exchanges == 0; }, end);
  impl_->context->stopping = true;
  for (auto& listener : impl_->listeners) {
    asio::post(listener->acceptor.get_executor(), [&listener = *listener] {
      error_code ignored;
      listener.acceptor.close(ignored);
      listener.pause.cancel();
    });
  }
  if (impl_->threads.empty()) return true;
  impl_->tell_sessions([](HttpSession& session) { session.close_when_done(); });
  if (idle && impl_->wait_for_end(end)) return true;  // of requests that have come by half
  impl_->context->aborting = true;
  impl_->tell_sessions([](HttpSession& session) { session.abort_answer(); });
  return impl_->wait_for_end(std::chrono::steady_clock::now() + patience);
}

void HttpServer::on_signal(std::function<void(int)> callback) {
  impl_->on_signal = std::move(callback);
  impl_->signals.add(SIGINT);
  impl_->signals.add(SIGTERM);
  impl_->await_signal();
}

int HttpServer::connections() const { return impl_->connections(); }

}  // namespace carronade
