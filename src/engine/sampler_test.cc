#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "base/error.h"
#include "engine/random.h"

namespace carronade {
namespace {

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedNumbers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EverySeedChoiceAndPositionHasItsOwnNumber) {
  EXPECT_NE(uniform(1, 0, 0), uniform(2, 0, 0));
  EXPECT_NE(uniform(1, 0, 0), uniform(1ull << 32, 0, 0));
  EXPECT_NE(uniform(1, 0, 0), uniform(1, 1, 0));
  EXPECT_NE(uniform(1, 0, 0), uniform(1, 0, 1));
  for (uint32_t i = 0; i < 10000; ++i) {
    const double u = uniform(i, 3, 7);
    ASSERT_TRUE(u >= 0.0 && u < 1.0);
  }
}

TEST(ExpNonpositive, IsWithinTwoTenMillionths) {
  for (double x = 0; x > -86.9; x -= 0.00137) {
    const double exact = std::exp(static_cast<double>(static_cast<float>(x)));
    ASSERT_NEAR(exp_nonpositive(static_cast<float>(x)) / exact, 1.0, 2e-7) << x;
  }
  EXPECT_EQ(exp_nonpositive(0.0f), 1.0f);
  EXPECT_EQ(exp_nonpositive(-88.0f), 0.0f);
  EXPECT_EQ(exp_nonpositive(-INFINITY), 0.0f);
}

TEST(LogPositive, IsWithinTwoUnitsOfTheLastPlace) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-300, 300);
  for (int i = 0; i < 100000; ++i) {
    const double x = std::pow(2.0, exponent(random)), exact = std::log(x);
    ASSERT_NEAR(log_positive(x), exact, std::abs(exact) * 5e-16 + 1e-16) << x;
  }
  for (double x = 0.5; x < 2.0; x += 0.00037) ASSERT_NEAR(log_positive(x), std::log(x), 3e-16) << x;
  EXPECT_EQ(log_positive(1.0), 0.0);
}

// What DRY takes off, by its definition: for each place behind an earlier copy of the sequence's end.
void take_repetitions(std::vector<float>& logits, const DryParameters& dry, const std::vector<TokenId>& tokens) {
  std::map<TokenId, size_t> longest;
  for (size_t next = 1; next < tokens.size(); ++next) {
    size_t length = 0;
    while (length < next && tokens[next - 1 - length] == tokens[tokens.size() - 1 - length]) ++length;
    if (static_cast<int>(length) >= dry.allowed_length) longest[tokens[next]] = std::max(longest[tokens[next]], length);
  }
  for (const auto& [token, length] : longest) {
    const double exponent = static_cast<double>(length) - dry.allowed_length;
    logits[static_cast<size_t>(token)] -= static_cast<float>(dry.multiplier * std::pow(dry.base, exponent));
  }
}

// The probabilities that the definitions give, worked out in double by the plainest code.
std::vector<double> exact_probabilities(std::vector<float> logits, const SamplingParameters& p,
                                        const TokenCounts& counts, const std::vector<TokenId>& tokens) {
  for (const auto& [token, bias] : p.logit_bias) logits[static_cast<size_t>(token)] += bias;
  for (const auto& [token, count] : counts) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / p.repetition_penalty : logit * p.repetition_penalty;
    if (count > 0) logit -= p.presence_penalty + p.frequency_penalty * static_cast<float>(count);
  }
  if (p.dry.on()) take_repetitions(logits, p.dry, tokens);
  const size_t n = logits.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> q(n);
  for (size_t i = 0; i < n; ++i) q[i] = std::exp((static_cast<double>(logits[i]) - logits[order[0]]) / p.temperature);
  const auto normalize = [&] {
    const double sum = std::accumulate(q.begin(), q.end(), 0.0);
    for (double& value : q) value /= sum;
  };
  if (p.top_k > 0) {
    for (size_t i = static_cast<size_t>(p.top_k); i < n; ++i) q[order[i]] = 0;
  }
  normalize();
  if (p.typical_p < 1) {
    double entropy = 0;
    for (const double value : q) entropy -= value > 0 ? value * std::log(value) : 0;
    std::vector<size_t> typical = order;
    const auto distance = [&](size_t i) { return q[i] > 0 ? std::abs(-std::log(q[i]) - entropy) : INFINITY; };
    std::stable_sort(typical.begin(), typical.end(), [&](size_t a, size_t b) { return distance(a) < distance(b); });
    double mass = 0;
    for (const size_t i : typical) {
      const double value = q[i];
      if (mass >= p.typical_p) q[i] = 0;
      mass += value;
    }
    normalize();
  }
  double mass = 0;
  for (const size_t i : order) {
    const double value = q[i];
    if (mass >= p.top_p && p.top_p < 1) q[i] = 0;
    mass += value;
  }
  normalize();
  const double best = *std::max_element(q.begin(), q.end());
  for (double& value : q) value = value < p.min_p * best ? 0 : value;
  normalize();
  return q;
}

