#include "server/model_wait.h"

#include <utility>

#include "api/openai.h"
#include "base/log.h"
#include "server/router.h"

namespace carronade {

namespace {

// One request that waits for its model, its tokens or both. Lives on the exchange's strand, kept by the pool or by the
// computation until it is answered; the thread that computes touches `prepare_` alone.
class ModelWait : public std::enable_shared_from_this<ModelWait> {
 public:
  ModelWait(std::shared_ptr<ServingState> state, std::shared_ptr<Exchange> exchange, WaitingReply reply,
            PrepareAnswer prepare)
      : state_(std::move(state)), exchange_(std::move(exchange)), reply_(reply), prepare_(std::move(prepare)) {
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
    watch_client();
  }

  // The model is there.
  void prepare(std::shared_ptr<const ChatModel> model) {
    exchange_->compute([self = shared_from_this(), model = std::move(model)]() -> std::function<void()> {
      try {
        return [self, then = self->prepare_(model)] { self->prepared(then); };
      } catch (...) {
        return [self, error = error_for_client()] { self->prepared([&] { self->refuse(error); }); };
      }
    });
    watch_client();
  }

 private:
  void watch_client() {
    exchange_->on_abort([weak = weak_from_this()](AbortReason reason) {
      if (const auto self = weak.lock()) self->on_abort(reason);
    });
  }

  void on_abort(AbortReason reason) {
    if (std::exchange(over_, true)) return;
    if (ticket_ != 0) state_->cancel(ticket_);
    if (reason == AbortReason::kShutdown) refuse(Error(ErrorCode::kUnavailable, "the server is shutting down"));
    if (reason == AbortReason::kCancelled) refuse(Error(ErrorCode::kCancelled, "cancelled before the answer began"));
  }

  // It takes long: whoever waits for the first byte of a stream hears that somebody is there.
  void begin_stream() {
    if (over_ || !reply_.stream || !reply_.error_frame) return;
    streaming_ = true;
    exchange_->start_stream(stream_head(reply_.stream_type));
  }

  void answered(ModelAnswer answer) {
    if (over_) return;
    if (const auto* error = std::get_if<Error>(&answer)) {
      return prepared([&] { refuse(*error); });
    }
    const auto& model = std::get<std::shared_ptr<const ChatModel>>(answer);
    if (reply_.bytes > kReadAtOnceBytes) return prepare(model);
    prepared([&] { prepare_(model)(); });
  }

  void prepared(const std::function<void()>& then) {
    if (std::exchange(over_, true)) return;
    exchange_->on_abort(nullptr);
    try {
      then();
    } catch (...) {
      refuse(error_for_client());
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
  PrepareAnswer prepare_;
  PoolTicket ticket_ = 0;
  bool streaming_ = false, over_ = false;
};

}  // namespace

HttpResponse stream_head(std::string_view type) {
  return {
      200, {{"Content-Type", std::string(type)}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}, {}, {}};
}

void with_model(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange,
                const ModelWanted& wanted, const WaitingReply& reply, PrepareAnswer prepare) {
  auto model = state->model(wanted);
  if (model && reply.bytes <= kReadAtOnceBytes) return prepare(model)();
  const auto wait = std::make_shared<ModelWait>(state, exchange, reply, std::move(prepare));
  if (model)
    wait->prepare(std::move(model));
  else
    wait->start(wanted);
}

Error error_for_client() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    spdlog::error("a request failed: {}", error.what());
    return {ErrorCode::kInternal, "an internal error; the server's log has it"};
  }
}

}  // namespace carronade
