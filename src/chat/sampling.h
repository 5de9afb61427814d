// Which sampling parameters a request runs with, and whether they make sense.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "hub/loaded_model.h"
#include "text/tokenizer.h"

namespace carronade {

// As SamplingParameters, but each may be unset. Field names are the wire's, so that an error can name them.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int> top_k, max_tokens, min_tokens, logprobs;
  std::optional<uint64_t> seed;
  std::optional<bool> ignore_eos;
  std::optional<float> dry_multiplier, dry_base;
  std::optional<int> dry_allowed_length, dry_penalty_last_n;
  std::optional<std::vector<std::string>> dry_sequence_breakers, bad_words;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::vector<TokenId> stop_token_ids;
};

// A request's own value, else the server's, else the model's, else the engine's. Without a seed anywhere, a random one.
// `resolved`: the same request's for another prompt, so that its
// texts are not looked for in the vocabulary again. max_tokens is capped at `room`, the positions that the prompt
// leaves; stop tokens are not filled in. Throws Error{kInvalidArgument} naming the field that is out of its range.
SamplingParameters resolve_sampling(const SamplingOptions& request, const SamplingOptions& server,
                                    const GenerationDefaults& model, const Tokenizer& tokenizer, int room,
                                    const SamplingParameters* resolved = nullptr);

}  // namespace carronade
