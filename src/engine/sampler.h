// One row of logits and its parameters → one token. The same logits, parameters and position give the same token
// everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "engine/dry.h"
#include "engine/request.h"

namespace carronade {

// A row of logits, wherever it lives. What is cheap where it lives (the best one, the best k) is asked of it there.
class LogitsRow {
 public:
  virtual ~LogitsRow() = default;
  virtual std::span<const float> logits() = 0;  // [vocabulary]
  virtual int32_t argmax() = 0;                 // lowest id among equals
  virtual void top_k(int k,
                     std::vector<Candidate>& out) = 0;  // best first, equals by id; all when the vocabulary is smaller
};

class BackendRow final : public LogitsRow {
 public:
  BackendRow(Backend& backend, int output) : backend_(backend), output_(output) {}
  std::span<const float> logits() override { return backend_.read_logits(output_); }
  int32_t argmax() override { return backend_.argmax(output_); }
  void top_k(int k, std::vector<Candidate>& out) override { backend_.top_k(output_, k, out); }

 private:
  Backend& backend_;
  int output_;
};

class HostRow final : public LogitsRow {
 public:
  explicit HostRow(std::span<const float> logits) : logits_(logits) {}
  std::span<const float> logits() override { return logits_; }
  int32_t argmax() override;
  void top_k(int k, std::vector<Candidate>& out) override;

 private:
  std::span<const float> logits_;
};

// How often each token stands in the answer; 0 for one of the prompt alone.
using TokenCounts = std::unordered_map<TokenId, int>;

bool uses_penalties(const SamplingParameters& parameters);

// Throws Error{kInvalidArgument} naming the parameter, its value and its range.
void check_sampling_parameters(const SamplingParameters& parameters, int vocabulary);

// Clears the bits of tokens that would complete one of `words` behind `answer` (bit t % 32 of word t / 32). False:
// there is none.
bool forbid_bad_words(std::span<const std::vector<TokenId>> words, std::span<const TokenId> answer,
                      std::span<uint32_t> mask);

// On the engine's thread; keeps only scratch space.
class Sampler {
 public:
  // Forbidden tokens are -infinity in `row` already. `counts` matter with penalties only, `tokens` (the sequence so
  // far) with DRY only. `position`: the token's index in its sequence. Throws Error{kInternal} when every token is
  // forbidden or the logits are not numbers.
  TokenId draw(LogitsRow& row, const SamplingParameters& parameters, const TokenCounts& counts, int position,
               std::span<const TokenId> tokens = {});

  // Log-probabilities of the model's own distribution: of `token`, and of the k most probable.
  struct Logprobs {
    float total;  // log-sum-exp of the row: a token's log-probability is its logit less this
    std::vector<TokenLogprob> top;
  };
  Logprobs logprobs(LogitsRow& row, int k);

  // 1 for the most probable token; equals share the best of their places.
  static int rank(LogitsRow& row, TokenId token);

 private:
  struct Weighted {
    TokenId token;
    float weight;  // not normalized; the best has 1
  };
  TokenId draw_unmodified(LogitsRow& row, const SamplingParameters& parameters, int position);
  TokenId draw_from_all(LogitsRow& row, float highest, float inverse_temperature, double u);
  void collect(LogitsRow& row, const SamplingParameters& parameters, float highest, float inverse_temperature);
  void keep_typical(float typical_p);
  void keep_probable(double total, float top_p, float min_p);
  std::span<const float> modified(LogitsRow& row, const SamplingParameters& parameters, const TokenCounts& counts,
                                  std::span<const TokenId> tokens);

  RepetitionFinder repetitions_;
  std::vector<float> scratch_;  // [vocabulary] logits with bias and penalties
  std::vector<float> weights_;  // [vocabulary]
  std::vector<Candidate> candidates_;
  std::vector<Weighted> weighted_;  // best first
};

// e^x for x <= 0, relative error below 2e-7, the same bits on every platform; 0 below -87.
float exp_nonpositive(float x);
// Natural logarithm of x > 0, relative error below 1e-14, the same bits on every platform.
double log_positive(double x);
// Sum of e^((logit - highest) * inverse_temperature) in a fixed order.
double sum_of_weights(std::span<const float> logits, float highest, float inverse_temperature);

}  // namespace carronade
