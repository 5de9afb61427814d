// An oracle's answers to fixed sequences, to hold a model's against.
//
// The file: one line of JSON, then arrays without padding, little-endian, one entry for every token but the first of
// each sequence ("position"), in order:
//
//   {"format": "carronade-logprobs", "version": 1, "model": …, "oracle": …, "top": K, "unit": u,
//    "names": ["english", …], "sequences": [[token, …], …]}\n
//   u32 token[positions][K]     the K most probable tokens, best first
//   u16 logprob[positions][K]   theirs is -u * logprob nats
//   f32 rest[positions]         log-probability of all other tokens together
//   f32 actual[positions]       log-probability of the token that came
//
// tests/golden/fidelity/make_goldens.py writes it.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

struct LogprobGolden {
  std::string model, oracle;                    // for people
  std::vector<std::string> names;               // [sequences]
  std::vector<std::vector<TokenId>> sequences;  // at least two tokens each
  int top = 0;
  std::vector<TokenId> tokens;      // [positions][top]
  std::vector<float> logprobs;      // [positions][top]
  std::vector<float> rest, actual;  // [positions]

  size_t positions() const { return actual.size(); }
  std::span<const TokenId> tokens_at(size_t position) const {
    return std::span(tokens).subspan(position * static_cast<size_t>(top), static_cast<size_t>(top));
  }
  std::span<const float> logprobs_at(size_t position) const {
    return std::span(logprobs).subspan(position * static_cast<size_t>(top), static_cast<size_t>(top));
  }

  // Throws Error{kNotFound | kIo | kCorruptFile}.
  static LogprobGolden read(const std::filesystem::path& path);
};

// KL(oracle ‖ model) in nats over the golden's K tokens and one bin for all others: never more than over all tokens
// apart, and never below 0. `scratch` as in log_rest().
double divergence(const LogprobGolden& golden, size_t position, std::span<const float> logits, double log_sum,
                  std::vector<float>& scratch);

}  // namespace carronade
