// What the engine measures of requests and steps: written on its thread where it happens, read on any. Names, meanings
// and buckets are those of vLLM's metrics (its V1 engine's Prometheus logger), so that its dashboards work.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/metrics.h"
#include "engine/request.h"

namespace carronade {

// A request that has ended; times in seconds.
struct EndedRequest {
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  int drawn = 0;                 // tokens, one that stopped it included
  int max_tokens = 0;            // as asked for; 0: not
  AnswerGroup* group = nullptr;  // or nullptr: it was alone
  double queued = 0;             // until its first step
  double prefill = 0;            // from there until its first token
  double decode = 0;             // from there until its last
  double whole = 0;              // from its submission until now
};

struct EngineMetrics {
  static constexpr size_t kMostDrafts = 16;

  explicit EngineMetrics(int max_model_len);

  // Those that were cancelled or failed are counted as such, and are in no histogram.
  void request_ended(const EndedRequest& ended);
  // Of `drafted` tokens the first `accepted` held.
  void drafts_checked(int drafted, int accepted);

  std::array<Counter, 4> ended;  // by FinishReason
  Counter prompt_tokens;         // of prompts read to their end
  Counter generation_tokens;
  Counter prefix_queries, prefix_hits;  // tokens looked up when a request is first admitted, and those found
  Counter drafts, draft_tokens, accepted_draft_tokens;
  std::array<Counter, kMostDrafts> accepted_by_place;  // [place in its draft]

  // One value a request.
  Histogram request_prompt_tokens, request_generation_tokens, request_computed_tokens, request_max_tokens;
  Histogram request_n, request_most_tokens;  // one value for the answers to one prompt together
  Histogram request_seconds, queue_seconds, inference_seconds, prefill_seconds, decode_seconds;
  Histogram seconds_per_output_token;  // after the first
  Histogram time_to_first_token;
  Histogram inter_token_latency;  // one value a token after the first
  Histogram step_rows;            // one value a step: prompt rows, decode rows and drafts
  Histogram step_seconds;         // from the plan to the last token drawn
};

}  // namespace carronade
