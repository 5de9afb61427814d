#include "server/model_wait.h"

#include <utility>

#include "api/openai.h"
#include "base/log.h"
#include "server/router.h"

namespace carronade {

namespace {

using Go = std::function<void(const std::shared_ptr<const ChatModel>&)>;

// One request that waits. Lives on the exchange's strand, kept by the pool until it is answered.
class ModelWait : public std::enable_shared_from_this<ModelWait> {
 public:
  ModelWait(std::shared_ptr<ServingState> state, std::shared_ptr<Exchange> exchange, WaitingReply reply, Go go)
      : state_(std::move(state)), exchange_(std::move(exchange)), reply_(reply), go_(std::move(go)) {
    ++state_->running_answers;
  }
  ~ModelWait() { --state_->running_answers; }
  ModelWait(const ModelWait&) = delete;
  ModelWait& operator=(const ModelWait&) = delete;

  void start(const ModelWanted& wanted) {
    ticket_ = state_->wait(
        wanted,
        [self = shared_from_this()](ModelAnswer answer) {
          self->exchange_->post([self, answer = std::move(answer)]() mutable { self->answered(std::move(answer)); });
        },
        [self = shared_from_this()] { self->exchange_->post([self] { self->begin_stream(); }); });
    exchange_->on_abort([weak = weak_from_this()](AbortReason reason) {
      if (const auto self = weak.lock()) self->on_abort(reason);
    });
  }

 private:
  void on_abort(AbortReason reason) {
    if (std::exchange(over_, true)) return;
    state_->cancel(ticket_);
    if (reason == AbortReason::kShutdown) refuse(Error(ErrorCode::kUnavailable, "the server is shutting down"));
    if (reason == AbortReason::kCancelled)
      refuse(Error(ErrorCode::kCancelled, "cancelled while its model was loading"));
  }

  // It takes long: whoever waits for the first byte of a stream hears that somebody is there.
  void begin_stream() {
    if (over_ || !reply_.stream || !reply_.error_frame) return;
    streaming_ = true;
    exchange_->start_stream(stream_head(reply_.stream_type));
  }

  void answered(ModelAnswer answer) {
    if (std::exchange(over_, true)) return;
    exchange_->on_abort(nullptr);
    const Go go = std::move(go_);
    if (const auto* error = std::get_if<Error>(&answer)) return refuse(*error);
    try {
      go(std::get<std::shared_ptr<const ChatModel>>(answer));
    } catch (const Error& error) {
      refuse(error);
    } catch (const std::exception& error) {
      spdlog::error("a request failed after its model was loaded: {}", error.what());
      refuse(Error(ErrorCode::kInternal, "an internal error; the server's log has it"));
    }
  }

  void refuse(const Error& error) {
    if (!streaming_) return exchange_->respond(error_response(http_status(error.code), error.what(), error.param));
    exchange_->write(reply_.error_frame(error));
    exchange_->finish();
  }

  std::shared_ptr<ServingState> state_;
  std::shared_ptr<Exchange> exchange_;
  WaitingReply reply_;
  Go go_;
  PoolTicket ticket_ = 0;
  bool streaming_ = false, over_ = false;
};

}  // namespace

HttpResponse stream_head(std::string_view type) {
  return {
      200, {{"Content-Type", std::string(type)}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}, {}, {}};
}

void with_model(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange,
                const ModelWanted& wanted, const WaitingReply& reply, Go go) {
  if (const auto model = state->model(wanted)) return go(model);
  std::make_shared<ModelWait>(state, exchange, reply, std::move(go))->start(wanted);
}

}  // namespace carronade
