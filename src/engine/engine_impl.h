// The engine's inside, shared by its two files. Nobody else includes it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/kv_disk.h"
#include "engine/metrics.h"
#include "engine/runner.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/snapshot.h"
#include "engine/speculator.h"
#include "engine/step_pacer.h"

namespace carronade {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// A request between its submission and its Finished.
struct Active {
  Request request;
  Sequence* sequence = nullptr;  // the scheduler's
  std::deque<TokenId> forced;    // come next, undrawn
  TokenCounts counts;            // kept with penalties only
  Sampler::Logprobs logprobs;    // of the step's row
  PromptLogprobs prompt_logprobs;
  PromptLookup lookup;
  SpeculationGate gate;
  bool unheard = false;  // its sink threw
  bool has_started = false, has_answered = false;
  int drawn = 0;  // tokens, the one that stops included
  Clock::time_point submitted, started;
  Clock::time_point first_token, last_token;  // of those drawn

  int completion_tokens() const { return sequence->length() - sequence->prompt_tokens; }
};

// One part of the running step that has logits.
struct StepOutputs {
  RequestId id;
  int first_output;             // logits row of the first
  int outputs;                  // so many rows follow one another
  int first_position;           // position of the first
  std::vector<TokenId> drafts;  // whose rows follow the last token's
};

struct Engine::Impl {
  Impl(std::unique_ptr<Backend> backend_in, std::unique_ptr<Model> model_in, const EngineOptions& options_in);

  // On any thread.
  RequestId submit(Request request);
  void cancel(RequestId id);
  void end_background();

  // On the engine's thread.
  void run();
  bool receive();
  void start(RequestId id, Request request, Clock::time_point submitted);
  void end_cancelled();
  void end_unwanted();
  void step();
  void begin(Active& entry, Clock::time_point now);
  void measure_step(const Plan& plan);
  void measure_end(const Active& entry, const Finished& finished, Clock::time_point now);
  void end_overdue(Clock::time_point now);

  // engine_sampling.cc: from rows of logits to tokens.
  void propose_drafts();
  void remember_outputs(const Plan& plan);
  void sample();
  template <typename Action>
  void guarded(RequestId id, Action action);
  bool prepare(int output, Active& entry);
  void rate_prompt(StepOutputs& step, Active& entry);
  void draw(const StepOutputs& step, Active& entry);
  bool draw_one(int output, Active& entry, const TokenId* draft, bool& held);
  bool take(Active& entry, TokenEvent event, bool computed);
  void deliver(Active& entry, EngineEvent event);
  void finish(Active& entry, FinishReason reason, TokenId stop_token = -1, std::optional<Error> error = {});
  void fail(const std::vector<RequestId>& ids, const Error& error);
  void publish();

  // snapshot.cc
  EngineSnapshot take_snapshot() const;
  void answer_snapshots();

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;  // after the backend: goes first
  EngineOptions options;
  uint64_t weight_bytes;
  int blocks;
  EngineMetrics metrics;  // written on the engine's thread, read on any

  // The engine's thread's own.
  std::unique_ptr<KvDisk> kv_disk;  // or nullptr
  Scheduler scheduler;
  Runner runner;
  Sampler sampler;
  StepPacer pacer;
  StepCosts costs;
  std::map<RequestId, Active> active;
  std::vector<StepOutputs> outputs;          // of the running step
  std::vector<std::vector<uint32_t>> masks;  // [rows with logits][ceil(vocabulary / 32)]
  RequestId last_started = 0;
  EngineStats counted;
  StepSnapshot last_step;
  Clock::time_point last_step_end;

  // Shared, under `mutex`.
  struct Submission {
    RequestId id;
    Request request;
    Clock::time_point time;
  };
  mutable std::mutex mutex;
  std::condition_variable wake;
  std::deque<Submission> submissions;
  std::vector<RequestId> cancellations;
  std::vector<SnapshotSink> snapshot_sinks;
  bool stopping = false;
  RequestId last_id = 0;
  EngineStats published;

  std::atomic<bool> has_cancellations{false};
  std::atomic<bool> without_background{false};  // from now on
  std::thread thread;                           // last: everything is there when it starts
};

// Throws Error{kInvalidArgument} for a token that is not of the vocabulary.
void check_tokens(const std::vector<TokenId>& tokens, int vocabulary);

}  // namespace carronade
