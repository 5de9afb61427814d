// Guesses at the next tokens, checked by the model in the same step: where they hold, one reading of the weights gives
// several tokens. A draft counts if and only if it equals the draw, so that no answer changes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/request.h"

namespace carronade {

// What followed the last time the latest tokens came: in edited code and in quotations, what will follow now.
// Source: Saxena, "Prompt Lookup Decoding" (2023). One a sequence; on the engine's thread.
class PromptLookup {
 public:
  // At most `most` tokens that followed the latest earlier occurrence of the last kGram of `tokens`; none if there was
  // none. `tokens` is what it was before, or longer.
  std::span<const TokenId> propose(const std::vector<TokenId>& tokens, int most);

 private:
  static constexpr size_t kGram = 3;  // shorter repeats by chance, longer misses the first words of a repetition

  static uint64_t key(const TokenId* gram);

  std::unordered_map<uint64_t, size_t> behind_;  // gram → the place behind its latest occurrence
  size_t indexed_ = 0;                           // grams that end here or before are in `behind_`
};

// Seconds of a step by its rows, measured; in decoding only, where they are few. On the engine's thread.
class StepCosts {
 public:
  static constexpr int kMost = 64;

  void measured(int rows, double seconds);
  // Never less for more rows. Before anything was measured: as much as one row.
  double of(int rows) const;

 private:
  std::array<double, kMost + 1> seconds_{};  // 0: not measured
};

// Whether guessing pays for one sequence, from how many of its guesses have held. On the engine's thread.
class SpeculationGate {
 public:
  // How many drafts make the step's tokens a second the most, when the step has `rows` without them. 0: guessing would
  // cost more than it brings; but now and then it is tried anyhow, since answers change.
  int choose(const StepCosts& costs, int rows, int most);

  // Of `drafted` tokens (at least one) the first `held` held.
  void checked(int drafted, int held);

  double rate() const { return rate_; }

 private:
  static constexpr double kFirstGuess = 0.5;
  static constexpr double kLearning = 0.25;
  static constexpr double kWorthwhile = 1.03;  // a gain below the noise of measuring is none
  static constexpr int kProbeEvery = 48;       // steps: a failed probe costs about a third of a step, so below 1 %
  static constexpr int kProbeDrafts = 2;

  double rate_ = kFirstGuess;  // the chance that a draft holds if the one before it did
  int steps_off_ = 0;
};

}  // namespace carronade
