#include "server/http_session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "api/openai.h"
#include "base/error.h"
#include "base/log.h"
#include "server/access_log.h"
#include "server/client_stream.h"
#include "server/websocket_session.h"

namespace carronade {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Parser = http::request_parser<http::string_body>;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// How the peer wants its answer framed.
struct Framing {
  bool head_only = false;  // HEAD
  bool http_1_0 = false;   // no chunks
  bool keep_alive = true;
};

// What a handler holds. Lives on the connection's strand; the connection may go before it does.
class SessionExchange final : public Exchange, public std::enable_shared_from_this<SessionExchange> {
 public:
  // `headers` go with the reply, whatever it is.
  SessionExchange(std::shared_ptr<ServerContext> context, asio::any_io_executor strand, std::string id, Framing framing,
                  HttpHeaders headers, std::function<void()> wake)
      : context_(std::move(context)),
        strand_(std::move(strand)),
        id_(std::move(id)),
        framing_(framing),
        headers_(std::move(headers)),
        wake_(std::move(wake)) {
    ++context_->exchanges;
  }
  ~SessionExchange() override { --context_->exchanges; }

  void respond(HttpResponse response) override {
    if (ended_ || started_) return;
    const size_t size = response.static_body.empty() ? response.body.size() : response.static_body.size();
    status_ = response.status;
    output_ += head(response, size);
    if (!framing_.head_only) {
      output_ += response.body;
      tail_ = response.static_body;
    }
    end();
  }

  void start_stream(HttpResponse response) override {
    if (ended_ || started_) return;
    status_ = response.status;
    started_ = true;
    if (framing_.http_1_0) framing_.keep_alive = false;  // the end of the connection is the end of the body
    output_ += head(response, std::nullopt);
    wake_();
  }

  void write(std::string bytes) override {
    if (ended_ || !started_ || bytes.empty()) return;
    append_chunk(bytes);
    if (output_.size() > context_->limits.unsent_bytes) {
      spdlog::warn("{}: the client does not read its answer; closing the connection", id_);
      abort(AbortReason::kDisconnected);
    }
    wake_();
  }

  void finish() override {
    if (ended_ || !started_) return;
    if (!framing_.http_1_0 && !framing_.head_only) output_ += "0\r\n\r\n";
    end();
  }

  void on_abort(std::function<void(AbortReason)> callback) override {
    if (disconnected_ && callback) callback(AbortReason::kDisconnected);
    if (ended_) return;
    on_abort_ = std::move(callback);
    if (told_to_end_) on_abort_(AbortReason::kShutdown);
  }

  void on_answer_now(std::function<void()>) override {}  // HTTP has no way to say so

  void post(std::function<void()> work) override {
    asio::post(strand_, [self = shared_from_this(), work = std::move(work)] { work(); });
  }

  void compute(std::function<std::function<void()>()> work) override {
    context_->run_computation(std::move(work), strand_, shared_from_this());
  }

  // ---- For the connection ----
  void abort(AbortReason reason) {
    if (ended_ || (reason == AbortReason::kShutdown && told_to_end_)) return;
    told_to_end_ = true;
    auto callback = on_abort_;
    if (reason == AbortReason::kDisconnected) {
      disconnected_ = true;
      end();
    }
    if (callback) callback(reason);
  }
  void heartbeat() {
    if (started_ && !ended_) append_chunk(": still here\n\n");
  }
  // The connection is gone or done with this; nobody is there to wake.
  void detach() {
    wake_ = [] {};
  }

  bool disconnected() const { return disconnected_; }
  bool ended() const { return ended_; }
  bool keep_alive() const { return framing_.keep_alive; }
  int status() const { return status_; }
  std::string take_output() { return std::exchange(output_, {}); }
  std::string_view take_tail() { return std::exchange(tail_, {}); }

 private:
  void end() {
    ended_ = true;
    on_abort_ = nullptr;
    wake_();
  }

  void append_chunk(std::string_view bytes) {
    if (framing_.head_only) return;
    if (framing_.http_1_0) {
      output_ += bytes;
    } else {
      fmt::format_to(std::back_inserter(output_), "{:x}\r\n{}\r\n", bytes.size(), bytes);
    }
  }