std::vector<float> some_logits(int n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> logits(static_cast<size_t>(n));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

struct Case {
  const char* name;
  SamplingParameters parameters;
};

Case make_case(const char* name, const std::function<void(SamplingParameters&)>& set) {
  Case result{name, {}};
  set(result.parameters);
  return result;
}

// Chi-square of so many draws against the exact probabilities. The draws are a fixed sequence, so a test gives one
// answer always; the bound is the statistic's 1 - 1e-6 quantile (Wilson-Hilferty).
void expect_the_definitions(SamplingParameters parameters, int draws) {
  const std::vector<float> logits = some_logits(50, 3);
  // Ends as it began, and once more: 11 and 29 would continue.
  const std::vector<TokenId> tokens = {5, 8, 30, 11, 11, 4, 8, 30, 29, 2, 5, 8, 30};
  TokenCounts counts;
  if (uses_penalties(parameters)) counts = {{0, 0}, {5, 1}, {11, 3}, {29, 2}};
  const std::vector<double> exact = exact_probabilities(logits, parameters, counts, tokens);
  Sampler sampler;
  HostRow row(logits);
  std::vector<int> seen(logits.size());
  for (int i = 0; i < draws; ++i) {
    parameters.seed = static_cast<uint64_t>(i);
    ++seen[static_cast<size_t>(sampler.draw(row, parameters, counts, 17, tokens))];
  }
  double statistic = 0, pooled_expected = 0;
  int pooled_seen = 0, cells = 0;
  const auto add = [&](int observed, double expected) {
    statistic += (observed - expected) * (observed - expected) / expected;
    ++cells;
  };
  for (size_t i = 0; i < exact.size(); ++i) {
    if (exact[i] == 0) {
      ASSERT_EQ(seen[i], 0) << "token " << i << " cannot be";
    } else if (exact[i] * draws < 10) {
      pooled_expected += exact[i] * draws;  // the rare together
      pooled_seen += seen[i];
    } else {
      add(seen[i], exact[i] * draws);
    }
  }
  if (pooled_expected > 0) add(pooled_seen, pooled_expected);
  const double freedom = std::max(cells - 1, 1), term = 2.0 / (9 * freedom);
  EXPECT_LT(statistic, freedom * std::pow(1 - term + 4.7534 * std::sqrt(term), 3)) << cells << " cells";
}

// Every stage with every other: all subsets of them.
TEST(Sampler, EveryCombinationOfStagesIsTheDefinitions) {
  using Parameters = SamplingParameters;
  const std::vector<std::pair<const char*, void (*)(Parameters&)>> stages = {
      {"bias",
       [](Parameters& p) {
         p.logit_bias = {{3, 2.0f}, {8, -INFINITY}};
       }},
      {"repetition", [](Parameters& p) { p.repetition_penalty = 1.4f; }},
      {"presence and frequency", [](Parameters& p) { p.presence_penalty = 0.7f, p.frequency_penalty = -0.2f; }},
      {"dry", [](Parameters& p) { p.dry.multiplier = 0.6f, p.dry.penalty_last_n = -1; }},
      {"temperature", [](Parameters& p) { p.temperature = 1.7f; }},
      {"top-k", [](Parameters& p) { p.top_k = 25; }},
      {"typical-p", [](Parameters& p) { p.typical_p = 0.85f; }},
      {"top-p", [](Parameters& p) { p.top_p = 0.9f; }},
      {"min-p", [](Parameters& p) { p.min_p = 0.03f; }},
  };
  for (size_t subset = 0; subset < size_t{1} << stages.size(); ++subset) {
    Parameters parameters;
    std::string names;
    for (size_t i = 0; i < stages.size(); ++i) {
      if (!(subset >> i & 1)) continue;
      stages[i].second(parameters);
      names += std::string(stages[i].first) + ' ';
    }
    SCOPED_TRACE(names);
    expect_the_definitions(parameters, 3000);
  }
}

class SamplerDistribution : public testing::TestWithParam<Case> {};

TEST_P(SamplerDistribution, IsTheDefinitions) { expect_the_definitions(GetParam().parameters, 20000); }

INSTANTIATE_TEST_SUITE_P(
    All, SamplerDistribution,
    testing::Values(make_case("plain", [](auto&) {}), make_case("cold", [](auto& p) { p.temperature = 0.3f; }),
                    make_case("hot", [](auto& p) { p.temperature = 3.0f; }),
                    make_case("top_k", [](auto& p) { p.top_k = 7; }),
                    make_case("top_p", [](auto& p) { p.top_p = 0.8f; }),
                    make_case("min_p", [](auto& p) { p.min_p = 0.05f; }),
                    make_case("typical", [](auto& p) { p.typical_p = 0.6f; }),
                    make_case("top_k_typical", [](auto& p) { p.top_k = 20, p.typical_p = 0.7f; }),
                    make_case("all_heads",
                              [](auto& p) {
                                p.top_k = 30, p.typical_p = 0.95f, p.top_p = 0.9f, p.min_p = 0.02f,
                                p.temperature = 1.5f;
                              }),
                    make_case("r1", [](auto& p) { p.temperature = 0.6f, p.top_p = 0.95f; }),
                    make_case("bias",
                              [](auto& p) {
                                p.logit_bias = {{3, 4.0f}, {8, -INFINITY}};
                              }),
                    make_case("repetition", [](auto& p) { p.repetition_penalty = 1.8f; }),
                    make_case("dry", [](auto& p) { p.dry.multiplier = 0.8f, p.dry.penalty_last_n = -1; }),
                    make_case("dry_strict",
                              [](auto& p) {
                                p.dry = {.multiplier = 2.0f,
                                         .base = 1.2f,
                                         .allowed_length = 1,
                                         .penalty_last_n = -1,
                                         .breakers = nullptr};
                              }),
                    make_case("presence_frequency",
                              [](auto& p) { p.presence_penalty = 0.7f, p.frequency_penalty = 0.9f, p.top_p = 0.9f; })),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Sampler, ZeroTemperatureTakesTheLowestOfTheBest) {
  const std::vector<float> logits = {1, 5, 3, 5};
  HostRow row(logits);
  SamplingParameters parameters;
  parameters.temperature = 0;
  Sampler sampler;
  for (int position = 0; position < 20; ++position) EXPECT_EQ(sampler.draw(row, parameters, {}, position), 1);
  parameters.logit_bias = {{2, 2.5f}};
  EXPECT_EQ(sampler.draw(row, parameters, {}, 0), 2);
}

TEST(Sampler, ForbiddenTokensAreNeverDrawn) {
  std::vector<float> logits(3000, -INFINITY);
  logits[2999] = -50.0f;
  logits[1500] = -50.0f;
  HostRow row(logits);
  Sampler sampler;
  SamplingParameters parameters;
  std::map<TokenId, int> seen;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    parameters.seed = seed;
    ++seen[sampler.draw(row, parameters, {}, 0)];
  }
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_GT(seen[2999], 150);
  EXPECT_GT(seen[1500], 150);
  parameters.logit_bias = {{7, INFINITY}};  // cannot bring back what is forbidden
  EXPECT_NE(sampler.draw(row, parameters, {}, 0), 7);
}

