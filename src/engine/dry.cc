#include "engine/dry.h"

#include <algorithm>

namespace carronade {

const std::vector<Repetition>& RepetitionFinder::find(std::span<const TokenId> tokens, const DryParameters& dry) {
  found_.clear();
  const size_t window =
      dry.penalty_last_n < 0 ? tokens.size() : std::min(tokens.size(), static_cast<size_t>(dry.penalty_last_n));
  reversed_.assign(tokens.rbegin(), tokens.rbegin() + static_cast<std::ptrdiff_t>(window));
  const int limit = dry.breakers ? distance_to_breaker(*dry.breakers) : static_cast<int>(window);
  if (limit < dry.allowed_length) return found_;

  match_end();
  for (size_t i = 1; i < window; ++i) {
    const int length = std::min(match_[i], limit);
    const TokenId next = reversed_[i - 1];  // came after the match
    const bool breaks = dry.breakers && dry.breakers->single[static_cast<size_t>(next)];
    if (length >= dry.allowed_length && !breaks) found_.push_back({next, length});
  }
  std::ranges::sort(found_, [](const Repetition& a, const Repetition& b) {
    return a.token < b.token || (a.token == b.token && a.length > b.length);
  });
  const auto same = [](const Repetition& a, const Repetition& b) { return a.token == b.token; };
  found_.erase(std::unique(found_.begin(), found_.end(), same), found_.end());
  return found_;
}

// How many tokens stand behind the last sequence breaker: a match is not followed into it.
int RepetitionFinder::distance_to_breaker(const SequenceBreakers& breakers) const {
  const auto ends_here = [&](const std::vector<TokenId>& sequence, size_t at) {
    return sequence.size() <= reversed_.size() - at &&
           std::equal(sequence.rbegin(), sequence.rend(), reversed_.begin() + static_cast<std::ptrdiff_t>(at));
  };
  for (size_t i = 0; i < reversed_.size(); ++i) {
    if (breakers.single[static_cast<size_t>(reversed_[i])]) return static_cast<int>(i);
    const auto found = breakers.sequences.find(reversed_[i]);
    if (found == breakers.sequences.end()) continue;
    if (std::ranges::any_of(found->second, [&](const auto& sequence) { return ends_here(sequence, i); }))
      return static_cast<int>(i);
  }
  return static_cast<int>(reversed_.size());
}

// The Z-algorithm over the reversed tokens. Source: Gusfield, "Algorithms on Strings, Trees, and Sequences" (1997),
// section 1.4. Linear: [left, right) is the match that reaches furthest, and no token within it is compared twice.
void RepetitionFinder::match_end() {
  const size_t n = reversed_.size();
  match_.assign(n, 0);
  size_t left = 0, right = 0;
  for (size_t i = 1; i < n; ++i) {
    size_t length = i < right ? std::min(right - i, static_cast<size_t>(match_[i - left])) : 0;
    while (i + length < n && reversed_[length] == reversed_[i + length]) ++length;
    match_[i] = static_cast<int>(length);
    if (i + length > right) {
      left = i;
      right = i + length;
    }
  }
}

float dry_penalty(const DryParameters& dry, int length) {
  constexpr double kMost = 1e30;  // a float, and beyond every logit
  double power = 1.0, square = dry.base;
  for (int exponent = std::max(0, length - dry.allowed_length); exponent > 0; exponent >>= 1) {
    if (exponent & 1) power = std::min(power * square, kMost);
    square = std::min(square * square, kMost);
  }
  return static_cast<float>(std::clamp(dry.multiplier * power, -kMost, kMost));
}

}  // namespace carronade
