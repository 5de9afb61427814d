#include "server/answering.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "api/openai_json.h"
#include "base/log.h"
#include "server/model_wait.h"
#include "workspace/key_ring.h"

namespace carronade {

namespace {

// The answers on their way to one client. Lives on the exchange's strand; kept by the jobs' sinks until the last end
// has been handled.
class Answering : public std::enable_shared_from_this<Answering> {
 public:
  Answering(std::shared_ptr<ServingState> state, std::shared_ptr<Exchange> exchange, AnsweringCall call)
      : state_(std::move(state)), exchange_(std::move(exchange)), call_(std::move(call)) {
    ++state_->running_answers;
  }
  ~Answering() { --state_->running_answers; }

  void start() {
    for (const PreparedGeneration& prompt : call_.prompts) {
      const auto group = std::make_shared<AnswerGroup>();
      group->n = call_.answers;
      for (int choice = 0; choice < call_.answers; ++choice) {
        const int number = static_cast<int>(jobs_.size());
        jobs_.push_back(prompt.start(
            static_cast<uint32_t>(choice),
            [self = shared_from_this(), number](ChatEvent event) {
              // From the engine's thread to ours. Work runs there only after start() has returned.
              self->exchange_->post([self, number, event = std::move(event)] { self->on_event(number, event); });
            },
            group));
      }
    }
    running_ = static_cast<int>(jobs_.size());
    for (const PreparedGeneration& prompt : call_.prompts) spend(prompt.prompt_tokens().size(), 0);
    if (call_.stream) {
      exchange_->start_stream(stream_head(call_.stream_type));
      write(call_.encoder->start_frames());
    }
    exchange_->on_abort([weak = weak_from_this()](AbortReason reason) {
      if (const auto self = weak.lock()) self->on_abort(reason);
    });
    exchange_->on_answer_now([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->answer_now();
    });
  }

  void forget() {
    for (const auto& job : jobs_) job->cancel();  // all at once, since each is waited for
    jobs_.clear();
  }

 private:
  void on_abort(AbortReason reason) {
    gone_ = gone_ || reason == AbortReason::kDisconnected;
    for (const auto& job : jobs_) job->cancel();
  }

  void answer_now() {
    for (const auto& job : jobs_) job->answer_now();
  }

  void on_event(int number, const ChatEvent& event) {
    const auto* finished = std::get_if<ChatFinished>(&event);
    if (finished) spend(0, static_cast<size_t>(finished->usage.completion_tokens));
    if (running_ == 0) return;  // a request whose later answers could not be started
    if (call_.stream) {
      write(call_.encoder->frames(number, event));
    } else {
      call_.encoder->collect(number, event);
    }
    if (!finished) return;
    log_end(*finished);
    worst_ = std::max(worst_, finished->reason);
    if (finished->error && !error_) error_ = finished->error;
    if (--running_ == 0) reply();
  }

  void reply() {
    if (call_.stream) {
      write(call_.encoder->end_frames());
      exchange_->finish();
    } else if (worst_ == FinishReason::kFailed) {
      refuse(error_.value_or(Error(ErrorCode::kInternal, "the model failed while answering")));
    } else if (worst_ == FinishReason::kCancelled) {
      refuse(Error(ErrorCode::kUnavailable, "the server is shutting down"));
    } else {
      exchange_->respond(json_response(200, call_.encoder->body()));
    }
    jobs_.clear();
  }

  void refuse(const Error& error) {
    HttpResponse response = json_response(http_status(error.code), call_.error_body(error));
    if (response.status == 503) response.headers.emplace_back("Retry-After", "1");
    exchange_->respond(std::move(response));
  }

  void write(std::string bytes) {
    if (!bytes.empty()) exchange_->write(std::move(bytes));
  }

  void spend(size_t prompt_tokens, size_t completion_tokens) {
    if (call_.key) call_.key->spend(static_cast<int64_t>(prompt_tokens), static_cast<int64_t>(completion_tokens));
  }

  void log_end(const ChatFinished& finished) const {
    const std::string reason = gone_ ? "cancelled: the client went away" : openai_finish_reason(finished.reason);
    spdlog::info(
        "{}: {}, {} prompt tokens ({} cached), {} answer tokens ({} of thought), {}, first token after {:.2f} s, "
        "{:.2f} s in all",
        call_.id, call_.route, finished.usage.prompt_tokens, finished.usage.cached_tokens,
        finished.usage.completion_tokens, finished.usage.reasoning_tokens, reason, finished.first_token_seconds,
        finished.timing.queued + finished.timing.prefill + finished.timing.decode);
    if (finished.error) spdlog::error("{}: {}", call_.id, finished.error->what());
  }

  std::shared_ptr<ServingState> state_;
  std::shared_ptr<Exchange> exchange_;
  AnsweringCall call_;
  bool gone_ = false;
  int running_ = 0;
  FinishReason worst_ = FinishReason::kStop;
  std::optional<Error> error_;
  std::vector<std::unique_ptr<GenerationJob>> jobs_;
};

}  // namespace

void answer(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange, AnsweringCall call) {
  const auto answering = std::make_shared<Answering>(state, exchange, std::move(call));
  try {
    answering->start();
  } catch (...) {
    answering->forget();  // the answers that did start keep it alive
    throw;
  }
}

}  // namespace carronade
