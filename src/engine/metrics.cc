#include "engine/metrics.h"

#include <algorithm>
#include <vector>

namespace carronade {
namespace {

// 1, 2, 5, 10, 20, 50, … up to `most`.
std::vector<double> one_two_five(int most) {
  std::vector<double> bounds;
  for (double power = 1;; power *= 10) {
    for (const double digit : {1, 2, 5}) {
      if (digit * power > most) return bounds;
      bounds.push_back(digit * power);
    }
  }
}

std::vector<double> latency() {
  return {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}

std::vector<double> first_token() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}

std::vector<double> per_token() {
  return {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
}

// Ours: a step is meant to take 0.15 s beside streams, 0.5 s at most (StepPacer).
std::vector<double> step() { return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5}; }

}  // namespace

EngineMetrics::EngineMetrics(int max_model_len)
    : request_prompt_tokens(one_two_five(max_model_len)),
      request_generation_tokens(one_two_five(max_model_len)),
      request_computed_tokens(one_two_five(max_model_len)),
      request_max_tokens(one_two_five(max_model_len)),
      request_n({1, 2, 5, 10, 20}),
      request_most_tokens(one_two_five(max_model_len)),
      request_seconds(latency()),
      queue_seconds(latency()),
      inference_seconds(latency()),
      prefill_seconds(latency()),
      decode_seconds(latency()),
      seconds_per_output_token(per_token()),
      time_to_first_token(first_token()),
      inter_token_latency(per_token()),
      step_rows({1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}),
      step_seconds(step()) {}

void EngineMetrics::request_ended(const EndedRequest& request) {
  ended[static_cast<size_t>(request.reason)].add();
  AnswerGroup alone;
  AnswerGroup& group = request.group ? *request.group : alone;
  group.most_tokens = std::max(group.most_tokens, request.usage.completion_tokens);
  const bool last_of_group = ++group.ended == group.n;
  if (request.reason != FinishReason::kStop && request.reason != FinishReason::kLength) return;
  if (last_of_group) {
    request_n.observe(group.n);
    request_most_tokens.observe(group.most_tokens);
  }
  const int tokens = request.usage.completion_tokens;
  request_prompt_tokens.observe(request.usage.prompt_tokens);
  request_computed_tokens.observe(request.usage.prompt_tokens - request.usage.cached_tokens);
  request_generation_tokens.observe(tokens);
  if (request.max_tokens > 0) request_max_tokens.observe(request.max_tokens);
  request_seconds.observe(request.whole);
  queue_seconds.observe(request.queued);
  prefill_seconds.observe(request.prefill);
  decode_seconds.observe(request.decode);
  inference_seconds.observe(request.prefill + request.decode);
  seconds_per_output_token.observe(request.drawn > 1 ? request.decode / (request.drawn - 1) : 0.0);
}

void EngineMetrics::drafts_checked(int drafted, int accepted) {
  drafts.add();
  draft_tokens.add(static_cast<uint64_t>(drafted));
  accepted_draft_tokens.add(static_cast<uint64_t>(accepted));
  for (size_t place = 0; place < std::min(static_cast<size_t>(accepted), kMostDrafts); ++place)
    accepted_by_place[place].add();
}

}  // namespace carronade
