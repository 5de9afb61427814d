#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/engine_impl.h"
#include "engine/kv_budget.h"

namespace carronade {
void check_tokens(const std::vector<TokenId>& tokens, int vocabulary) {
  for (const TokenId token : tokens) {
    if (token < 0 || token >= vocabulary) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("token {} is not one of the vocabulary's {}", token, vocabulary), "prompt");
    }
  }
}

namespace {

SchedulerOptions scheduler_options(const EngineOptions& options, int blocks, bool kv_was_given, ColdBlocks* cold) {
  // Nobody said how much memory to use: of ended sequences keep as much as one sequence may need, not all that could be
  // had.
  const int of_one = (options.max_model_len + kBlockPositions - 1) / kBlockPositions;
  return {.max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .max_outputs = max_outputs(options),
          .blocks = blocks,
          .prefix_cache = options.prefix_cache,
          .max_idle_blocks = kv_was_given && !options.keep_little ? blocks : of_one,
          .cold = cold};
}

std::unique_ptr<KvDisk> make_kv_disk(const EngineOptions& options, Backend& backend, const KvLayout& layout) {
  if (options.kv_disk_bytes == 0 || !options.prefix_cache) return nullptr;
  return std::make_unique<KvDisk>(KvDiskOptions{options.kv_disk_directory, options.kv_disk_bytes, options.kv_disk_model,
                                                options.adapters, options.kv_disk_folder},
                                  backend, layout);
}

}  // namespace

Engine::Impl::Impl(std::unique_ptr<Backend> backend_in, std::unique_ptr<Model> model_in,
                   const EngineOptions& options_in)
    : backend(std::move(backend_in)),
      model(std::move(model_in)),
      options(options_in),
      weight_bytes(backend->memory_in_use()),
      blocks(choose_limits(model->config(), model->kv_layout(options_in.kv_dtype), available_memory(), weight_bytes,
                           options)),
      metrics(options.max_model_len),
      kv_disk(make_kv_disk(options, *backend, model->kv_layout(options.kv_dtype))),
      scheduler(scheduler_options(options, blocks, options_in.kv_bytes + options_in.memory_bytes > 0, kv_disk.get())),
      runner(*model),
      pacer(options.max_num_batched_tokens),
      masks(static_cast<size_t>(max_outputs(options))) {
  backend->reserve(options.max_num_batched_tokens, max_outputs(options), model->config().vocabulary);
  backend->allocate_kv(model->kv_layout(options.kv_dtype), blocks);
  publish();
  thread = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "engine");
    run();
  });
}

// ---- On any thread

RequestId Engine::Impl::submit(Request request) {
  const int vocabulary = model->config().vocabulary;
  if (request.prompt.empty())
    throw Error(ErrorCode::kInvalidArgument, "the prompt is empty: it needs at least one token", "prompt");
  check_tokens(request.prompt, vocabulary);
  if (request.prompt.size() >= static_cast<size_t>(options.max_model_len)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the prompt has {} tokens, but a sequence holds {} and the answer needs at least one: "
                            "shorten the prompt, or start "
                            "with a greater --max-model-len (the model was trained for {})",
                            request.prompt.size(), options.max_model_len, model->config().context_length),
                "prompt");
  }
  if (request.adapter != kNoAdapter && (request.adapter < 0 || request.adapter >= std::ssize(options.adapters))) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("there is no adapter {}", request.adapter), "adapter");
  }
  check_sampling_parameters(request.sampling, vocabulary);

  const std::lock_guard lock(mutex);
  if (stopping) throw Error(ErrorCode::kUnavailable, "the engine is shutting down");
  if (static_cast<int>(submissions.size()) + published.waiting >= options.max_waiting) {
    throw_error(ErrorCode::kUnavailable, "{} requests wait already: try again later", options.max_waiting);
  }
  submissions.push_back({++last_id, std::move(request), Clock::now()});
  wake.notify_one();
  return last_id;
}

void Engine::Impl::cancel(RequestId id) {
  const std::lock_guard lock(mutex);
  cancellations.push_back(id);
  has_cancellations.store(true, std::memory_order_relaxed);
  wake.notify_one();
}

// Nobody has to be woken: a sleeping engine has nothing to end.
void Engine::Impl::end_background() { without_background.store(true, std::memory_order_relaxed); }

// ---- On the engine's thread

void Engine::Impl::run() {
  while (receive()) {
    end_cancelled();
    end_unwanted();
    end_overdue(Clock::now());
    if (!scheduler.empty()) step();
    publish();
  }
  while (!active.empty()) finish(active.begin()->second, FinishReason::kCancelled);
  if (kv_disk) {
    kv_disk->be_patient();
    scheduler.save_idle_blocks();
  }
  publish();
  answer_snapshots();
}

