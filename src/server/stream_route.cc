#include "server/stream_route.h"

#include <charconv>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/openai.h"
#include "api/stream_messages.h"
#include "base/error.h"
#include "base/log.h"
#include "server/access.h"
#include "server/openai_routes.h"

namespace carronade {

namespace {

class ChatStream;

// One request on a connection, as what answers it sees it: what it writes are lines, and each is a message.
class StreamExchange final : public Exchange, public std::enable_shared_from_this<StreamExchange> {
 public:
  StreamExchange(std::shared_ptr<ChatStream> stream, WebSocketConnection& connection, HttpRequest request,
                 std::string name)
      : stream_(std::move(stream)),
        connection_(connection),
        counted_(connection.count_answer()),
        request_(std::move(request)),
        name_(std::move(name)) {}

  void respond(HttpResponse response) override;
  void start_stream(HttpResponse head) override { status_ = head.status; }
  void write(std::string lines) override;
  void finish() override { end(); }

  void on_abort(std::function<void(AbortReason)> callback) override {
    if (ended_ && told_to_end_ == AbortReason::kDisconnected && callback) callback(*told_to_end_);
    if (ended_) return;
    on_abort_ = std::move(callback);
    if (told_to_end_) on_abort_(*told_to_end_);
  }
  void on_answer_now(std::function<void()> callback) override {
    if (ended_) return;
    on_answer_now_ = std::move(callback);
    if (told_to_answer_) on_answer_now_();
  }
  void post(std::function<void()> work) override {
    connection_.post([self = shared_from_this(), work = std::move(work)] { work(); });
  }
  void compute(std::function<std::function<void()>()> work) override {
    connection_.compute([self = shared_from_this(), work = std::move(work)]() -> std::function<void()> {
      return [self, then = work()] { then(); };
    });
  }

  // ---- For the connection ----
  void abort(AbortReason reason) {
    if (ended_ || (told_to_end_ && reason != AbortReason::kDisconnected)) return;
    told_to_end_ = reason;
    const auto callback = on_abort_;
    const auto self = shared_from_this();
    if (reason == AbortReason::kDisconnected) end();
    if (callback) callback(reason);
  }
  void answer_now() {
    told_to_answer_ = true;
    if (on_answer_now_) on_answer_now_();
  }
  const HttpRequest& request() const { return request_; }
  const std::string& name() const { return name_; }

 private:
  void send(std::string message) {
    bytes_ += message.size();
    connection_.send(std::move(message));
  }
  void end();

  std::shared_ptr<ChatStream> stream_;
  WebSocketConnection& connection_;  // the stream's
  std::shared_ptr<void> counted_;
  HttpRequest request_;
  std::string name_;  // the client's, or the request's own id
  std::function<void(AbortReason)> on_abort_;
  std::function<void()> on_answer_now_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  uint64_t bytes_ = 0;
  int status_ = 0;
  std::optional<AbortReason> told_to_end_;
  bool told_to_answer_ = false, ended_ = false;
};

// One connection.
class ChatStream final : public WebSocketHandler, public std::enable_shared_from_this<ChatStream> {
 public:
  ChatStream(std::shared_ptr<ServingState> state, const WebSocketOpening& opening)
      : state_(std::move(state)),
        connection_(opening.connection),
        keys_(opening.keys),
        max_answers_(static_cast<size_t>(opening.max_answers)) {
    asking_.method = "POST";  // what a message is, where it is counted and checked
    asking_.path = opening.request.path;
    asking_.listener = opening.request.listener;
    const std::string_view token = presented_token(opening.request, opening.route);
    if (!token.empty()) asking_.headers.emplace_back("authorization", "Bearer " + std::string(token));
  }

  void on_message(std::string_view text) override {
    StreamMessage message = parse_stream_message(text);
    if (auto* call = std::get_if<ChatCompletionCall>(&message.what)) {
      start(std::move(message.id), std::move(*call), text.size());
    } else if (std::holds_alternative<CancelAnswer>(message.what)) {
      for (const auto& exchange : named(message.id)) exchange->abort(AbortReason::kCancelled);
    } else if (std::holds_alternative<AnswerNow>(message.what)) {
      for (const auto& exchange : named(message.id)) exchange->answer_now();
    } else {
      const Error& error = std::get<Error>(message.what);
      // A name that is taken stays its request's: only that one's own error may end it.
      const bool taken = running_.contains(message.id);
      refuse(taken ? "" : message.id, error_response(http_status(error.code), error.what(), error.param));
    }
  }

