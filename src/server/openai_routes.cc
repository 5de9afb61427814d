#include "server/openai_routes.h"

#include <chrono>
#include <optional>
#include <utility>

#include "api/openai.h"
#include "base/log.h"
#include "chat/generation_job.h"
#include "server/access.h"

namespace carronade {

namespace {

// One answer on its way to one client. Lives on the exchange's strand; kept by the job's sink until the end has been
// handled.
class ChatAnswer : public std::enable_shared_from_this<ChatAnswer> {
 public:
  ChatAnswer(std::shared_ptr<ServingState> state, std::shared_ptr<Exchange> exchange, const HttpRequest& request,
             bool stream)
      : state_(std::move(state)), exchange_(std::move(exchange)), id_(request.id), key_(request.key), stream_(stream) {
    ++state_->running_answers;
  }
  ~ChatAnswer() { --state_->running_answers; }

  // Throws Error, and then nothing was sent.
  void start(const std::shared_ptr<const ChatModel>& model, const ChatCompletionCall& call) {
    job_ = GenerationJob::start(model, call.request, [self = shared_from_this()](ChatEvent event) {
      // From the engine's thread to ours. Work runs there only after start() has returned.
      self->exchange_->post([self, event = std::move(event)] { self->on_event(event); });
    });
    encoder_.emplace(call, call.model.empty() ? model->name : call.model, id_, std::time(nullptr),
                     job_->prompt_tokens());
    if (key_) key_->spend(job_->prompt_tokens(), 0);
    if (stream_) {
      exchange_->start_stream({200,
                               {{"Content-Type", "text/event-stream; charset=utf-8"},
                                {"Cache-Control", "no-cache"},
                                {"X-Accel-Buffering", "no"}},
                               {},
                               {}});
      exchange_->write(encoder_->start_frames());
    }
    exchange_->on_abort([weak = weak_from_this()](AbortReason reason) {
      if (const auto self = weak.lock()) self->on_abort(reason);
    });
  }

 private:
  void on_abort(AbortReason reason) {
    gone_ = gone_ || reason == AbortReason::kDisconnected;
    if (job_) job_->cancel();
  }

  void on_event(const ChatEvent& event) {
    const auto* finished = std::get_if<ChatFinished>(&event);
    if (finished && key_) key_->spend(0, finished->usage.completion_tokens);
    if (stream_) {
      exchange_->write(encoder_->frames(event));
      if (finished) exchange_->finish();
    } else {
      encoder_->collect(event);
      if (finished && finished->reason == FinishReason::kFailed) {
        const Error error = finished->error.value_or(Error(ErrorCode::kInternal, "the model failed while answering"));
        exchange_->respond(json_response(http_status(error.code), openai_error_body(error)));
      } else if (finished && finished->reason == FinishReason::kCancelled) {
        const Error error(ErrorCode::kUnavailable, "the server is shutting down");
        exchange_->respond(json_response(http_status(error.code), openai_error_body(error)));
      } else if (finished) {
        exchange_->respond(json_response(200, encoder_->body()));
      }
    }
    if (!finished) return;
    log_end(*finished);
    job_.reset();
  }

  void log_end(const ChatFinished& finished) const {
    const std::string reason = gone_ ? "cancelled: the client went away" : openai_finish_reason(finished.reason);
    spdlog::info(
        "{}: chat, {} prompt tokens ({} cached), {} answer tokens ({} of thought), {}, first token after {:.2f} s, "
        "{:.2f} s in all",
        id_, finished.usage.prompt_tokens, finished.usage.cached_tokens, finished.usage.completion_tokens,
        finished.usage.reasoning_tokens, reason, finished.first_token_seconds,
        finished.timing.queued + finished.timing.prefill + finished.timing.decode);
    if (finished.error) spdlog::error("{}: {}", id_, finished.error->what());
  }

  std::shared_ptr<ServingState> state_;
  std::shared_ptr<Exchange> exchange_;
  std::string id_;
  std::shared_ptr<ApiKey> key_;  // who pays; nullptr: nobody
  bool stream_;
  bool gone_ = false;
  std::optional<ChatCompletionEncoder> encoder_;
  std::unique_ptr<GenerationJob> job_;
};

void chat_completions(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                      const std::shared_ptr<Exchange>& exchange) {
  ChatCompletionCall call = parse_chat_completion(request.body);
  const auto model = state->model(call.model);
  call.request.adapter = state->adapter(call.model);
  call.request.tenant = tenant_of(request);
  std::make_shared<ChatAnswer>(state, exchange, request, call.stream)->start(model, call);
}

void health(const ServingState& state, Exchange& exchange) {
  if (state.is_ready()) {
    exchange.respond({200, {{"Cache-Control", "no-store"}}, {}, {}});
  } else {
    HttpResponse response = json_response(503, loading_body(state.progress()));
    response.headers.emplace_back("Cache-Control", "no-store");
    response.headers.emplace_back("Retry-After", "1");
    exchange.respond(std::move(response));
  }
}

void one_model(const ServingState& state, const HttpRequest& request, Exchange& exchange) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  state.model(name);  // throws
  for (const auto& served : state.models()) {
    if (served.id == name || name.empty()) return exchange.respond(json_response(200, model_body(served)));
  }
}

}  // namespace

void add_openai_routes(Router& router, const std::shared_ptr<ServingState>& state) {
  router.add(
      {.method = "GET",
       .path = "/health",
       .handler = [state](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) { health(*state, *exchange); },
       .needs_key = false});
  router.add({.method = "GET",
              .path = "/v1/models",
              .handler = [state](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
                state->model("");  // throws while loading
                exchange->respond(json_response(200, models_body(state->models())));
              }});
  router.add({.method = "GET",
              .path = "/v1/models/*",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                one_model(*state, request, *exchange);
              }});
  router.add({.method = "POST",
              .path = "/v1/chat/completions",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                chat_completions(state, request, exchange);
              }});
}

}  // namespace carronade
