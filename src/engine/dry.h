// DRY: which tokens would continue a repetition, and for how long it has gone on. See DryParameters.
#pragma once

#include <span>
#include <vector>

#include "engine/request.h"

namespace carronade {

struct Repetition {
  TokenId token;
  int length;  // tokens of the sequence's end that stood before `token` once already: the longest such match
};

// On one thread; keeps scratch space. A call takes time linear in penalty_last_n.
class RepetitionFinder {
 public:
  // `tokens`: the sequence so far, prompt and answer. Each token once, in order of id; those that break sequences are
  // left out. The result lives until the next call.
  const std::vector<Repetition>& find(std::span<const TokenId> tokens, const DryParameters& dry);

 private:
  int distance_to_breaker(const SequenceBreakers& breakers) const;
  void match_end();

  std::vector<TokenId> reversed_;  // the tokens looked at, last first
  std::vector<int> match_;         // [reversed_] how many tokens from there are equal to those from the start
  std::vector<Repetition> found_;
};

// multiplier * base^(length - allowed_length), the same bits on every platform, never infinite.
float dry_penalty(const DryParameters& dry, int length);

}  // namespace carronade
