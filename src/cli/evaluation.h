// A model asked for every token of given sequences, and what its answers are worth: what `carronade eval` is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace carronade {

struct EvaluationOptions {
  int chunk = 128;               // tokens of a step; answers do not depend on it
  DType kv_dtype = DType::kF16;  // kF16, kQ8_0 or kF32
  int top = 0;                   // how many best tokens a Prediction lists
};

// What the model said of one token, having seen those before it.
struct Prediction {
  size_t sequence;                  // counted in the sequences given
  size_t position;                  // of the token in its sequence; the first, 0, is never predicted
  TokenId token;                    // that stands there
  std::span<const float> logits;    // [vocabulary]; like `best` valid during the call only
  std::span<const Candidate> best;  // EvaluationOptions::top of them, best first
};

// Calls `sink` for all tokens but the first of each sequence, in order, on the calling thread. Each sequence begins
// with an empty context. The backend must be fresh but for the model's weights: its buffers are set up here. Throws
// Error{kInvalidArgument} for a sequence of fewer than two tokens, or more than the model's context, and for a token
// that is not in its vocabulary; all before any work.
void evaluate(Model& model, Backend& backend, std::span<const std::vector<TokenId>> sequences,
              const EvaluationOptions& options, const std::function<void(const Prediction&)>& sink);

// Calls `sink` with the vector of each sequence (Model::embed), in order, on the calling thread; each is computed in a
// step of its own. The backend must be fresh but for the model's weights. Throws Error{kInvalidArgument} for an empty
// sequence and otherwise as evaluate() does.
void embed(Model& model, Backend& backend, std::span<const std::vector<TokenId>> sequences, DType kv_dtype,
           const std::function<void(size_t sequence, std::span<const float> vector)>& sink);

// log Σ exp(logits). Throws Error{kInternal} unless it is a number: a broken model must not look like a bad one.
double log_sum_exp(std::span<const float> logits);

// The log of what is left of the probabilities when the tokens `without` are taken away: -infinity for none.
// `scratch` is kept by the caller so that it need not be made again for each position.
double log_rest(std::span<const float> logits, double log_sum, std::span<const TokenId> without,
                std::vector<float>& scratch);

// Mean and standard error of numbers that come one by one (Welford).
class Mean {
 public:
  void add(double value);
  size_t count() const { return count_; }
  double mean() const { return mean_; }
  double error() const;  // of the mean; 0 for fewer than two values

 private:
  size_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

}  // namespace carronade