// Takes in what came; sleeps while there is nothing to do. False: shut down.
bool Engine::Impl::receive() {
  std::deque<Submission> arrived;
  bool goes_on = true;
  {
    std::unique_lock lock(mutex);
    if (scheduler.empty() && submissions.empty() && !stopping) {
      assert(scheduler.books_balance());
      // So that a crash costs little; what the disk is too slow for waits for the next pause.
      lock.unlock();
      scheduler.save_idle_blocks();
      lock.lock();
      wake.wait(lock,
                [&] { return stopping || !submissions.empty() || !cancellations.empty() || !snapshot_sinks.empty(); });
    }
    arrived.swap(submissions);
    published.waiting += static_cast<int>(arrived.size());
    goes_on = !stopping;
  }
  for (Submission& submission : arrived) start(submission.id, std::move(submission.request), submission.time);
  answer_snapshots();  // now, so that they show whatever was submitted before they were asked for
  return goes_on;
}

void Engine::Impl::start(RequestId id, Request request, Clock::time_point submitted) {
  last_started = id;
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->tenant = request.tenant;
  sequence->scope = {request.tenant.id, request.adapter, request.cache_salt};
  sequence->wants_prompt_logits = request.sampling.prompt_logprobs >= 0;
  sequence->tokens = request.prompt;
  sequence->prompt_tokens = static_cast<int>(request.prompt.size());
  Active& entry = active[id];
  entry.submitted = submitted;
  if (uses_penalties(request.sampling)) {
    for (const TokenId token : request.prompt) entry.counts.emplace(token, 0);
  }
  entry.request = std::move(request);
  entry.sequence = &scheduler.add(std::move(sequence));
}

// Also of those whose sink threw. A cancellation may overtake its own submission; then it stays until that has been
// taken in.
void Engine::Impl::end_cancelled() {
  std::vector<RequestId> ids;
  if (has_cancellations.load(std::memory_order_relaxed)) {
    const std::lock_guard lock(mutex);
    const auto known =
        std::partition(cancellations.begin(), cancellations.end(), [&](RequestId id) { return id > last_started; });
    ids.assign(known, cancellations.end());
    cancellations.erase(known, cancellations.end());
    has_cancellations.store(!cancellations.empty(), std::memory_order_relaxed);
  }
  for (const auto& [id, entry] : active) {
    if (entry.unheard) ids.push_back(id);
  }
  for (const RequestId id : ids) {
    if (const auto found = active.find(id); found != active.end()) finish(found->second, FinishReason::kCancelled);
  }
}

void Engine::Impl::end_unwanted() {
  if (!without_background.load(std::memory_order_relaxed)) return;
  std::vector<RequestId> ids;
  for (const auto& [id, entry] : active) {
    if (entry.request.tenant.priority == Tenant::Priority::kBackground) ids.push_back(id);
  }
  if (ids.empty()) return;
  fail(ids, Error(ErrorCode::kUnavailable,
                  "a background answer gave way, since its model is being unloaded: try again later"));
}

void Engine::Impl::end_overdue(Clock::time_point now) {
  std::vector<RequestId> ids;
  for (const auto& [id, entry] : active) {
    if (entry.request.deadline && *entry.request.deadline <= now) ids.push_back(id);
  }
  if (!ids.empty()) fail(ids, Error(ErrorCode::kUnavailable, "the answer was not ready in the time it was given"));
}

void Engine::Impl::step() {
  const bool others_stream =
      std::any_of(active.begin(), active.end(), [](const auto& entry) { return entry.second.has_answered; });
  propose_drafts();
  const Plan& plan = scheduler.step(options.pace ? pacer.prefill_rows(others_stream) : options.max_num_batched_tokens);
  const Clock::time_point before = Clock::now();
  std::vector<RequestId> planned;
  measure_step(plan);
  const int rows = last_step.prompt_rows + last_step.decode_rows + last_step.draft_rows;
  bool only_streams = true;
  for (const PlannedRows& part : plan) {
    planned.push_back(part.sequence->id);
    only_streams &= part.outputs == part.rows && !part.sequence->wants_prompt_logits;
    Active& entry = active.at(part.sequence->id);
    if (!std::exchange(entry.has_started, true)) begin(entry, before);
  }
  try {
    runner.run(plan);
    pacer.measured(rows, seconds_between(before, Clock::now()));
    ++counted.steps;
    remember_outputs(plan);
    scheduler.commit();
    end_cancelled();
    sample();
    last_step_end = Clock::now();
    last_step.seconds = seconds_between(before, last_step_end);
    metrics.step_rows.observe(rows);
    metrics.step_seconds.observe(last_step.seconds);
    if (only_streams) costs.measured(rows, last_step.seconds);
  } catch (const Error& error) {
    fail(planned, error);
  } catch (const std::exception& error) {
    fail(planned, Error(ErrorCode::kInternal, error.what()));
  }
}

void Engine::Impl::begin(Active& entry, Clock::time_point now) {
  entry.started = now;
  if (!options.prefix_cache || entry.sequence->wants_prompt_logits) return;
  metrics.prefix_queries.add(static_cast<uint64_t>(entry.sequence->prompt_tokens));
  metrics.prefix_hits.add(static_cast<uint64_t>(entry.sequence->cached_tokens));
}