  std::string head(const HttpResponse& response, std::optional<size_t> size) const {
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nServer: carronade\r\nX-Request-Id: {}\r\n",
                                   response.status, status_text(response.status), http_date(), id_);
    for (const HttpHeaders* headers : {&response.headers, &headers_}) {
      for (const auto& [name, value] : *headers) fmt::format_to(std::back_inserter(text), "{}: {}\r\n", name, value);
    }
    text += "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";
    if (size) {
      if (response.status != 204 && response.status != 304) text += fmt::format("Content-Length: {}\r\n", *size);
    } else if (!framing_.http_1_0) {
      text += "Transfer-Encoding: chunked\r\n";
    }
    text += framing_.keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    return text;
  }

  std::shared_ptr<ServerContext> context_;
  asio::any_io_executor strand_;
  std::string id_;
  Framing framing_;
  HttpHeaders headers_;
  std::function<void()> wake_;
  std::function<void(AbortReason)> on_abort_;
  std::string output_;     // not yet taken by the connection
  std::string_view tail_;  // goes behind it
  int status_ = 0;
  bool started_ = false, ended_ = false, disconnected_ = false, told_to_end_ = false;
};

class Session final : public HttpSession, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<ServerContext> context, tcp::socket socket, ListenerKind kind, AccessRules rules)
      : context_(std::move(context)),
        client_(address_of(socket)),
        stream_(std::move(socket), context_->tls),
        timer_(stream_.get_executor()),
        look_timer_(stream_.get_executor()),
        kind_(kind),
        rules_(std::move(rules)) {
    buffer_.max_size(context_->limits.header_bytes + (64 << 10));
  }

  void start() {
    {
      std::lock_guard lock(context_->mutex);
      context_->sessions.insert(shared_from_this());
    }
    asio::co_spawn(
        stream_.get_executor(), [self = shared_from_this()] { return self->run(); },
        [self = shared_from_this()](const std::exception_ptr& failure) { self->on_end(failure); });
  }

  int64_t idle_since() const override { return idle_since_; }
  void end_if_idle() override {
    idle_since_ = 0;
    asio::post(stream_.get_executor(), [self = shared_from_this()] {
      if (self->websocket_) return self->websocket_->close_if_idle();
      if (self->idle_) self->stream_.cancel();
    });
  }

  void close_when_done() override {
    asio::post(stream_.get_executor(), [self = shared_from_this()] {
      if (self->websocket_) return self->websocket_->drain();
      if (self->idle_) self->stream_.cancel();
    });
  }

  void abort_answer() override {
    asio::post(stream_.get_executor(), [self = shared_from_this()] {
      if (self->websocket_) return self->websocket_->abort();
      if (self->exchange_) self->exchange_->abort(AbortReason::kShutdown);
      if (!self->exchange_) self->stream_.cancel();  // still reading a request: it will not be answered
    });
  }

 private:
  static std::string address_of(const tcp::socket& socket) {
    error_code error;
    const auto endpoint = socket.remote_endpoint(error);
    return error ? "-" : endpoint.address().to_string();
  }

  void set_idle(bool idle) {
    idle_ = idle;
    idle_since_ = idle ? std::chrono::steady_clock::now().time_since_epoch().count() : 0;
  }

  // False: no TLS connection came of it.
  asio::awaitable<bool> begin_tls() {
    set_idle(true);
    stream_.expires_after(context_->limits.header_time);
    auto [error, size] = co_await stream_.in_clear().async_read_some(buffer_.prepare(4096), kAwait);
    if (error) co_return false;
    buffer_.commit(size);
    constexpr unsigned char kHandshakeRecord = 0x16;
    if (static_cast<const unsigned char*>(buffer_.data().data())[0] == kHandshakeRecord) {
      const error_code failed = co_await stream_.handshake(buffer_);
      set_idle(false);
      co_return !failed;
    }
    const std::string_view refusal =
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 47\r\n\r\n"
        "This port speaks TLS: use https:// to reach it.";
    co_await asio::async_write(stream_.in_clear(), asio::buffer(refusal.data(), refusal.size()), kAwait);
    co_return false;
  }

  asio::awaitable<void> run() {
    bool more = true;
    if (stream_.is_tls()) more = co_await begin_tls();
    while (more) more = co_await serve_one();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
  }

  void on_end(const std::exception_ptr& failure) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      spdlog::error("a connection ended by an unexpected error: {}", error.what());
    }
    websocket_.reset();
    if (exchange_) exchange_->abort(AbortReason::kDisconnected);
    if (exchange_) exchange_->detach();
    exchange_.reset();
    std::lock_guard lock(context_->mutex);
    context_->sessions.erase(shared_from_this());
    context_->changed.notify_all();
  }

  // True when another request may follow on this connection.
  asio::awaitable<bool> serve_one() {
    const bool there = co_await wait_for_first_byte();
    if (!there) co_return false;
    Parser parser;
    parser.header_limit(static_cast<uint32_t>(context_->limits.header_bytes));
    parser.body_limit(context_->limits.body_bytes);
    stream_.expires_after(context_->limits.header_time);
    auto [error, size] = co_await http::async_read_header(stream_, buffer_, parser, kAwait);
    HttpRequest request;
    request.id = make_request_id();
    request.listener = kind_;
    if (error) {
      co_await refuse_unreadable(request.id, error);
      co_return false;
    }
    const bool readable = read_head(parser, request);
    if (is_request_id(request.header("x-request-id"))) request.id = request.header("x-request-id");
    Verdict verdict;
    if (!readable) {
      verdict.refusal = error_response(400, "the request needs a path that begins with \"/\" and one Host header");
    } else {
      verdict = context_->router.check(request, rules_);
      request.key = verdict.key;
    }
    Framing framing{request.method == "HEAD", parser.get().version() < 11, parser.keep_alive()};
    if (verdict.refusal) {
      framing.keep_alive = framing.keep_alive && parser.is_done();  // a body that is not wanted is not read
    } else {
      error_code body_error = co_await read_body(parser);
      if (body_error) {
        co_await refuse_unreadable(request.id, body_error);
        co_return false;
      }
      request.body = std::move(parser.get().body());
      if (verdict.route->websocket && is_websocket_request(request)) {
        verdict.refusal = refuse_websocket(request, framing);
        if (!verdict.refusal) co_return co_await serve_websocket(std::move(request), std::move(verdict));
      }
    }
    if (context_->draining) framing.keep_alive = false;
    co_return co_await answer(request, std::move(verdict), framing);
  }

  asio::awaitable<bool> wait_for_first_byte() {
    if (buffer_.size() > 0) co_return true;  // it came with the request before
    if (context_->stopping) co_return false;
    set_idle(true);
    stream_.expires_after(context_->limits.idle_time);
    auto [error, size] = co_await stream_.async_read_some(buffer_.prepare(4096), kAwait);
    set_idle(false);
    if (error) co_return false;
    buffer_.commit(size);
    co_return true;
  }

  bool read_head(const Parser& parser, HttpRequest& request) const {
    const auto& head = parser.get();
    request.method = head.method_string();
    int hosts = 0;
    for (const auto& field : head) {
      std::string name(field.name_string());
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      hosts += name == "host" ? 1 : 0;
      request.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    std::string target(head.target());
    if (target.starts_with("http://")) {  // absolute form, as sent to proxies
      const size_t slash = target.find('/', 7);
      target = slash == std::string::npos ? "/" : target.substr(slash);
    }
    const size_t question = target.find('?');
    request.path = percent_decode(std::string_view(target).substr(0, question));
    if (question != std::string::npos) request.query = target.substr(question + 1);
    return request.path.starts_with('/') && (hosts == 1 || (hosts == 0 && head.version() < 11));
  }

  asio::awaitable<error_code> read_body(Parser& parser) {
    if (parser.is_done()) co_return error_code();
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      const error_code error = co_await send("HTTP/1.1 100 Continue\r\n\r\n", {});
      if (error) co_return error;
    }
    // A slow line is let through, one that only pretends to send is not.
    const auto began = std::chrono::steady_clock::now();
    size_t received = 0;
    while (!parser.is_done()) {
      const auto time =
          context_->limits.body_time + std::chrono::seconds(received / context_->limits.body_bytes_per_second);
      stream_.expires_after(
          std::max<std::chrono::steady_clock::duration>(began + time - std::chrono::steady_clock::now(), {}));
      auto [error, size] = co_await http::async_read_some(stream_, buffer_, parser, kAwait);
      if (error) co_return error;
      received += size;
    }
    co_return error_code();
  }

  asio::awaitable<bool> answer(const HttpRequest& request, Verdict verdict, Framing framing) {
    const auto started = std::chrono::steady_clock::now();
    // The exchange is dropped by on_end() at the latest, which also makes this harmless.
    exchange_ = std::make_shared<SessionExchange>(context_, stream_.get_executor(), request.id, framing,
                                                  std::move(verdict.headers), [this] { timer_.cancel(); });
    auto exchange = exchange_;
    if (context_->aborting) exchange->abort(AbortReason::kShutdown);
    if (verdict.refusal) {
      exchange->respond(std::move(*verdict.refusal));
    } else {
      call(*verdict.route, request, exchange);
    }
    if (!exchange->ended()) watch();
    const bool written = co_await write_answer(*exchange);
    measure(verdict.route, request.method, exchange->status(), started);
    log(request, verdict.route, exchange->status(), started);
    stop_watching();
    exchange->detach();
    exchange_.reset();
    const bool more = written && exchange->keep_alive();
    exchange.reset();  // it is answered, whatever the client does from here on
    if (written && !more) co_await linger();
    co_return more;
  }

  std::optional<HttpResponse> refuse_websocket(const HttpRequest& request, const Framing& framing) const {
    if (context_->draining) return error_response(503, "the server is shutting down");
    if (framing.http_1_0) return error_response(400, "a WebSocket needs HTTP/1.1");
    // Its client has to wait for the answer.
    if (buffer_.size() > 0) return error_response(400, "bytes came behind the request for a WebSocket");
    return websocket_refusal(request);
  }

  asio::awaitable<bool> serve_websocket(HttpRequest request, Verdict verdict) {
    const auto started = std::chrono::steady_clock::now();
    websocket_ =
        make_websocket_session({context_, stream_, shared_from_this(), client_, *verdict.route, request,
                                std::move(verdict.headers), rules_.keys, [this](bool idle) { set_idle(idle); }});
    const bool orderly = co_await websocket_->run();
    bytes_sent_ = websocket_->bytes_sent();
    log(request, verdict.route, 101, started);
    websocket_.reset();
    set_idle(false);
    if (orderly) co_await linger();
    co_return false;
  }

  void log(const HttpRequest& request, const Route* route, int status, std::chrono::steady_clock::time_point started) {
    const uint64_t bytes = std::exchange(bytes_sent_, 0);
    if (!context_->access_log) return;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    const bool routine = route && (!route->needs_key || route->path == "/metrics" || route->path == "/ping");
    log_access(request, {client_, status, bytes, seconds, routine});
  }

  void measure(const Route* route, std::string_view method, int status, std::chrono::steady_clock::time_point started) {
    RouteMetrics& metrics = route ? *route->metrics : context_->router.unmatched();
    metrics.answered(method, status, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }

  static void call(const Route& route, const HttpRequest& request, const std::shared_ptr<SessionExchange>& exchange) {
    try {
      route.handler(request, exchange);
    } catch (const Error& error) {
      exchange->respond(error_response(http_status(error.code), error.what(), error.param));
    } catch (const std::exception& error) {
      spdlog::error("{}: {} {} failed: {}", request.id, request.method, request.path, error.what());
      exchange->respond(error_response(500, "an internal error; the server's log has it under " + request.id));
    }
  }

  // Writes what the exchange gives until it has ended. False when the client is gone.
  asio::awaitable<bool> write_answer(SessionExchange& exchange) {
    for (;;) {
      if (exchange.disconnected()) co_return false;
      const std::string output = exchange.take_output();
      const std::string_view tail = exchange.take_tail();
      if (!output.empty() || !tail.empty()) {
        const error_code error = co_await send(output, tail);
        if (error) {
          exchange.abort(AbortReason::kDisconnected);
          co_return false;
        }
        continue;
      }
      if (exchange.ended()) co_return true;
      timer_.expires_after(context_->limits.stream_heartbeat);
      auto [woken] = co_await timer_.async_wait(kAwait);
      if (!woken) exchange.heartbeat();
    }
  }

  // Writes both, one after the other. The time limit is on progress, not on the whole.
  asio::awaitable<error_code> send(std::string_view first, std::string_view second) {
    for (std::string_view rest : {first, second}) {
      while (!rest.empty()) {
        stream_.expires_after(context_->limits.write_time);
        auto [error, size] = co_await stream_.async_write_some(asio::buffer(rest.data(), rest.size()), kAwait);
        if (error) co_return error;
        bytes_sent_ += size;
        rest.remove_prefix(size);
      }
    }
    stream_.expires_never();
    co_return error_code();
  }

  // While an answer is made nothing should come from the client; that the connection can be read means it was closed,
  // or that bytes came early: a next request, or what TLS has to say. Those are left, and looked past now and then.
  void watch() {
    const uint64_t mine = ++watch_;
    stream_.socket().async_wait(tcp::socket::wait_read, [self = shared_from_this(), mine](error_code error) {
      if (!error) self->look(mine);
    });
  }
  void look(uint64_t mine) {
    if (mine != watch_ || !exchange_) return;
    pollfd ended{stream_.socket().native_handle(), POLLIN | POLLRDHUP, 0};
    ::poll(&ended, 1, 0);
    if ((ended.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0) {
      return exchange_->abort(AbortReason::kDisconnected);
    }
    if (ended.revents == 0) return watch();
    look_timer_.expires_after(std::chrono::milliseconds(200));
    look_timer_.async_wait([self = shared_from_this(), mine](error_code error) {
      if (!error) self->look(mine);
    });
  }
  void stop_watching() {
    if (watch_ == 0) return;
    ++watch_;
    look_timer_.cancel();
    error_code ignored;
    stream_.socket().cancel(ignored);
  }

  asio::awaitable<void> refuse_unreadable(const std::string& id, error_code error) {
    if (error == http::error::end_of_stream || error == asio::error::operation_aborted || error == asio::error::eof ||
        error == asio::error::connection_reset) {
      co_return;
    }
    HttpResponse response;
    if (error == beast::error::timeout) {
      co_return;  // Beast has closed the socket
    } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      response = error_response(
          431, fmt::format("the request's headers are larger than {} bytes", context_->limits.header_bytes));
    } else if (error == http::error::body_limit) {
      response =
          error_response(413, fmt::format("the request's body is larger than {} bytes", context_->limits.body_bytes));
    } else {
      response = error_response(400, "this is not HTTP/1.1: " + error.message());
    }
    SessionExchange exchange(context_, stream_.get_executor(), id, {false, false, false}, {}, [] {});
    measure(nullptr, {}, response.status, std::chrono::steady_clock::now());
    exchange.respond(std::move(response));
    const std::string output = exchange.take_output();
    const error_code failed = co_await send(output, {});
    if (!failed) co_await linger();
  }

  // Closing while the client still sends would discard the answer before it is read: end our side, and read on within
  // limits.
  asio::awaitable<void> linger() {
    error_code ignored;
    if (stream_.is_tls()) {
      stream_.expires_after(std::chrono::seconds(1));
      co_await stream_.end_tls();
    }
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    const auto end = std::chrono::steady_clock::now() + context_->limits.linger_time;
    std::vector<char> scrap(64 << 10);
    for (size_t total = 0; total < context_->limits.linger_bytes;) {
      // Who sends no more has either read the answer or gone.
      stream_.in_clear().expires_at(std::min(end, std::chrono::steady_clock::now() + std::chrono::seconds(1)));
      auto [error, size] = co_await stream_.in_clear().async_read_some(asio::buffer(scrap), kAwait);
      if (error) co_return;
      total += size;
    }
  }

  std::shared_ptr<ServerContext> context_;
  std::string client_;  // its address
  ClientStream stream_;
  asio::steady_timer timer_;       // waits for output
  asio::steady_timer look_timer_;  // until the next look() past bytes that came early
  beast::flat_buffer buffer_;
  ListenerKind kind_;
  AccessRules rules_;
  std::shared_ptr<SessionExchange> exchange_;    // of the running request
  std::shared_ptr<WebSocketSession> websocket_;  // that the connection has become
  uint64_t watch_ = 0;
  uint64_t bytes_sent_ = 0;  // of the running answer
  bool idle_ = false;
  std::atomic<int64_t> idle_since_{0};
};

}  // namespace

void ServerContext::run_computation(std::function<std::function<void()>()> work, const asio::any_io_executor& strand,
                                    std::shared_ptr<void> keeps) {
  asio::post(compute, [work = std::move(work), strand, keeps = std::move(keeps)]() mutable {
    asio::post(strand, [then = work(), keeps = std::move(keeps)] { then(); });
  });
}

void start_session(std::shared_ptr<ServerContext> context, tcp::socket socket, ListenerKind kind, AccessRules rules) {
  std::make_shared<Session>(std::move(context), std::move(socket), kind, std::move(rules))->start();
}

}  // namespace carronade
