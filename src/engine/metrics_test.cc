// What the engine counts and shows of itself.
#include "engine/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <numeric>

#include "engine/snapshot.h"
#include "engine/testing.h"

namespace carronade {
namespace {

TEST(EngineMetrics, BucketsOfTokensEndAtTheContext) {
  EXPECT_EQ(EngineMetrics(100).request_prompt_tokens.values().bounds, (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(EngineMetrics(4096).request_max_tokens.values().bounds.back(), 2000);
}

TEST(EngineMetrics, WhatWasCutOffIsCountedAndNotMeasured) {
  EngineMetrics metrics(100);
  EndedRequest request;
  request.usage = {10, 4, 5};
  request.drawn = 5;
  request.decode = 8;
  for (const FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kCancelled, FinishReason::kFailed}) {
    request.reason = reason;
    metrics.request_ended(request);
  }
  for (const Counter& counter : metrics.ended) EXPECT_EQ(counter.value(), 1u);
  EXPECT_EQ(metrics.request_prompt_tokens.values().sum, 20);
  EXPECT_EQ(metrics.request_computed_tokens.values().sum, 12);
  EXPECT_EQ(metrics.request_generation_tokens.values().sum, 10);
  EXPECT_EQ(metrics.seconds_per_output_token.values().sum, 4);  // 8 s between the first of five tokens and the last
  EXPECT_EQ(metrics.request_max_tokens.values().total(), 0u);   // nobody gave one
}

TEST(EngineMetrics, AnswersToOnePromptAreOneValue) {
  EngineMetrics metrics(100);
  AnswerGroup group{.n = 3};
  EndedRequest request;
  request.group = &group;
  for (const int tokens : {7, 30, 2}) {
    EXPECT_EQ(metrics.request_n.values().total(), 0u);
    request.usage.completion_tokens = tokens;
    metrics.request_ended(request);
  }
  EXPECT_EQ(metrics.request_n.values().sum, 3);
  EXPECT_EQ(metrics.request_most_tokens.values().sum, 30);
  EXPECT_EQ(metrics.request_generation_tokens.values().total(), 3u);
}

TEST(EngineMetrics, DraftsAreCountedByPlace) {
  EngineMetrics metrics(100);
  metrics.drafts_checked(4, 4);
  metrics.drafts_checked(4, 1);
  metrics.drafts_checked(2, 0);
  EXPECT_EQ(metrics.drafts.value(), 3u);
  EXPECT_EQ(metrics.draft_tokens.value(), 10u);
  EXPECT_EQ(metrics.accepted_draft_tokens.value(), 5u);
  EXPECT_EQ(metrics.accepted_by_place[0].value(), 2u);
  EXPECT_EQ(metrics.accepted_by_place[3].value(), 1u);
  EXPECT_EQ(metrics.accepted_by_place[4].value(), 0u);
}

EngineSnapshot snapshot_of(Engine& engine) {
  std::promise<EngineSnapshot> promise;
  engine.snapshot([&](EngineSnapshot snapshot) { promise.set_value(std::move(snapshot)); });
  return promise.get_future().get();
}

using EngineMeasures = EngineTest;

TEST_F(EngineMeasures, EveryRequestAndEveryStep) {
  const auto engine = make_engine();
  for (int i = 0; i < 2; ++i) {
    Listener listener;
    Request ask = request(prompt(40), 12);
    ask.sink = listener.sink();
    engine->submit(std::move(ask));
    listener.wait();
  }
  const EngineMetrics& metrics = engine->metrics();
  EXPECT_EQ(metrics.ended[static_cast<size_t>(FinishReason::kLength)].value(), 2u);
  EXPECT_EQ(metrics.prompt_tokens.value(), 80u);
  EXPECT_EQ(metrics.generation_tokens.value(), 24u);
  EXPECT_EQ(metrics.prefix_queries.value(), 80u);
  EXPECT_EQ(metrics.prefix_hits.value(), 32u);  // two whole blocks of the second prompt
  EXPECT_EQ(metrics.request_max_tokens.values().sum, 24);
  EXPECT_EQ(metrics.time_to_first_token.values().total(), 2u);
  EXPECT_EQ(metrics.inter_token_latency.values().total(), 22u);
  const double whole = metrics.request_seconds.values().sum;
  const double parts =
      metrics.queue_seconds.values().sum + metrics.prefill_seconds.values().sum + metrics.decode_seconds.values().sum;
  EXPECT_GT(parts, 0);
  EXPECT_LE(parts, whole);
  EXPECT_NEAR(metrics.decode_seconds.values().sum, metrics.inter_token_latency.values().sum, 1e-9);
  EXPECT_NEAR(metrics.inference_seconds.values().sum,
              metrics.prefill_seconds.values().sum + metrics.decode_seconds.values().sum, 1e-9);

  // 40 rows and then 8, each prompt with 11 tokens behind it: the last token is not computed.
  const EngineSnapshot idle = snapshot_of(*engine);
  EXPECT_EQ(metrics.step_rows.values().sum, 40 + 8 + 2 * 11);
  EXPECT_EQ(metrics.step_rows.values().total(), idle.steps);
  EXPECT_EQ(metrics.step_seconds.values().total(), idle.steps);
  ASSERT_TRUE(idle.last_step);
  EXPECT_EQ(idle.last_step->decode_rows, 1);
  EXPECT_EQ(idle.last_step->prompt_rows, 0);
}

TEST_F(EngineMeasures, WhatIsCancelledAsAborted) {
  const auto engine = make_engine();
  Listener listener;
  Request ask = request(prompt(9), 0);
  ask.sink = listener.sink();
  const RequestId id = engine->submit(std::move(ask));
  listener.wait_for_tokens(3);
  engine->cancel(id);
  listener.wait();
  EXPECT_EQ(engine->metrics().ended[static_cast<size_t>(FinishReason::kCancelled)].value(), 1u);
  EXPECT_EQ(engine->metrics().request_seconds.values().total(), 0u);
  EXPECT_EQ(engine->metrics().generation_tokens.value(), listener.tokens().size());
}

// Holds the engine's thread inside of a sink, so that a test knows which step runs.
class Turnstile {
 public:
  EventSink sink() {
    return [this](EngineEvent event) {
      if (std::holds_alternative<Finished>(event)) return;
      std::unique_lock lock(mutex_);
      ++came_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return came_ <= allowed_; });
    };
  }
  void wait_for(int tokens) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return came_ >= tokens; });
  }
  void allow(int tokens) {
    const std::lock_guard lock(mutex_);
    allowed_ = tokens;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int came_ = 0, allowed_ = 0;
};

