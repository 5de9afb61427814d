#include "chat/generation_job.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "chat/allowed_tokens.h"
#include "chat/answer.h"
#include "chat/thinking_budget.h"
#include "engine/prefix_cache.h"

namespace carronade {

// Lives as long as the engine holds its sink; touched by the engine's thread alone but for the wait.
class GenerationJob::State {
 public:
  State(const ChatModel& model, AnswerOptions options, const GenerationOptions& asked, ChatSink sink)
      : model_(&model),
        parser_(model, std::move(options)),
        wants_details_(asked.sampling.logprobs.has_value()),
        wants_ids_(asked.token_ids),
        stop_token_ids_(asked.sampling.stop_token_ids),
        sink_(std::move(sink)) {}

  void on_event(EngineEvent event) {
    if (auto* token = std::get_if<TokenEvent>(&event)) {
      on_token(*token);
    } else if (const auto* prompt = std::get_if<PromptLogprobs>(&event)) {
      PromptDetails result;
      for (const TokenEvent& rated : prompt->tokens) result.tokens.push_back(detail(rated));
      sink_(std::move(result));
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
    if (wants_ids_) ids_.push_back(event.token);
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
    if (wants_ids_ && finished.stop_token >= 0) ids_.push_back(finished.stop_token);
    result.token_ids = std::exchange(ids_, {});
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
        sink_(ReasoningDelta{std::move(piece.text), parser_.tokens(), std::exchange(ids_, {})});
      } else {
        sink_(
            AnswerDelta{std::move(piece.text), std::exchange(details_, {}), parser_.tokens(), std::exchange(ids_, {})});
      }
    }
  }

  TokenDetail detail(const TokenEvent& event) const {
    const auto bytes = [&](TokenId token) { return std::string(model_->tokenizer->token_bytes(token)); };
    TokenDetail result{event.token, bytes(event.token), event.logprob, {}, event.rank};
    int rank = 0;
    for (const auto& other : event.top)
      result.top.push_back({other.token, bytes(other.token), other.logprob, {}, ++rank});
    return result;
  }

  const ChatModel* model_;  // kept alive by the job, which waits for the end
  AnswerParser parser_;
  bool wants_details_, wants_ids_;
  std::vector<TokenId> stop_token_ids_;
  std::vector<TokenDetail> details_;  // of text not yet sent
  std::vector<TokenId> ids_;          // since the last event
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

void check_allowed_tokens(const std::vector<TokenId>* allowed, int vocabulary) {
  if (!allowed) return;
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument, "allowed_token_ids " + why, "allowed_token_ids");
  };
  if (allowed->empty()) refuse("must hold at least one token");
  for (const TokenId token : *allowed) {
    if (token < 0 || token >= vocabulary)
      refuse(fmt::format("holds {}; this model's ids go from 0 to {}", token, vocabulary - 1));
  }
}

[[noreturn]] void throw_too_long(const ChatModel& model, size_t prompt_tokens, const std::string& param) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("the prompt is {} tokens long, and this model's context holds {} tokens, the answer included; "
                  "shorten it, or raise --max-model-len",
                  prompt_tokens, model.max_model_len),
      param);
}

// Where there is to be no thought, one that the prompt has opened ends there.
Prompt chat_prompt(const ChatModel& model, const ChatRequest& request) {
  check_thinking_budget(request.thinking_budget);
  Prompt prompt = build_prompt(model, request);
  if (request.thinking_budget == 0 && prompt.thought_open) {
    const std::vector<TokenId> ending = thought_ending(model);
    prompt.tokens.insert(prompt.tokens.end(), ending.begin(), ending.end());
    prompt.thought_open = false;
  }
  return prompt;
}

}  // namespace

PreparedGeneration::PreparedGeneration(const std::shared_ptr<const ChatModel>& model, const ChatRequest& request)
    : PreparedGeneration(model, chat_prompt(*model, request), request, "messages") {}

PreparedGeneration::PreparedGeneration(std::shared_ptr<const ChatModel> model, Prompt prompt,
                                       const GenerationOptions& options, const std::string& param,
                                       const PreparedGeneration* like)
    : model_(std::move(model)), prompt_(std::move(prompt)), options_(options) {
  check_stop_strings(options.stop);
  if (!like) check_allowed_tokens(options.allowed_token_ids.get(), model_->tokenizer->vocabulary_size());
  const size_t length = prompt_.tokens.size();
  const int room = model_->max_model_len - static_cast<int>(std::min<size_t>(length, model_->max_model_len));
  if (room < 1) throw_too_long(*model_, length, param);
  sampling_ = resolve_sampling(options.sampling, model_->server_defaults, model_->defaults, *model_->tokenizer, room,
                               like ? &like->sampling_ : nullptr);
  sampling_.prompt_logprobs = options.prompt_logprobs.value_or(-1);
  sampling_.stop_tokens = options.sampling.stop_token_ids;
  if (!options.sampling.ignore_eos.value_or(model_->server_defaults.ignore_eos.value_or(false))) {
    sampling_.stop_tokens.insert(sampling_.stop_tokens.end(), model_->end_of_generation.begin(),
                                 model_->end_of_generation.end());
  }
}

std::unique_ptr<GenerationJob> PreparedGeneration::start(uint32_t choice, ChatSink sink,
                                                         std::shared_ptr<AnswerGroup> group) const {
  const AnswerOptions answer{options_.stop,        options_.include_stop, sampling_.min_tokens,
                             prompt_.thought_open, options_.plain,        options_.show_special_tokens};
  std::unique_ptr<GenerationJob> job(new GenerationJob);
  job->prompt_tokens_ = static_cast<int>(prompt_.tokens.size());
  job->seed_ = sampling_.seed;
  auto state = std::make_shared<GenerationJob::State>(*model_, answer, options_, std::move(sink));
  Request request;
  request.prompt = prompt_.tokens;
  request.sampling = sampling_;
  request.sampling.choice = choice;
  if (choice > 0) request.sampling.prompt_logprobs = -1;
  std::vector<std::unique_ptr<Constraint>> constraints;
  constraints.push_back(make_stop_constraint(*model_, answer));
  if (options_.allowed_token_ids) constraints.push_back(make_allowed_tokens_constraint(*options_.allowed_token_ids));
  if (!options_.plain) {
    constraints.push_back(make_thinking_constraint(
        *model_, {options_.thinking_budget.value_or(-1), prompt_.thought_open, job->answer_now_}));
  }
  request.constraint = combine_constraints(std::move(constraints));
  request.tenant = options_.tenant;
  if (options_.background) request.tenant.priority = Tenant::Priority::kBackground;
  if (!options_.cache_salt.empty()) request.cache_salt = cache_salt_of(options_.cache_salt);
  request.adapter = options_.adapter;
  request.group = std::move(group);
  request.sink = [state](EngineEvent event) { state->on_event(std::move(event)); };
  job->id_ = model_->generator->submit(std::move(request));
  job->state_ = std::move(state);  // only now: a job that was refused has nothing to wait for
  job->model_ = model_;
  return job;
}

std::unique_ptr<GenerationJob> GenerationJob::start(const std::shared_ptr<const ChatModel>& model,
                                                    const ChatRequest& request, ChatSink sink) {
  return PreparedGeneration(model, request).start(0, std::move(sink));
}

GenerationJob::~GenerationJob() {
  if (!state_) return;
  cancel();
  state_->wait();
}

void GenerationJob::cancel() { model_->generator->cancel(id_); }

}  // namespace carronade
