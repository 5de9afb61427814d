#include "chat/sampling.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "base/error.h"
#include "chat/token_sequences.h"

namespace carronade {

namespace {

// The first that is set.
template <typename T>
T first_of(T fallback, std::initializer_list<std::optional<T>> candidates) {
  for (const auto& candidate : candidates) {
    if (candidate) return *candidate;
  }
  return fallback;
}

void check(bool holds, const char* field, const std::string& what_it_may_be) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, std::string(field) + " must be " + what_it_may_be, field);
}

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

void check_ranges(const SamplingParameters& p, const SamplingOptions& request, int vocabulary_size) {
  // Written so that a NaN fails too.
  check(p.temperature >= 0.0f && p.temperature <= 100.0f, "temperature", "between 0 and 100");
  check(p.top_p > 0.0f && p.top_p <= 1.0f, "top_p", "above 0 and at most 1");
  check(p.min_p >= 0.0f && p.min_p <= 1.0f, "min_p", "between 0 and 1");
  check(p.typical_p > 0.0f && p.typical_p <= 1.0f, "typical_p", "above 0 and at most 1");
  check(p.repetition_penalty > 0.0f && std::isfinite(p.repetition_penalty), "repetition_penalty", "above 0");
  check(p.presence_penalty >= -2.0f && p.presence_penalty <= 2.0f, "presence_penalty", "between -2 and 2");
  check(p.frequency_penalty >= -2.0f && p.frequency_penalty <= 2.0f, "frequency_penalty", "between -2 and 2");
  check(p.top_k >= 0, "top_k", "0 or -1 (all tokens) or a positive number");
  check(!request.max_tokens || *request.max_tokens >= 1, "max_tokens", "at least 1");
  check(p.min_tokens >= 0, "min_tokens", "at least 0");
  check(!request.max_tokens || p.min_tokens <= *request.max_tokens, "min_tokens", "at most max_tokens");
  check(p.logprobs >= -1 && p.logprobs <= 20, "top_logprobs", "between 0 and 20");
  for (const auto& [token, bias] : p.logit_bias) {
    check(token >= 0 && token < vocabulary_size, "logit_bias",
          "keyed by token ids of this model: 0 to " + std::to_string(vocabulary_size - 1) + ", not " +
              std::to_string(token));
    check(bias >= -100.0f && bias <= 100.0f, "logit_bias", "between -100 and 100 for each token");
  }
  check(p.dry.multiplier >= 0.0f && p.dry.multiplier <= 100.0f, "dry_multiplier", "between 0 and 100");
  check(p.dry.base >= 1.0f && p.dry.base <= 100.0f, "dry_base", "between 1 and 100");
  check(p.dry.allowed_length >= 0, "dry_allowed_length", "at least 0");
  check(p.dry.penalty_last_n >= -1, "dry_penalty_last_n", "at least 0, or -1 for all tokens");
  for (const TokenId token : request.stop_token_ids) {
    check(token >= 0 && token < vocabulary_size, "stop_token_ids",
          "token ids of this model: 0 to " + std::to_string(vocabulary_size - 1) + ", not " + std::to_string(token));
  }
}

// As llama.cpp's server has them.
const std::vector<std::string> kUsualBreakers = {"\n", ":", "\"", "*"};

// Few and short: they are looked for in the whole vocabulary, and followed token by token.
void check_texts(const std::vector<std::string>& texts, const char* field, size_t most, size_t most_bytes) {
  check(texts.size() <= most, field, "a list of at most " + std::to_string(most) + " texts");
  for (const std::string& text : texts) {
    check(!text.empty(), field, "a list of texts that are not empty");
    check(text.size() <= most_bytes, field, "a list of texts of at most " + std::to_string(most_bytes) + " bytes");
  }
}

DryParameters resolve_dry(const SamplingOptions& request, const SamplingOptions& server) {
  DryParameters dry;
  dry.multiplier = first_of(dry.multiplier, {request.dry_multiplier, server.dry_multiplier});
  dry.base = first_of(dry.base, {request.dry_base, server.dry_base});
  dry.allowed_length = first_of(dry.allowed_length, {request.dry_allowed_length, server.dry_allowed_length});
  dry.penalty_last_n = first_of(dry.penalty_last_n, {request.dry_penalty_last_n, server.dry_penalty_last_n});
  return dry;
}

// What is given as text, as this model's tokens.
void resolve_texts(const SamplingOptions& request, const SamplingOptions& server, const Tokenizer& tokenizer,
                   SamplingParameters& p) {
  const auto bad_words = first_of<std::vector<std::string>>({}, {request.bad_words, server.bad_words});
  check_texts(bad_words, "bad_words", 1024, 256);
  p.bad_words = bad_word_sequences(tokenizer, bad_words);
  const auto breakers = first_of(kUsualBreakers, {request.dry_sequence_breakers, server.dry_sequence_breakers});
  check_texts(breakers, "dry_sequence_breakers", 32, 40);
  if (p.dry.on()) p.dry.breakers = find_sequence_breakers(tokenizer, breakers);
}

}  // namespace

SamplingParameters resolve_sampling(const SamplingOptions& request, const SamplingOptions& server,
                                    const GenerationDefaults& model, const Tokenizer& tokenizer, int room,
                                    const SamplingParameters* resolved) {
  const SamplingParameters engine;
  SamplingParameters p;
  p.temperature = first_of(engine.temperature, {request.temperature, server.temperature, model.temperature});
  p.top_p = first_of(engine.top_p, {request.top_p, server.top_p, model.top_p});
  p.min_p = first_of(engine.min_p, {request.min_p, server.min_p, model.min_p});
  p.typical_p = first_of(engine.typical_p, {request.typical_p, server.typical_p, model.typical_p});
  p.repetition_penalty = first_of(engine.repetition_penalty,
                                  {request.repetition_penalty, server.repetition_penalty, model.repetition_penalty});
  p.presence_penalty = first_of(engine.presence_penalty, {request.presence_penalty, server.presence_penalty});
  p.frequency_penalty = first_of(engine.frequency_penalty, {request.frequency_penalty, server.frequency_penalty});
  p.top_k = first_of(engine.top_k, {request.top_k, server.top_k, model.top_k});
  if (p.top_k == -1) p.top_k = 0;  // vLLM's spelling of "all"
  p.min_tokens = first_of(engine.min_tokens, {request.min_tokens, server.min_tokens});
  p.logprobs = first_of(engine.logprobs, {request.logprobs});
  p.logit_bias = request.logit_bias;
  const auto seed = request.seed ? request.seed : server.seed;
  p.seed = seed ? *seed : random_seed();
  p.dry = resolve_dry(request, server);
  check_ranges(p, request, tokenizer.vocabulary_size());
  if (resolved) {
    p.bad_words = resolved->bad_words;
    p.dry.breakers = resolved->dry.breakers;
  } else {
    resolve_texts(request, server, tokenizer, p);
  }
  // max_tokens is an upper bound: an answer that the context's end cuts says so by its finish reason, "length".
  p.max_tokens = std::min(room, first_of(room, {request.max_tokens, server.max_tokens}));
  p.min_tokens = std::min(p.min_tokens, p.max_tokens);
  return p;
}

}  // namespace carronade