TEST_F(EngineMeasures, ASnapshotShowsWhoRunsAndWhoWaits) {
  EngineOptions options = small_options();
  options.max_num_seqs = 2;
  Turnstile turnstile;  // outlives the engine, which calls it
  const auto engine = make_engine(options);
  Request first = request(prompt(20), 30);
  first.sink = turnstile.sink();
  first.tenant = {.id = 7, .weight = 2};
  const RequestId id = engine->submit(std::move(first));
  turnstile.wait_for(1);

  std::vector<Listener> listeners(3);
  const auto submit = [&](size_t i, uint64_t tenant, Tenant::Priority priority) {
    Request ask = request(prompt(100, static_cast<int>(i) + 2), 3);
    ask.sink = listeners[i].sink();
    ask.tenant = {.id = tenant, .weight = 1, .priority = priority};
    engine->submit(std::move(ask));
  };
  submit(0, 8, Tenant::Priority::kBackground);
  submit(1, 8, Tenant::Priority::kNormal);
  submit(2, 9, Tenant::Priority::kInteractive);
  turnstile.allow(1);  // the next step admits one of them
  turnstile.wait_for(2);
  std::promise<EngineSnapshot> promise;
  engine->snapshot([&](EngineSnapshot snapshot) { promise.set_value(std::move(snapshot)); });
  turnstile.allow(1000);
  const EngineSnapshot snapshot = promise.get_future().get();

  ASSERT_EQ(snapshot.running.size(), 2u);
  const SequenceSnapshot& writes = snapshot.running[0];
  EXPECT_EQ(writes.id, id);
  EXPECT_EQ(writes.tenant.id, 7u);
  EXPECT_EQ(writes.phase, SequenceSnapshot::Phase::kDecode);
  EXPECT_EQ(writes.prompt_tokens, 20);
  EXPECT_EQ(writes.generated, 2);
  EXPECT_EQ(writes.computed, 21);
  EXPECT_EQ(writes.blocks, 2);
  EXPECT_GT(writes.age, 0);
  const SequenceSnapshot& reads = snapshot.running[1];
  EXPECT_EQ(reads.tenant.priority, Tenant::Priority::kInteractive);
  EXPECT_EQ(reads.phase, SequenceSnapshot::Phase::kPrefill);
  EXPECT_EQ(reads.computed, 47);  // a step has 48 rows, and one is the other's
  EXPECT_EQ(reads.blocks, 7);
  ASSERT_EQ(snapshot.waiting.size(), 2u);
  EXPECT_EQ(snapshot.waiting[0].tenant.priority, Tenant::Priority::kNormal);
  EXPECT_EQ(snapshot.waiting[1].tenant.priority, Tenant::Priority::kBackground);
  EXPECT_EQ(snapshot.waiting[1].phase, SequenceSnapshot::Phase::kWaiting);
  EXPECT_EQ(snapshot.waiting[1].blocks, 0);

  ASSERT_EQ(snapshot.tenants.size(), 3u);
  EXPECT_EQ(snapshot.tenants[0].id, 7u);
  EXPECT_EQ(snapshot.tenants[0].served, 21 / 2.0);
  EXPECT_EQ(snapshot.tenants[1].sequences, 2);
  ASSERT_TRUE(snapshot.last_step);
  EXPECT_EQ(snapshot.last_step->prompt_rows, 47);
  EXPECT_EQ(snapshot.last_step->decode_rows, 1);
  EXPECT_EQ(snapshot.last_step->sequences, 2);
  EXPECT_EQ(snapshot.steps, 2u);
  EXPECT_EQ(snapshot.blocks_used, 9);
  EXPECT_EQ(snapshot.blocks_touched, 9);
  EXPECT_EQ(snapshot.blocks_total, snapshot.blocks_used + snapshot.blocks_cached + snapshot.blocks_free);
  EXPECT_TRUE(snapshot.books_balance);
  EXPECT_FALSE(snapshot.kv_disk);

  for (Listener& listener : listeners) listener.wait();
}

TEST_F(EngineMeasures, AnIdleEngineAnswersASnapshotAtOnce) {
  const auto engine = make_engine();
  EXPECT_FALSE(snapshot_of(*engine).last_step);
  answer(*engine, request(prompt(40), 4));
  while (engine->stats().running > 0) std::this_thread::yield();
  const EngineSnapshot snapshot = snapshot_of(*engine);
  EXPECT_TRUE(snapshot.running.empty());
  EXPECT_TRUE(snapshot.waiting.empty());
  EXPECT_EQ(snapshot.blocks_used, 0);
  EXPECT_EQ(snapshot.blocks_cached, 2);  // 43 positions were computed
  EXPECT_EQ(snapshot.blocks_touched, 3);
  EXPECT_TRUE(snapshot.books_balance);
}

}  // namespace
}  // namespace carronade