void Engine::Impl::measure_step(const Plan& plan) {
  last_step = {};
  last_step.sequences = static_cast<int>(plan.size());
  for (const PlannedRows& part : plan) {
    const int drafts = static_cast<int>(part.sequence->drafts.size());
    (part.first < part.sequence->prompt_tokens ? last_step.prompt_rows : last_step.decode_rows) += part.rows - drafts;
    last_step.draft_rows += drafts;
  }
}

void Engine::Impl::measure_end(const Active& entry, const Finished& finished, Clock::time_point now) {
  EndedRequest ended;
  ended.reason = finished.reason;
  ended.usage = finished.usage;
  ended.max_tokens = entry.request.sampling.max_tokens;
  ended.group = entry.request.group.get();
  ended.whole = seconds_between(entry.submitted, now);
  ended.drawn = entry.drawn;
  if (entry.drawn > 0) {
    ended.queued = seconds_between(entry.submitted, entry.started);
    ended.prefill = seconds_between(entry.started, entry.first_token);
    ended.decode = seconds_between(entry.first_token, entry.last_token);
  }
  metrics.request_ended(ended);
}

void Engine::Impl::deliver(Active& entry, EngineEvent event) {
  if (entry.unheard) return;
  try {
    if (entry.request.sink) entry.request.sink(std::move(event));
  } catch (const std::exception& error) {
    spdlog::error("request {}: its listener failed: {}", entry.sequence->id, error.what());
    entry.unheard = true;
  }
}

void Engine::Impl::finish(Active& entry, FinishReason reason, TokenId stop_token, std::optional<Error> error) {
  const Clock::time_point now = Clock::now();
  const Sequence& sequence = *entry.sequence;
  Finished finished;
  finished.reason = reason;
  finished.stop_token = stop_token;
  finished.usage = {sequence.prompt_tokens, sequence.cached_tokens, entry.completion_tokens()};
  const Clock::time_point started = entry.has_started ? entry.started : now;
  const Clock::time_point answered = entry.has_answered ? entry.first_token : now;
  finished.timing = {seconds_between(entry.submitted, started), seconds_between(started, answered),
                     seconds_between(answered, now)};
  finished.error = std::move(error);
  measure_end(entry, finished, now);
  deliver(entry, std::move(finished));
  ++counted.requests_finished;
  const RequestId id = sequence.id;
  scheduler.remove(*entry.sequence);
  active.erase(id);
}

void Engine::Impl::fail(const std::vector<RequestId>& ids, const Error& error) {
  scheduler.abandon();
  for (const RequestId id : ids) {
    if (const auto found = active.find(id); found != active.end())
      finish(found->second, FinishReason::kFailed, -1, error);
  }
}

void Engine::Impl::publish() {
  counted.running = scheduler.running();
  counted.blocks_total = scheduler.pool().total();
  counted.blocks_used = scheduler.pool().held();
  counted.blocks_cached = scheduler.pool().idle();
  counted.blocks_touched = scheduler.pool().touched();
  counted.prompt_tokens = metrics.prompt_tokens.value();
  counted.cached_tokens = metrics.prefix_hits.value();
  counted.generation_tokens = metrics.generation_tokens.value();
  counted.draft_tokens = metrics.draft_tokens.value();
  counted.accepted_draft_tokens = metrics.accepted_draft_tokens.value();
  counted.preemptions = scheduler.preemptions();
  if (kv_disk) {
    const KvDiskStats disk = kv_disk->stats();
    counted.kv_disk_bytes = disk.bytes;
    counted.kv_disk_read = disk.read;
    counted.kv_disk_written = disk.written;
    counted.kv_disk_damaged = disk.damaged;
    counted.kv_disk_dropped = disk.dropped;
  }
  const std::lock_guard lock(mutex);
  counted.waiting = scheduler.waiting();
  published = counted;
}

// ---- The public face

Engine::Engine(std::unique_ptr<Backend> backend, std::unique_ptr<Model> model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(backend), std::move(model), options)) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_one();
  impl_->thread.join();
}

RequestId Engine::submit(Request request) { return impl_->submit(std::move(request)); }
void Engine::cancel(RequestId id) { impl_->cancel(id); }
void Engine::end_background() { impl_->end_background(); }
const ModelConfig& Engine::model_config() const { return impl_->model->config(); }
const EngineOptions& Engine::options() const { return impl_->options; }
const DeviceInfo& Engine::device() const { return impl_->backend->device(); }
const EngineMetrics& Engine::metrics() const { return impl_->metrics; }
uint64_t Engine::weight_bytes() const { return impl_->weight_bytes; }

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  EngineStats stats = impl_->published;
  stats.waiting += static_cast<int>(impl_->submissions.size());  // not yet taken in
  return stats;
}

}  // namespace carronade
