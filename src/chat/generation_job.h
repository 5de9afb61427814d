// One answer being made: messages in, events out, exactly one ChatFinished.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "chat/chat_model.h"
#include "chat/prompt.h"
#include "engine/request.h"

namespace carronade {

// How an answer is drawn and where it ends.
struct GenerationOptions {
  SamplingOptions sampling;
  std::vector<std::string> stop;       // looked for in the answer, not in the thought
  std::optional<int> thinking_budget;  // tokens of the thought; unset: as many as it wants
  std::optional<int> prompt_logprobs;  // of the prompt's tokens, and as many of the most probable in their places
  bool include_stop = false;           // leave the stop string in the answer
  bool plain = false;                  // nothing is a thought: all of it is the answer's text
  bool show_special_tokens = false;    // leave control tokens in the answer
  bool token_ids = false;              // events carry the ids of their tokens
  // No other token comes, not even an end that is not among them; shared by a request's prompts. Or nullptr: any.
  std::shared_ptr<const std::vector<TokenId>> allowed_token_ids;
  std::string cache_salt;   // cached prefixes are shared only with requests of the same; empty: of none
  bool background = false;  // runs when nobody else waits
  Tenant tenant;
  int adapter = -1;  // of the model's adapters, or -1
};

struct ChatRequest : GenerationOptions, PromptRequest {};

struct ChatUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt
  int completion_tokens = 0;
  int reasoning_tokens = 0;  // of the completion
};

// A token with its log-probability, and the most probable ones in its place.
struct TokenDetail {
  TokenId token = -1;
  std::string bytes;
  float logprob = 0.0f;
  std::vector<TokenDetail> top;  // their own `top` is empty
  int rank = 0;                  // 1: the most probable; 0: not asked for
};

// Before any delta, when asked for: the prompt's tokens from the second on.
struct PromptDetails {
  std::vector<TokenDetail> tokens;
};

// `token_ids`, when asked for: of the tokens since the event before. Those of text that is held back come with it.
struct ReasoningDelta {
  std::string text;
  int completion_tokens = 0;  // so far
  std::vector<TokenId> token_ids{};
};
struct AnswerDelta {
  std::string text;
  std::vector<TokenDetail> tokens;  // when asked for: the tokens that this text came from
  int completion_tokens = 0;        // so far
  std::vector<TokenId> token_ids{};
};
struct ChatFinished {
  FinishReason reason = FinishReason::kStop;
  std::optional<std::string> stop_string;  // what ended the answer, if one of the request's stop strings or …
  std::optional<TokenId> stop_token;       // … of its stop_token_ids did
  ChatUsage usage;
  Timing timing;
  double first_token_seconds = 0.0;  // from start() to the first token
  std::optional<Error> error;        // with kFailed
  std::vector<TokenId> token_ids{};  // the end token, if one ended the answer, is the last of them
};
using ChatEvent = std::variant<ReasoningDelta, AnswerDelta, PromptDetails, ChatFinished>;

// Called on the engine's thread, in order; must return at once, and must neither cancel nor destroy the job. After
// ChatFinished never again.
using ChatSink = std::function<void(ChatEvent)>;

class GenerationJob;

// One prompt with its parameters resolved, from which any number of answers starts. Immutable.
class PreparedGeneration {
 public:
  // Builds a conversation's prompt. Throws Error{kInvalidArgument} for what the request got wrong (a prompt that does
  // not fit says how long it is, the limit and the remedy).
  PreparedGeneration(const std::shared_ptr<const ChatModel>& model, const ChatRequest& request);
  // The same for a prompt that is there already; `param` is the request's field that it came from, for errors.
  // `like`: one of the same options on the same model, which saves work; or nullptr.
  PreparedGeneration(std::shared_ptr<const ChatModel> model, Prompt prompt, const GenerationOptions& options,
                     const std::string& param, const PreparedGeneration* like = nullptr);

  // Answer number `choice`, whose draws differ from those of the others; only number 0 has PromptDetails. Throws
  // Error{kUnavailable} when the engine's queue is full, and then the sink is never called.
  // `group`: shared by the answers to this prompt, if there are several.
  std::unique_ptr<GenerationJob> start(uint32_t choice, ChatSink sink,
                                       std::shared_ptr<AnswerGroup> group = nullptr) const;

  const ChatModel& model() const { return *model_; }
  const std::vector<TokenId>& prompt_tokens() const { return prompt_.tokens; }
  uint64_t seed() const { return sampling_.seed; }  // as drawn, when the request had none

 private:
  std::shared_ptr<const ChatModel> model_;
  Prompt prompt_;
  GenerationOptions options_;
  SamplingParameters sampling_;
};

class GenerationJob {
 public:
  // Prepares a conversation and starts the one answer to it. Throws as PreparedGeneration does.
  static std::unique_ptr<GenerationJob> start(const std::shared_ptr<const ChatModel>& model, const ChatRequest& request,
                                              ChatSink sink);

  // Cancels what still runs and waits for its end, at most a step of the engine. Not from within the sink.
  ~GenerationJob();
  GenerationJob(const GenerationJob&) = delete;
  GenerationJob& operator=(const GenerationJob&) = delete;

  // Any thread but the engine's. ChatFinished{kCancelled} follows, unless the answer has ended by itself meanwhile.
  void cancel();

  // Any thread. Ends a thought that is still running; the answer follows. No-op where there is none.
  void answer_now() { answer_now_->store(true, std::memory_order_relaxed); }

  int prompt_tokens() const { return prompt_tokens_; }
  uint64_t seed() const { return seed_; }  // as drawn, when the request had none

 private:
  friend class PreparedGeneration;
  class State;
  GenerationJob() = default;
  std::shared_ptr<const ChatModel> model_;
  std::shared_ptr<State> state_;
  std::shared_ptr<std::atomic<bool>> answer_now_ = std::make_shared<std::atomic<bool>>(false);
  RequestId id_ = 0;
  int prompt_tokens_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace carronade