TEST(ForbidBadWords, ForbidsTheTokenThatWouldCompleteOne) {
  const std::vector<std::vector<TokenId>> words = {{40}, {1, 2}, {1, 2, 33}, {2, 5}};
  const auto forbidden = [&](const std::vector<TokenId>& answer) {
    std::vector<uint32_t> mask(2, ~0u);
    EXPECT_TRUE(forbid_bad_words(words, answer, mask));
    std::vector<TokenId> result;
    for (TokenId token = 0; token < 64; ++token) {
      if (!(mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1)) result.push_back(token);
    }
    return result;
  };
  EXPECT_EQ(forbidden({}), std::vector<TokenId>{40});
  EXPECT_EQ(forbidden({1}), (std::vector<TokenId>{2, 40}));
  EXPECT_EQ(forbidden({7, 1, 2}), (std::vector<TokenId>{5, 33, 40}));
  EXPECT_EQ(forbidden({1, 2, 3}), std::vector<TokenId>{40});
  std::vector<uint32_t> mask(2, ~0u);
  EXPECT_FALSE(forbid_bad_words({}, {}, mask));
}

TEST(Sampler, DryTakesTheContinuationOfARepetition) {
  std::vector<float> logits(10, 0.0f);
  logits[3] = 5.0f;
  logits[4] = 4.0f;
  HostRow row(logits);
  Sampler sampler;
  SamplingParameters parameters;
  parameters.temperature = 0;
  const std::vector<TokenId> tokens = {1, 2, 3, 9, 1, 2};
  EXPECT_EQ(sampler.draw(row, parameters, {}, 6, tokens), 3);
  parameters.dry.multiplier = 0.9f;
  EXPECT_EQ(sampler.draw(row, parameters, {}, 6, tokens), 3);
  parameters.dry.multiplier = 1.1f;
  EXPECT_EQ(sampler.draw(row, parameters, {}, 6, tokens), 4);
  parameters.dry.penalty_last_n = 4;  // the first does not count any more
  EXPECT_EQ(sampler.draw(row, parameters, {}, 6, tokens), 3);
}

