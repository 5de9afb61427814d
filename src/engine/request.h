// What the engine is asked and what it tells: integers only, no text.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "engine/constraint.h"

namespace carronade {

using TokenId = int32_t;
using RequestId = uint64_t;

// Texts across which a repetition is not followed (line ends, quotation marks), as tokens. Immutable, shared.
struct SequenceBreakers {
  std::vector<bool> single;  // [vocabulary] tokens that are one, or hold one
  std::unordered_map<TokenId, std::vector<std::vector<TokenId>>> sequences;  // of two tokens and more, by their last
};

// "Don't repeat yourself": what would continue a repetition of n >= allowed_length tokens loses
// multiplier * base^(n - allowed_length). Source: p-e-w's proposal (text-generation-webui, pull request 5677); names as
// in llama.cpp's server.
struct DryParameters {
  float multiplier = 0.0f;  // 0: off
  float base = 1.75f;       // at least 1
  int allowed_length = 2;
  int penalty_last_n = 64;                           // tokens looked at, prompt included; 0: off, -1: all
  std::shared_ptr<const SequenceBreakers> breakers;  // or nullptr: none

  bool on() const { return multiplier != 0.0f && penalty_last_n != 0; }
};

// How a token is drawn. Order of steps: mask (constraint, min_tokens, bad_words), logit bias, penalties, DRY,
// temperature, top-k, typical-p, top-p, min-p. Defaults draw from the model's own distribution; the defaults a person
// gets (the model's generation_config) are filled in by chat/.
struct SamplingParameters {
  float temperature = 1.0f;  // 0: the most probable token, lowest id among equals
  int top_k = 0;             // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repetition_penalty =
      1.0f;  // divides positive, multiplies negative logits of tokens in prompt and answer (CTRL, 2019)
  float presence_penalty = 0.0f;   // subtracted once for a token already in the answer
  float frequency_penalty = 0.0f;  // subtracted for each time
  DryParameters dry;
  uint64_t seed = 0;
  uint32_t choice = 0;       // which of a request's `n` answers: draws differ by (seed, choice, position)
  int max_tokens = 0;        // of the answer; 0: up to the context's end
  int min_tokens = 0;        // stop tokens are forbidden before
  int prompt_logprobs = -1;  // as logprobs, of the prompt; which is then computed whole, whatever the cache holds
  int logprobs = -1;         // -1: none; 0: of the drawn token; k: and of the k most probable (at most 20)
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::vector<std::vector<TokenId>> bad_words;  // sequences that the answer must not hold; none is empty
  std::vector<TokenId> stop_tokens;             // end the answer and are not part of it
};

// Opaque to the engine: fairness, prefix-cache scope and quotas hang on it.
struct Tenant {
  uint64_t id = 0;
  float weight = 1.0f;
  enum class Priority : uint8_t { kInteractive, kNormal, kBackground } priority = Priority::kNormal;
};

// Narrows a tenant's prefix-cache scope to who knows a secret: the secret's digest; all zero: none.
using CacheSalt = std::array<uint64_t, 4>;

struct TokenLogprob {
  TokenId token;
  float logprob;
};

struct TokenEvent {
  TokenId token;
  float logprob = 0.0f;  // valid when logprobs were asked for: of the model's distribution before sampling parameters
  std::vector<TokenLogprob> top;
  int rank = 0;  // with logprobs: 1 for the most probable token, and so on
};

// Of the prompt's tokens from the second on, before the answer's first.
struct PromptLogprobs {
  std::vector<TokenEvent> tokens;
};

struct Usage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the prefix cache
  int completion_tokens = 0;
};

struct Timing {  // seconds
  double queued = 0, prefill = 0, decode = 0;
};

enum class FinishReason { kStop, kLength, kCancelled, kFailed };

struct Finished {
  FinishReason reason = FinishReason::kStop;
  TokenId stop_token = -1;  // the one that ended it, if one did
  Usage usage;
  Timing timing;
  std::optional<Error> error;  // with kFailed
};

using EngineEvent = std::variant<TokenEvent, PromptLogprobs, Finished>;

// Called on the engine's thread, in order; must return at once and not call the engine. After Finished it is never
// called again.
using EventSink = std::function<void(EngineEvent)>;

// Answers to one prompt that were asked for together (`n`), each a request of its own: what is measured of them as one.
// On the engine's thread.
struct AnswerGroup {
  int n = 1;
  int ended = 0;
  int most_tokens = 0;  // of those that have ended
};

struct Request {
  std::vector<TokenId> prompt;  // at least one
  SamplingParameters sampling;
  std::unique_ptr<Constraint> constraint;  // or nullptr
  Tenant tenant;
  CacheSalt cache_salt{};
  int adapter = -1;
  std::shared_ptr<AnswerGroup> group;  // shared by its requests; or nullptr: this one is alone
  std::optional<std::chrono::steady_clock::time_point> deadline;  // then it ends with kFailed
  EventSink sink;
};

}  // namespace carronade
