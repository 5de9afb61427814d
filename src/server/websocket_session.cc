#include "server/websocket_session.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "base/log.h"
#include "server/access_log.h"

namespace carronade {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using boost::system::error_code;

// What Beast does when it has sent or seen the last frame. The farewells of TLS and TCP are the connection's own.
template <typename Handler>
void async_teardown(beast::role_type, ClientStream& stream, Handler&& handler) {
  asio::post(stream.get_executor(), beast::bind_front_handler(std::forward<Handler>(handler), error_code{}));
}
// And when the peer has been silent for too long.
inline void beast_close_socket(ClientStream& stream) { stream.close(); }

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr size_t kReadAtOnce = 64 << 10;

// Compression is left out (the second template argument): docs/decisions/0010-websocket.md.
using Stream = websocket::stream<ClientStream&, false>;

class Session final : public WebSocketSession,
                      public WebSocketConnection,
                      public std::enable_shared_from_this<Session> {
 public:
  explicit Session(WebSocketSetting setting)
      : setting_(std::move(setting)),
        limits_(setting_.context->limits),
        socket_(setting_.stream),
        watch_(setting_.stream.get_executor()),
        ended_(setting_.stream.get_executor(), Clock::time_point::max()) {
    socket_.set_option(
        websocket::stream_base::timeout{limits_.websocket_close_time, 2 * limits_.websocket_heartbeat, true});
    socket_.read_message_max(limits_.body_bytes);
    socket_.auto_fragment(false);  // a message is a frame
    socket_.text(true);
  }

  asio::awaitable<bool> run() override {
    setting_.stream.expires_never();  // the WebSocket has time limits of its own
    if (!co_await shake_hands()) co_return false;
    handler_ = setting_.route.websocket->open(
        {setting_.request, setting_.route, setting_.keys, limits_.websocket_answers, shared_from_this()});
    open_ = true;
    set_idle();
    watch();
    if (draining_) drain();
    const bool told = co_await read();
    open_ = false;
    std::exchange(handler_, nullptr)->on_abort(AbortReason::kDisconnected);
    while (closing_) co_await ended_.async_wait(kAwait);
    const bool orderly = told || said_farewell_;
    if (!orderly) setting_.stream.close();
    while (writing_) co_await ended_.async_wait(kAwait);
    over_ = true;
    watch_.cancel();
    co_return orderly;
  }

  uint64_t bytes_sent() const override { return bytes_sent_; }

  void drain() override {
    draining_ = true;
    if (answers_ == 0) close(WebSocketClose::kGoingAway, "the server is shutting down");
  }
  void abort() override {
    aborting_ = true;
    drain();
    if (close_reason_) give_up_after(farewell_time());
    if (handler_) handler_->on_abort(AbortReason::kShutdown);
  }
  void close_if_idle() override {
    if (answers_ == 0) close(WebSocketClose::kGoingAway, "the server has no room for idle connections");
  }

  void send(std::string text) override {
    if (!open_ || close_reason_ || overrun_) return;
    unsent_ += text.size();
    queue_.push_back(std::move(text));
    overrun_ = unsent_ > limits_.unsent_bytes;
    if (overrun_) {
      spdlog::warn("{}: the client does not read its answers; closing the connection", setting_.request.id);
      setting_.stream.close();
    } else if (!writing_) {
      write();
    }
  }

  std::shared_ptr<void> count_answer() override {
    ++setting_.context->exchanges;
    if (answers_++ == 0) set_idle();
    return {nullptr, [self = shared_from_this()](void*) {
              --self->setting_.context->exchanges;
              asio::post(self->socket_.get_executor(), [self] { self->end_answer(); });
            }};
  }
  bool ending() const override { return draining_; }

  void answered(const HttpRequest& request, int status, uint64_t bytes, double seconds) override {
    setting_.route.metrics->answered(request.method, status, seconds);
    if (setting_.context->access_log) log_access(request, {setting_.client, status, bytes, seconds, false});
  }

  void post(std::function<void()> work) override {
    asio::post(socket_.get_executor(), [self = shared_from_this(), work = std::move(work)] { work(); });
  }

  void compute(std::function<std::function<void()>()> work) override {
    setting_.context->run_computation(std::move(work), socket_.get_executor(), shared_from_this());
  }

 private:
  asio::awaitable<bool> shake_hands() {
    const auto began = Clock::now();
    http::request<http::empty_body> head(http::verb::get, setting_.request.path, 11);
    for (const auto& [name, value] : setting_.request.headers) head.insert(name, value);
    socket_.set_option(websocket::stream_base::decorator([this](websocket::response_type& reply) {
      reply.set(http::field::server, "carronade");
      reply.set("X-Request-Id", setting_.request.id);
      for (const auto& [name, value] : setting_.headers) reply.insert(name, value);
      const std::string& ours = setting_.route.websocket->subprotocol;
      if (std::ranges::count(offered_subprotocols(setting_.request), ours) > 0) {
        reply.set(http::field::sec_websocket_protocol, ours);
      }
    }));
    auto [error] = co_await socket_.async_accept(head, kAwait);
    if (error) co_return false;
    setting_.route.metrics->answered("GET", 101, std::chrono::duration<double>(Clock::now() - began).count());
    co_return true;
  }

  // True when the peer has been told by a frame why this ends.
  asio::awaitable<bool> read() {
    for (;;) {
      // Into a buffer of a size of our own: Beast's guess of one fails an assertion when its close has meanwhile read a
      // message's rest.
      auto [error, size] = co_await socket_.async_read_some(
          message_.prepare(kReadAtOnce), asio::bind_cancellation_slot(give_up_reading_.slot(), kAwait));
      message_.commit(size);
      if (error) co_return error.category() == error_code(websocket::error::closed).category();
      if (close_reason_) {
        message_.clear();
        continue;
      }
      if (!message_began_) message_began_ = Clock::now();
      if (socket_.got_binary()) {
        close(WebSocketClose::kUnsupportedData, "messages are text");
      } else if (socket_.is_message_done()) {
        take_message();
      }
    }
  }

  void take_message() {
    const auto bytes = message_.data();
    handler_->on_message({static_cast<const char*>(bytes.data()), bytes.size()});
    message_.clear();
    if (message_.capacity() > kReadAtOnce) message_.shrink_to_fit();
    message_began_.reset();
    if (answers_ == 0) set_idle();  // from now on
  }

  void write() {
    writing_ = Clock::now();
    socket_.async_write(asio::buffer(queue_.front()), [self = shared_from_this()](error_code error, size_t) {
      self->writing_.reset();
      self->on_written(error);
    });
  }
  void on_written(error_code error) {
    unsent_ -= queue_.front().size();
    bytes_sent_ += queue_.front().size();
    queue_.pop_front();
    ended_.cancel();
    if (error && error != asio::error::operation_aborted) setting_.stream.close();
    if (error || !open_) {
      queue_.clear();
    } else if (!queue_.empty()) {
      write();
    } else if (close_reason_) {
      say_farewell();
    }
  }

  // Behind what was sent.
  void close(WebSocketClose code, std::string_view reason) {
    if (!open_ || close_reason_) return;
    close_reason_ = websocket::close_reason(static_cast<websocket::close_code>(code), reason);
    give_up_after(aborting_ ? farewell_time() : limits_.write_time);
    if (!writing_) say_farewell();
  }
  void say_farewell() {
    closing_ = true;
    socket_.async_close(*close_reason_, asio::bind_cancellation_slot(give_up_closing_.slot(),
                                                                     [self = shared_from_this()](error_code error) {
                                                                       self->closing_ = false;
                                                                       self->said_farewell_ = !error;
                                                                       self->ended_.cancel();
                                                                     }));
    if (!aborting_) give_up_after(farewell_time());
  }
  // Beast's own limit comes first, where it works.
  std::chrono::seconds farewell_time() const { return limits_.websocket_close_time + std::chrono::seconds(1); }
  void give_up_after(std::chrono::seconds time) {
    watch_.expires_after(time);
    watch_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && !self->over_) self->give_up();
    });
  }
  // Beast has a time limit on the farewell, but where what the client sends meanwhile is wrong (text that is not
  // UTF-8), its read and its close wait for each other, and that for ever.
  void give_up() {
    setting_.stream.close();
    give_up_reading_.emit(asio::cancellation_type::terminal);
    give_up_closing_.emit(asio::cancellation_type::terminal);
  }

  void end_answer() {
    if (--answers_ > 0 || !open_) return;
    set_idle();
    if (draining_) drain();
  }

  void set_idle() {
    idle_since_ = Clock::now();
    setting_.set_idle(answers_ == 0);
  }

  // Looks now and then whether something takes too long that Beast has no eye on.
  void watch() {
    const auto shortest = std::min({limits_.body_time, limits_.write_time, limits_.websocket_idle_time});
    watch_.expires_after(std::max<Clock::duration>(shortest / 4, std::chrono::milliseconds(100)));
    watch_.async_wait([self = shared_from_this()](error_code error) {
      if (error || self->over_) return;
      self->look(Clock::now());
      if (!self->close_reason_) self->watch();
    });
  }
  void look(Clock::time_point now) {
    const auto body_time = limits_.body_time + std::chrono::seconds(message_.size() / limits_.body_bytes_per_second);
    if (writing_ && now - *writing_ > limits_.write_time) {
      setting_.stream.close();
    } else if (message_began_ && now - *message_began_ > body_time) {
      close(WebSocketClose::kPolicyViolation, "the message did not arrive in time");
    } else if (answers_ == 0 && now - idle_since_ > limits_.websocket_idle_time) {
      close(WebSocketClose::kNormal, "no request for a long time");
    }
  }

  WebSocketSetting setting_;
  const HttpLimits& limits_;
  Stream socket_;
  asio::cancellation_signal give_up_reading_, give_up_closing_;
  asio::steady_timer watch_;
  asio::steady_timer ended_;    // waits for the last write and the farewell
  beast::flat_buffer message_;  // that is coming
  std::shared_ptr<WebSocketHandler> handler_;
  std::deque<std::string> queue_;  // the first of them is being written, when one is
  size_t unsent_ = 0;              // bytes in the queue
  uint64_t bytes_sent_ = 0;
  int answers_ = 0;
  std::optional<Clock::time_point> message_began_, writing_;
  std::optional<websocket::close_reason> close_reason_;  // nothing is sent any more but this
  Clock::time_point idle_since_;
  bool open_ = false, over_ = false, draining_ = false, aborting_ = false, closing_ = false, said_farewell_ = false,
       overrun_ = false;
};

}  // namespace

std::shared_ptr<WebSocketSession> make_websocket_session(WebSocketSetting setting) {
  return std::make_shared<Session>(std::move(setting));
}

}  // namespace carronade
