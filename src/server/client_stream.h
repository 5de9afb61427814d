// The bytes of one connection, in clear or through TLS, with time limits. Only http_session.cc includes this.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>

namespace carronade {

// Belongs to the strand of its connection. Time limits are those of Beast's tcp_stream: an operation that outlasts them
// fails with beast::error::timeout, and the socket is closed.
class ClientStream {
 public:
  using error_code = boost::system::error_code;
  using executor_type = boost::beast::tcp_stream::executor_type;

  // `tls` nullptr: in clear.
  ClientStream(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> tls)
      : tls_context_(std::move(tls)), tcp_(std::move(socket)) {
    if (tls_context_) tls_.emplace(tcp_, *tls_context_);
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  boost::asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  bool is_tls() const { return tls_.has_value(); }
  boost::beast::tcp_stream& in_clear() { return tcp_; }

  void expires_after(std::chrono::steady_clock::duration time) { tcp_.expires_after(time); }
  void expires_never() { tcp_.expires_never(); }
  void cancel() { tcp_.cancel(); }
  void close() { tcp_.close(); }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(error_code, size_t)>(
        [this](auto handler, const Buffers& into) {
          if (tls_) {
            tls_->async_read_some(into, std::move(handler));
          } else {
            tcp_.async_read_some(into, std::move(handler));
          }
        },
        token, buffers);
  }

  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(error_code, size_t)>(
        [this](auto handler, const Buffers& from) {
          if (tls_) {
            tls_->async_write_some(from, std::move(handler));
          } else {
            tcp_.async_write_some(from, std::move(handler));
          }
        },
        token, buffers);
  }

  // Takes what of the client's first bytes is in `buffer`, and consumes it.
  boost::asio::awaitable<error_code> handshake(boost::beast::flat_buffer& buffer) {
    auto [error, size] = co_await tls_->async_handshake(boost::asio::ssl::stream_base::server, buffer.data(), kTuple);
    buffer.consume(size);
    co_return error;
  }

  // Says the farewell of TLS, which tells a whole answer from one that was cut off.
  boost::asio::awaitable<void> end_tls() {
    if (tls_) co_await tls_->async_shutdown(kTuple);
  }

 private:
  static constexpr auto kTuple = boost::asio::as_tuple(boost::asio::use_awaitable);
  std::shared_ptr<boost::asio::ssl::context> tls_context_;
  boost::beast::tcp_stream tcp_;
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace carronade
