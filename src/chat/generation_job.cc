#include "chat/generation_job.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "chat/answer.h"
#include "chat/thinking_budget.h"

namespace carronade {

// Lives as long as the engine holds its sink; touched by the engine's thread alone but for the wait.
class GenerationJob::State {
 public:
  State(const ChatModel& model, AnswerOptions options, const ChatRequest& request, ChatSink sink)
      : model_(&model),
        parser_(model, std::move(options)),
        wants_details_(request.sampling.logprobs.has_value()),
        stop_token_ids_(request.sampling.stop_token_ids),
        sink_(std::move(sink)) {}

  void on_event(EngineEvent event) {
    if (auto* token = std::get_if<TokenEvent>(&event)) {
      on_token(*token);
    } else if (const auto* finished = std::get_if<Finished>(&event)) {
      on_finished(*finished);
    }
  }

  void wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return has_ended_; });
  }

 private:
  void on_token(const TokenEvent& event) {
    if (parser_.tokens() == 0) first_token_ = std::chrono::steady_clock::now() - start_;
    if (parser_.stopped()) return;
    const bool was_answer = parser_.in_answer();
    std::vector<AnswerPiece> pieces;
    parser_.push(event.token, pieces);
    const bool gave_answer = std::ranges::any_of(pieces, [](const AnswerPiece& piece) { return !piece.is_thought; });
    if (wants_details_ && (was_answer || gave_answer)) details_.push_back(detail(event));
    send(std::move(pieces));
  }

  void on_finished(const Finished& finished) {
    const bool stopped = parser_.stopped();
    std::vector<AnswerPiece> pieces;
    parser_.finish(pieces);
    send(std::move(pieces));

    ChatFinished result;
    result.reason = stopped ? FinishReason::kStop : finished.reason;
    if (stopped) result.stop_string = parser_.stop_string();
    if (std::ranges::find(stop_token_ids_, finished.stop_token) != stop_token_ids_.end())
      result.stop_token = finished.stop_token;
    result.usage = {finished.usage.prompt_tokens, finished.usage.cached_tokens, finished.usage.completion_tokens,
                    std::min(parser_.thought_tokens(), finished.usage.completion_tokens)};
    result.timing = finished.timing;
    result.first_token_seconds = std::chrono::duration<double>(first_token_).count();
    result.error = finished.error;
    sink_(std::move(result));
    sink_ = nullptr;
    std::lock_guard lock(mutex_);
    has_ended_ = true;
    ended_.notify_all();
  }

  void send(std::vector<AnswerPiece> pieces) {
    for (auto& piece : pieces) {
      if (piece.is_thought) {
        sink_(ReasoningDelta{std::move(piece.text), parser_.tokens()});
      } else {
        sink_(AnswerDelta{std::move(piece.text), std::exchange(details_, {}), parser_.tokens()});
      }
    }
  }

  TokenDetail detail(const TokenEvent& event) const {
    const auto bytes = [&](TokenId token) { return std::string(model_->tokenizer->token_bytes(token)); };
    TokenDetail result{event.token, bytes(event.token), event.logprob, {}};
    for (const auto& other : event.top) result.top.push_back({other.token, bytes(other.token), other.logprob, {}});
    return result;
  }

  const ChatModel* model_;  // kept alive by the job, which waits for the end
  AnswerParser parser_;
  bool wants_details_;
  std::vector<TokenId> stop_token_ids_;
  std::vector<TokenDetail> details_;  // of text not yet sent
  ChatSink sink_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration first_token_{};
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
};

namespace {

void check_thinking_budget(const std::optional<int>& budget) {
  if (budget && *budget < 0) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("thinking_token_budget is {}; it must be at least 0", *budget),
                "thinking_token_budget");
  }
}

void check_stop_strings(const std::vector<std::string>& stop) {
  if (std::ranges::any_of(stop, &std::string::empty)) {
    throw Error(ErrorCode::kInvalidArgument, "stop must not hold an empty string", "stop");
  }
}

[[noreturn]] void throw_too_long(const ChatModel& model, size_t prompt_tokens) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format(
          "the messages are {} tokens long, and this model's context holds {} tokens, the answer included; shorten the "
          "conversation, or start with a larger --max-model-len",
          prompt_tokens, model.max_model_len),
      "messages");
}

}  // namespace

std::unique_ptr<GenerationJob> GenerationJob::start(std::shared_ptr<const ChatModel> model, const ChatRequest& request,
                                                    ChatSink sink) {
  check_stop_strings(request.stop);
  check_thinking_budget(request.thinking_budget);
  Prompt prompt = build_prompt(*model, request.messages, request.template_arguments);
  if (request.thinking_budget == 0 && prompt.thought_open) {
    const std::vector<TokenId> ending = thought_ending(*model);
    prompt.tokens.insert(prompt.tokens.end(), ending.begin(), ending.end());
    prompt.thought_open = false;
  }
  const int room =
      model->max_model_len - static_cast<int>(std::min<size_t>(prompt.tokens.size(), model->max_model_len));
  if (room < 1) throw_too_long(*model, prompt.tokens.size());

  Request engine_request;
  engine_request.sampling =
      resolve_sampling(request.sampling, model->server_defaults, model->defaults, *model->tokenizer, room);
  auto& stop_tokens = engine_request.sampling.stop_tokens;
  stop_tokens = request.sampling.stop_token_ids;
  if (!request.sampling.ignore_eos.value_or(model->server_defaults.ignore_eos.value_or(false))) {
    stop_tokens.insert(stop_tokens.end(), model->end_of_generation.begin(), model->end_of_generation.end());
  }

  const AnswerOptions options{request.stop, request.include_stop, engine_request.sampling.min_tokens,
                              prompt.thought_open};
  std::unique_ptr<GenerationJob> job(new GenerationJob);
  job->prompt_tokens_ = static_cast<int>(prompt.tokens.size());
  job->seed_ = engine_request.sampling.seed;
  auto state = std::make_shared<State>(*model, options, request, std::move(sink));
  engine_request.prompt = std::move(prompt.tokens);
  std::vector<std::unique_ptr<Constraint>> constraints;
  constraints.push_back(make_stop_constraint(*model, options));
  constraints.push_back(
      make_thinking_constraint(*model, {request.thinking_budget.value_or(-1), prompt.thought_open, job->answer_now_}));
  engine_request.constraint = combine_constraints(std::move(constraints));
  engine_request.tenant = request.tenant;
  engine_request.adapter = request.adapter;
  engine_request.sink = [state](EngineEvent event) { state->on_event(std::move(event)); };
  job->id_ = model->generator->submit(std::move(engine_request));
  job->state_ = std::move(state);  // only now: a job that was refused has nothing to wait for
  job->model_ = std::move(model);
  return job;
}

GenerationJob::~GenerationJob() {
  if (!state_) return;
  cancel();
  state_->wait();
}

void GenerationJob::cancel() { model_->generator->cancel(id_); }

}  // namespace carronade
