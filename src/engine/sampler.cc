#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "engine/random.h"

namespace carronade {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

template <typename Value>
void check_range(const char* name, Value value, bool within, const char* range) {
  if (within) return;
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is {}, but must be {}", name, value, range), name);
}

void check_dry(const DryParameters& dry, int vocabulary) {
  check_range("dry_multiplier", dry.multiplier, dry.multiplier >= 0.0f && std::isfinite(dry.multiplier), "at least 0");
  check_range("dry_base", dry.base, dry.base >= 1.0f && std::isfinite(dry.base), "at least 1");
  check_range("dry_allowed_length", dry.allowed_length, dry.allowed_length >= 0, "at least 0");
  check_range("dry_penalty_last_n", dry.penalty_last_n, dry.penalty_last_n >= -1, "at least -1");
  const bool fits = !dry.breakers || dry.breakers->single.size() >= static_cast<size_t>(vocabulary);
  check_range("dry_sequence_breakers", "short", fits, "given for the whole vocabulary");
}

// Branch-free, so that compilers vectorize the loops over it. Cephes' expf: e^x = 2^n e^r with |r| <= ln 2 / 2, minimax
// polynomial in r.
inline float exp_of(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and subtracting rounds to an integer
  const float n = (clamped * 1.44269504f + kRound) - kRound;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = (p * r) * r + r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : y * power;
}

}  // namespace

float exp_nonpositive(float x) { return exp_of(x); }

// ln x = n ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), for x = m 2^n with m near 1: s² < 0.0295, so that 11 terms of
// atanh's series reach the last bit of a double.
double log_positive(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // exact
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double sum = 0;
  for (int term = 21; term >= 1; term -= 2) sum = sum * square + 1.0 / term;
  return exponent * 0.69314718055994531 + 2 * s * sum;
}

double sum_of_weights(std::span<const float> logits, float highest, float inverse_temperature) {
  constexpr size_t kLanes = 8;     // independent sums, so that it vectorizes without changing the order
  constexpr size_t kChunk = 1024;  // float sums stay this short: their rounding is below 1e-6
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const size_t end = std::min(begin + kChunk, logits.size());
    float lanes[kLanes] = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] += exp_of((logits[i + lane] - highest) * inverse_temperature);
    }
    for (; i < end; ++i) lanes[i % kLanes] += exp_of((logits[i] - highest) * inverse_temperature);
    for (const float lane : lanes) total += lane;
  }
  return total;
}

int32_t HostRow::argmax() {
  return static_cast<int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
}

void HostRow::top_k(int k, std::vector<Candidate>& out) {
  const auto wanted = std::min(static_cast<size_t>(k), logits_.size());
  out.clear();
  // A heap of the best so far, its worst on top; nearly every token ends at the first comparison.
  for (size_t t = 0; t < logits_.size(); ++t) {
    const Candidate candidate{static_cast<int32_t>(t), logits_[t]};
    if (out.size() < wanted) {
      out.push_back(candidate);
      std::push_heap(out.begin(), out.end(), better);
    } else if (wanted > 0 && candidate.logit > out.front().logit) {
      std::pop_heap(out.begin(), out.end(), better);
      out.back() = candidate;
      std::push_heap(out.begin(), out.end(), better);
    }
  }
  std::sort_heap(out.begin(), out.end(), better);
}

