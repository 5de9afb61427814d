#include "engine/speculator.h"

#include <algorithm>

namespace carronade {

uint64_t PromptLookup::key(const TokenId* gram) {
  uint64_t hash = 0;
  for (size_t i = 0; i < kGram; ++i) hash = (hash ^ static_cast<uint32_t>(gram[i])) * 0x9E3779B97F4A7C15ull;
  return hash;
}

std::span<const TokenId> PromptLookup::propose(const std::vector<TokenId>& tokens, int most) {
  if (tokens.size() <= kGram || most <= 0) return {};
  // The grams that end before the last token: what follows them is known.
  for (indexed_ = std::max(indexed_, kGram - 1); indexed_ + 1 < tokens.size(); ++indexed_)
    behind_.insert_or_assign(key(&tokens[indexed_ + 1 - kGram]), indexed_ + 1);
  const TokenId* last = &tokens[tokens.size() - kGram];
  const auto found = behind_.find(key(last));
  if (found == behind_.end() || !std::equal(last, last + kGram, &tokens[found->second - kGram])) return {};
  return std::span(tokens).subspan(found->second, std::min(static_cast<size_t>(most), tokens.size() - found->second));
}

void StepCosts::measured(int rows, double seconds) {
  if (rows < 1 || rows > kMost) return;
  double& known = seconds_[static_cast<size_t>(rows)];
  // Slow steps are mostly the machine's doing: learn quickly downwards, slowly upwards.
  known = known == 0 ? seconds : known + (seconds < known ? 0.5 : 0.1) * (seconds - known);
}

double StepCosts::of(int rows) const {
  const int most = std::clamp(rows, 1, kMost);
  double cost = 0;
  for (int i = 1; i <= most; ++i) cost = std::max(cost, seconds_[static_cast<size_t>(i)]);
  if (cost > 0) return cost;
  for (int i = most + 1; i <= kMost; ++i) {
    if (seconds_[static_cast<size_t>(i)] > 0) return seconds_[static_cast<size_t>(i)];
  }
  return 1;
}

int SpeculationGate::choose(const StepCosts& costs, int rows, int most) {
  if (most <= 0) return 0;
  const double plain = rows / costs.of(rows);
  int best = 0;
  double best_speed = plain * kWorthwhile, expected = rows, chance = 1;
  for (int drafts = 1; drafts <= most; ++drafts) {
    chance *= rate_;
    expected += chance;
    const double speed = expected / costs.of(rows + drafts);
    if (speed > best_speed) {
      best = drafts;
      best_speed = speed;
    }
  }
  if (best > 0) return best;
  if (++steps_off_ < kProbeEvery) return 0;
  steps_off_ = 0;
  return std::min(most, kProbeDrafts);
}

void SpeculationGate::checked(int drafted, int held) {
  for (int i = 0; i < std::min(drafted, held + 1); ++i) rate_ += kLearning * ((i < held ? 1.0 : 0.0) - rate_);
}

}  // namespace carronade