TEST(Sampler, NothingAllowedAndNoNumbersAreErrors) {
  Sampler sampler;
  const std::vector<float> nothing(10, -INFINITY), nan(10, NAN);
  HostRow forbidden(nothing), broken(nan);
  const auto error = [&](HostRow& row) {
    try {
      sampler.draw(row, {}, {}, 0);
      return ErrorCode::kUnavailable;
    } catch (const Error& thrown) {
      return thrown.code;
    }
  };
  EXPECT_EQ(error(forbidden), ErrorCode::kInvalidArgument);  // a request forbade everything
  EXPECT_EQ(error(broken), ErrorCode::kInternal);
}

TEST(Sampler, LogprobsAreOfTheModelsDistribution) {
  const std::vector<float> logits = some_logits(5000, 4);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  HostRow row(logits);
  Sampler sampler;
  const Sampler::Logprobs logprobs = sampler.logprobs(row, 5);
  EXPECT_NEAR(logprobs.total, std::log(sum), 1e-5);
  ASSERT_EQ(logprobs.top.size(), 5u);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(logprobs.top[i].logprob, sorted[i] - std::log(sum), 1e-5);
  EXPECT_TRUE(sampler.logprobs(row, 0).top.empty());
}

TEST(HostRow, TopKIsTheHeadOfTheSortedRow) {
  std::vector<float> logits = some_logits(4000, 5);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::round(logits[i] * 8) / 8;  // many equals
  std::vector<Candidate> sorted, best;
  for (size_t i = 0; i < logits.size(); ++i) sorted.push_back({static_cast<int32_t>(i), logits[i]});
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  HostRow row(logits);
  for (const int k : {1, 2, 40, 3999, 4000, 5000}) {
    row.top_k(k, best);
    ASSERT_EQ(best.size(), std::min<size_t>(static_cast<size_t>(k), 4000));
    for (size_t i = 0; i < best.size(); ++i) {
      ASSERT_EQ(best[i].token, sorted[i].token);
      ASSERT_EQ(best[i].logit, sorted[i].logit);
    }
  }
}

TEST(CheckSamplingParameters, NamesTheOneThatIsOutOfRange) {
  const auto offender = [](const std::function<void(SamplingParameters&)>& set) {
    SamplingParameters parameters;
    set(parameters);
    try {
      check_sampling_parameters(parameters, 100);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
      return error.param;
    }
    return std::string();
  };
  EXPECT_EQ(offender([](auto&) {}), "");
  EXPECT_EQ(offender([](auto& p) { p.temperature = -1; }), "temperature");
  EXPECT_EQ(offender([](auto& p) { p.temperature = NAN; }), "temperature");
  EXPECT_EQ(offender([](auto& p) { p.top_p = 0; }), "top_p");
  EXPECT_EQ(offender([](auto& p) { p.min_p = 1.5f; }), "min_p");
  EXPECT_EQ(offender([](auto& p) { p.repetition_penalty = 0; }), "repetition_penalty");
  EXPECT_EQ(offender([](auto& p) { p.logprobs = 21; }), "logprobs");
  EXPECT_EQ(offender([](auto& p) { p.logit_bias = {{100, 1.0f}}; }), "logit_bias");
  EXPECT_EQ(offender([](auto& p) { p.max_tokens = -5; }), "max_tokens");
  EXPECT_EQ(offender([](auto& p) { p.bad_words = {{}}; }), "bad_words");
  EXPECT_EQ(offender([](auto& p) { p.bad_words = {{1, 100}}; }), "bad_words");
  EXPECT_EQ(offender([](auto& p) { p.dry.multiplier = -1; }), "dry_multiplier");
  EXPECT_EQ(offender([](auto& p) { p.dry.base = 0.5f; }), "dry_base");
  EXPECT_EQ(offender([](auto& p) { p.dry.allowed_length = -1; }), "dry_allowed_length");
  EXPECT_EQ(offender([](auto& p) { p.dry.penalty_last_n = -2; }), "dry_penalty_last_n");
  EXPECT_EQ(offender([](auto& p) { p.dry.breakers = std::make_shared<SequenceBreakers>(); }), "dry_sequence_breakers");
}

}  // namespace
}  // namespace carronade
