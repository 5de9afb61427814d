#include "cli/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace carronade {
namespace {

// Returns the length of the longest.
size_t check(const ModelConfig& config, std::span<const std::vector<TokenId>> sequences, size_t fewest) {
  size_t longest = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::vector<TokenId>& tokens = sequences[s];
    if (tokens.size() < fewest) {
      throw_error(ErrorCode::kInvalidArgument, "sequence {} has {} tokens; {}", s, tokens.size(),
                  fewest == 2 ? "two are needed to predict one" : "one is needed");
    }
    longest = std::max(longest, tokens.size());
    if (tokens.size() > static_cast<size_t>(config.context_length)) {
      throw_error(ErrorCode::kInvalidArgument, "sequence {} has {} tokens, but the model's context only {}", s,
                  tokens.size(), config.context_length);
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] >= 0 && tokens[i] < config.vocabulary) continue;
      throw_error(ErrorCode::kInvalidArgument, "token {} of sequence {} is {}; the model's go from 0 to {}", i, s,
                  tokens[i], config.vocabulary - 1);
    }
  }
  return longest;
}

std::vector<BlockId> first_blocks(size_t positions) {
  std::vector<BlockId> table((positions + kBlockPositions - 1) / kBlockPositions);
  std::iota(table.begin(), table.end(), 0);
  return table;
}

// Rows [first, first + rows) of one sequence.
void fill(Batch& batch, const std::vector<TokenId>& tokens, int first, int rows, std::span<const BlockId> table) {
  batch.clear();
  batch.tokens.assign(tokens.begin() + first, tokens.begin() + first + rows);
  batch.positions.resize(batch.tokens.size());
  std::iota(batch.positions.begin(), batch.positions.end(), first);
  batch.sequences.push_back({.first_row = 0, .rows = rows, .first_position = first, .block_table = table});
}

// The part of the sum that stands above `most`, in doubles: a vocabulary's worth of small floats adds up.
double sum_exp(std::span<const float> logits, float most) {
  double sum = 0;
  for (const float logit : logits) sum += static_cast<double>(std::exp(logit - most));
  return sum;
}

}  // namespace

void evaluate(Model& model, Backend& backend, std::span<const std::vector<TokenId>> sequences,
              const EvaluationOptions& options, const std::function<void(const Prediction&)>& sink) {
  const size_t longest = check(model.config(), sequences, 2);
  if (longest == 0) return;
  const int chunk = std::min(options.chunk, static_cast<int>(longest) - 1);
  backend.reserve(chunk, chunk, model.config().vocabulary);
  const std::vector<BlockId> table = first_blocks(longest);
  backend.allocate_kv(model.kv_layout(options.kv_dtype), static_cast<int>(table.size()));

  Batch batch;
  std::vector<Candidate> best;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::vector<TokenId>& tokens = sequences[s];
    const int wanted = static_cast<int>(tokens.size()) - 1;  // nothing comes after the last one
    for (int first = 0; first < wanted; first += chunk) {
      const int rows = std::min(chunk, wanted - first);
      fill(batch, tokens, first, rows, table);
      batch.output_rows.resize(batch.tokens.size());
      std::iota(batch.output_rows.begin(), batch.output_rows.end(), 0);
      model.forward(batch);
      for (int row = 0; row < rows; ++row) {
        if (options.top > 0) backend.top_k(row, options.top, best);
        const size_t position = static_cast<size_t>(first + row) + 1;
        sink({s, position, tokens[position], backend.read_logits(row), best});
      }
    }
  }
}

void embed(Model& model, Backend& backend, std::span<const std::vector<TokenId>> sequences, DType kv_dtype,
           const std::function<void(size_t sequence, std::span<const float> vector)>& sink) {
  const size_t longest = check(model.config(), sequences, 1);
  if (longest == 0) return;
  backend.reserve(static_cast<int>(longest), 1, model.config().vocabulary);
  const std::vector<BlockId> table = first_blocks(longest);
  backend.allocate_kv(model.kv_layout(kv_dtype), static_cast<int>(table.size()));
  Batch batch;
  for (size_t s = 0; s < sequences.size(); ++s) {
    fill(batch, sequences[s], 0, static_cast<int>(sequences[s].size()), table);
    model.embed(batch);
    sink(s, backend.read_pooled(0));
  }
}

double log_sum_exp(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  const double result = static_cast<double>(most) + std::log(sum_exp(logits, most));
  if (!std::isfinite(result)) throw Error(ErrorCode::kInternal, "the model's logits are not numbers");
  return result;
}

double log_rest(std::span<const float> logits, double log_sum, std::span<const TokenId> without,
                std::vector<float>& scratch) {
  // Summed without them: the difference of two sums would lose what is small.
  scratch.assign(logits.begin(), logits.end());
  for (const TokenId token : without) scratch[static_cast<size_t>(token)] = -std::numeric_limits<float>::infinity();
  const float most = *std::max_element(scratch.begin(), scratch.end());
  if (most == -std::numeric_limits<float>::infinity()) return -std::numeric_limits<double>::infinity();
  return static_cast<double>(most) + std::log(sum_exp(scratch, most)) - log_sum;
}

void Mean::add(double value) {
  ++count_;
  const double difference = value - mean_;
  mean_ += difference / static_cast<double>(count_);
  squares_ += difference * (value - mean_);
}

double Mean::error() const {
  if (count_ < 2) return 0;
  const auto n = static_cast<double>(count_);
  return std::sqrt(squares_ / (n - 1) / n);
}

}  // namespace carronade