bool uses_penalties(const SamplingParameters& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

void check_sampling_parameters(const SamplingParameters& p, int vocabulary) {
  check_range("temperature", p.temperature, p.temperature >= 0.0f && std::isfinite(p.temperature), "at least 0");
  check_range("top_k", p.top_k, p.top_k >= 0, "at least 0");
  check_range("top_p", p.top_p, p.top_p > 0.0f && p.top_p <= 1.0f, "above 0 and at most 1");
  check_range("min_p", p.min_p, p.min_p >= 0.0f && p.min_p <= 1.0f, "between 0 and 1");
  check_range("typical_p", p.typical_p, p.typical_p > 0.0f && p.typical_p <= 1.0f, "above 0 and at most 1");
  check_range("repetition_penalty", p.repetition_penalty,
              p.repetition_penalty > 0.0f && std::isfinite(p.repetition_penalty), "above 0");
  check_range("presence_penalty", p.presence_penalty, std::isfinite(p.presence_penalty), "a number");
  check_range("frequency_penalty", p.frequency_penalty, std::isfinite(p.frequency_penalty), "a number");
  check_range("max_tokens", p.max_tokens, p.max_tokens >= 0, "at least 0");
  check_range("min_tokens", p.min_tokens, p.min_tokens >= 0, "at least 0");
  check_range("logprobs", p.logprobs, p.logprobs >= -1 && p.logprobs <= 20, "at most 20");
  check_range("prompt_logprobs", p.prompt_logprobs, p.prompt_logprobs >= -1 && p.prompt_logprobs <= 20, "at most 20");
  for (const auto& [token, bias] : p.logit_bias) {
    check_range("logit_bias", token, token >= 0 && token < vocabulary, "a token of the vocabulary");
    check_range("logit_bias", bias, !std::isnan(bias), "a number");
  }
  check_dry(p.dry, vocabulary);
  for (const std::vector<TokenId>& word : p.bad_words) {
    check_range("bad_words", word.size(), !word.empty(), "of one token or more");
    for (const TokenId token : word)
      check_range("bad_words", token, token >= 0 && token < vocabulary, "a token of the vocabulary");
  }
}

bool forbid_bad_words(std::span<const std::vector<TokenId>> words, std::span<const TokenId> answer,
                      std::span<uint32_t> mask) {
  bool forbids = false;
  for (const std::vector<TokenId>& word : words) {
    const std::span<const TokenId> head(word.data(), word.size() - 1);
    if (head.size() > answer.size() || !std::ranges::equal(head, answer.last(head.size()))) continue;
    const auto last = static_cast<uint32_t>(word.back());
    mask[last / 32] &= ~(1u << (last % 32));
    forbids = true;
  }
  return forbids;
}

TokenId Sampler::draw(LogitsRow& row, const SamplingParameters& parameters, const TokenCounts& counts, int position,
                      std::span<const TokenId> tokens) {
  const bool modifies = !parameters.logit_bias.empty() || uses_penalties(parameters) || parameters.dry.on();
  if (!modifies) return draw_unmodified(row, parameters, position);
  HostRow host(modified(row, parameters, counts, tokens));
  return draw_unmodified(host, parameters, position);
}

// Repetition: Keskar et al. 2019 (CTRL), section 4.1; presence and frequency: as OpenAI's API documents them.
std::span<const float> Sampler::modified(LogitsRow& row, const SamplingParameters& p, const TokenCounts& counts,
                                         std::span<const TokenId> tokens) {
  const std::span<const float> original = row.logits();
  scratch_.assign(original.begin(), original.end());
  for (const auto& [token, bias] : p.logit_bias) {
    float& logit = scratch_[static_cast<size_t>(token)];
    if (logit != kNever) logit += bias;  // a forbidden token stays forbidden, were the bias infinite
  }
  if (uses_penalties(p)) {
    for (const auto& [token, count] : counts) {
      float& logit = scratch_[static_cast<size_t>(token)];
      logit = logit > 0.0f ? logit / p.repetition_penalty : logit * p.repetition_penalty;
      logit -= p.frequency_penalty * static_cast<float>(count) + (count > 0 ? p.presence_penalty : 0.0f);
    }
  }
  if (p.dry.on()) {
    for (const Repetition& repetition : repetitions_.find(tokens, p.dry))
      scratch_[static_cast<size_t>(repetition.token)] -= dry_penalty(p.dry, repetition.length);
  }
  return scratch_;
}

TokenId Sampler::draw_unmodified(LogitsRow& row, const SamplingParameters& p, int position) {
  const TokenId best = row.argmax();
  const float highest = row.logits()[static_cast<size_t>(best)];
  if (!(highest > kNever)) {
    if (std::isnan(highest)) throw Error(ErrorCode::kInternal, "the model's logits are not numbers");
    // Only a request can forbid everything.
    throw Error(ErrorCode::kInvalidArgument,
                "allowed_token_ids, bad_words, min_tokens and the like leave no token that may come next");
  }
  if (p.temperature == 0.0f || p.top_k == 1) return best;

  const float inverse_temperature = 1.0f / p.temperature;
  const double u = uniform(p.seed, p.choice, static_cast<uint32_t>(position));
  if (p.top_k == 0 && p.top_p >= 1.0f && p.min_p <= 0.0f && p.typical_p >= 1.0f) {
    return draw_from_all(row, highest, inverse_temperature, u);
  }
  collect(row, p, highest, inverse_temperature);
  const double total = std::accumulate(weighted_.begin(), weighted_.end(), 0.0,
                                       [](double sum, const Weighted& w) { return sum + w.weight; });
  double left = u * total;
  for (const Weighted& candidate : weighted_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return weighted_.back().token;
}

// By inversion over the whole vocabulary in order of id.
TokenId Sampler::draw_from_all(LogitsRow& row, float highest, float inverse_temperature, double u) {
  constexpr size_t kChunk = 1024;
  const std::span<const float> logits = row.logits();
  weights_.resize(logits.size());
  double total = 0;
  std::vector<double> chunks;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    const size_t end = std::min(begin + kChunk, logits.size());
    for (size_t i = begin; i < end; ++i) weights_[i] = exp_of((logits[i] - highest) * inverse_temperature);
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += weights_[i];
    chunks.push_back(sum);
    total += sum;
  }
  double left = u * total;
  size_t chunk = 0;
  while (chunk + 1 < chunks.size() && left >= chunks[chunk]) left -= chunks[chunk++];
  TokenId last = -1;
  for (size_t i = chunk * kChunk; i < weights_.size(); ++i) {
    if (weights_[i] == 0.0f) continue;
    last = static_cast<TokenId>(i);
    left -= weights_[i];
    if (left < 0) return last;
  }
  // Rounding ate the rest of u: the last token that can be at all.
  for (size_t i = weights_.size(); last < 0 && i > 0; --i) {
    if (weights_[i - 1] > 0.0f) last = static_cast<TokenId>(i - 1);
  }
  return last;
}

// Fills weighted_ with what top-k, typical-p, top-p and min-p leave, best first.
void Sampler::collect(LogitsRow& row, const SamplingParameters& p, float highest, float inverse_temperature) {
  const auto vocabulary = static_cast<int>(row.logits().size());
  const auto weigh = [&] {
    weighted_.clear();
    for (const Candidate& c : candidates_) {
      const float weight = exp_of((c.logit - highest) * inverse_temperature);
      if (weight == 0.0f) break;
      weighted_.push_back({c.token, weight});
    }
  };
  const auto sum = [&] {
    return std::accumulate(weighted_.begin(), weighted_.end(), 0.0,
                           [](double s, const Weighted& w) { return s + w.weight; });
  };
  if (p.top_k > 0 || p.typical_p < 1.0f) {
    row.top_k(p.top_k > 0 ? std::min(p.top_k, vocabulary) : vocabulary, candidates_);
    weigh();
    if (p.typical_p < 1.0f) keep_typical(p.typical_p);
    keep_probable(sum(), p.top_p, p.min_p);
    return;
  }
  // A few candidates nearly always hold the mass that top-p asks for, or reach below min-p; ask for more until they do.
  const double total = p.top_p < 1.0f ? sum_of_weights(row.logits(), highest, inverse_temperature) : 0;
  for (int k = std::min(64, vocabulary);; k = std::min(8 * k, vocabulary)) {
    row.top_k(k, candidates_);
    weigh();
    const bool all = k == vocabulary || weighted_.size() < candidates_.size();
    const bool enough =
        (p.top_p < 1.0f && sum() >= static_cast<double>(p.top_p) * total) || weighted_.back().weight < p.min_p;
    if (all || enough) break;
  }
  keep_probable(total, p.top_p, p.min_p);
}

// Keeps the tokens whose surprise is nearest to the entropy, until they hold typical_p of the mass. Source: Meister et
// al. 2022.
void Sampler::keep_typical(float typical_p) {
  double total = 0;
  for (const Weighted& w : weighted_) total += w.weight;
  double entropy = 0;
  for (const Weighted& w : weighted_) entropy -= w.weight / total * log_positive(w.weight / total);
  const auto deviation = [&](const Weighted& w) { return std::abs(-log_positive(w.weight / total) - entropy); };
  std::vector<std::pair<double, Weighted>> order;
  for (const Weighted& w : weighted_) order.emplace_back(deviation(w), w);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  double mass = 0;
  size_t kept = 0;
  while (kept < order.size() && mass < static_cast<double>(typical_p) * total) mass += order[kept++].second.weight;
  order.resize(std::max<size_t>(kept, 1));
  weighted_.clear();
  for (const auto& [distance, w] : order) weighted_.push_back(w);
  std::sort(weighted_.begin(), weighted_.end(), [](const Weighted& a, const Weighted& b) {
    return a.weight > b.weight || (a.weight == b.weight && a.token < b.token);
  });
}

// Keeps the smallest head that holds top_p of `total` (Holtzman et al. 2019), then what has at least min_p of the best
// one's probability (Nguyen et al. 2024). The best one always stays.
void Sampler::keep_probable(double total, float top_p, float min_p) {
  size_t kept = 0;
  double mass = 0;
  while (kept < weighted_.size() && (kept == 0 || top_p >= 1.0f || mass < static_cast<double>(top_p) * total))
    mass += weighted_[kept++].weight;
  while (kept > 1 && weighted_[kept - 1].weight < min_p * weighted_[0].weight) --kept;
  weighted_.resize(kept);
}

Sampler::Logprobs Sampler::logprobs(LogitsRow& row, int k) {
  row.top_k(std::max(1, k), candidates_);
  const float highest = candidates_.front().logit;
  Logprobs result;
  result.total = highest + static_cast<float>(std::log(sum_of_weights(row.logits(), highest, 1.0f)));
  for (int i = 0; i < k && i < static_cast<int>(candidates_.size()); ++i) {
    const Candidate& candidate = candidates_[static_cast<size_t>(i)];
    result.top.push_back({candidate.token, candidate.logit - result.total});
  }
  return result;
}

int Sampler::rank(LogitsRow& row, TokenId token) {
  const std::span<const float> logits = row.logits();
  const float own = logits[static_cast<size_t>(token)];
  return 1 + static_cast<int>(std::ranges::count_if(logits, [own](float logit) { return logit > own; }));
}

}  // namespace carronade