  void on_abort(AbortReason reason) override {
    for (const auto& exchange : named("")) exchange->abort(reason);
  }

  void ended(const StreamExchange& exchange, int status, uint64_t bytes, double seconds) {
    running_.erase(exchange.name());
    connection_->answered(exchange.request(), status, bytes, seconds);
  }

 private:
  // Those that run under this name; all of them without one.
  std::vector<std::shared_ptr<StreamExchange>> named(const std::string& name) const {
    std::vector<std::shared_ptr<StreamExchange>> found;
    for (const auto& [key, exchange] : running_) {
      if (name.empty() || key == name) found.push_back(exchange);
    }
    return found;
  }

  HttpRequest ask() const {
    HttpRequest request = asking_;
    request.id = make_request_id();
    return request;
  }

  // No request began.
  void refuse(const std::string& name, const HttpResponse& response) {
    const std::string message = stream_error_message(name, response.body);
    connection_->answered(ask(), response.status, message.size(), 0);
    connection_->send(message);
  }

  void start(std::string name, ChatCompletionCall call, size_t bytes) {
    if (running_.contains(name)) {
      return refuse("", error_response(400, "the id " + name + " is that of a request that still runs", "id"));
    }
    if (running_.size() >= max_answers_) {
      return refuse(name, error_response(429, "there are " + std::to_string(max_answers_) +
                                                  " requests running on this connection, and that is as many as it "
                                                  "may have"));
    }
    HttpRequest request = ask();
    // The key may have been revoked, or used up, since the connection began.
    Access access = check_access(request, door_, keys_.get());
    request.key = std::move(access.key);
    if (name.empty()) name = request.id;
    const auto exchange = std::make_shared<StreamExchange>(shared_from_this(), *connection_, std::move(request), name);
    running_.emplace(name, exchange);
    if (access.refusal) return exchange->respond(std::move(*access.refusal));
    if (connection_->ending()) return exchange->respond(error_response(503, "the server is shutting down"));
    answer(exchange, std::move(call), bytes);
  }

  void answer(const std::shared_ptr<StreamExchange>& exchange, ChatCompletionCall call, size_t bytes) {
    try {
      answer_chat(state_, exchange->request(), exchange, std::move(call), make_message_framing(exchange->name()),
                  {.bytes = bytes});
    } catch (const Error& error) {
      exchange->respond(error_response(http_status(error.code), error.what(), error.param));
    } catch (const std::exception& error) {
      const std::string& id = exchange->request().id;
      spdlog::error("{}: a message failed: {}", id, error.what());
      exchange->respond(error_response(500, "an internal error; the server's log has it under " + id));
    }
  }

  std::shared_ptr<ServingState> state_;
  std::shared_ptr<WebSocketConnection> connection_;
  std::shared_ptr<const KeyRing> keys_;
  size_t max_answers_;
  HttpRequest asking_;                                       // what all requests have in common
  Route door_{.method = "POST", .path = "", .handler = {}};  // each is let in as one of POST /v1/chat/completions is
  std::map<std::string, std::shared_ptr<StreamExchange>> running_;  // by name
};

void StreamExchange::respond(HttpResponse response) {
  if (ended_) return;
  status_ = response.status;
  std::optional<int> retry_after;
  for (const auto& [name, value] : response.headers) {
    int seconds = 0;
    if (name == "Retry-After" && std::from_chars(value.data(), value.data() + value.size(), seconds).ec == std::errc())
      retry_after = seconds;
  }
  send(stream_error_message(name_, response.body, retry_after));
  end();
}

void StreamExchange::write(std::string lines) {
  if (ended_) return;
  for (size_t begin = 0, end = 0; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1)
    send(lines.substr(begin, end - begin));
}

void StreamExchange::end() {
  if (ended_) return;
  ended_ = true;
  on_abort_ = nullptr;
  on_answer_now_ = nullptr;
  const auto self = shared_from_this();  // until it is counted
  stream_->ended(*this, status_, bytes_,
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count());
}

}  // namespace

void add_stream_route(Router& router, const std::shared_ptr<ServingState>& state) {
  Route route{.method = "GET",
              .path = "/v1/stream",
              .handler = [](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                exchange->respond(upgrade_required(request));
              }};
  route.websocket =
      std::make_shared<WebSocketRoute>(WebSocketRoute{"carronade.stream.v1", [state](const WebSocketOpening& opening) {
                                                        return std::make_shared<ChatStream>(state, opening);
                                                      }});
  router.add(std::move(route));
}

}  // namespace carronade
