#include "hub/model_pool.h"

#include <malloc.h>
#include <pthread.h>

#include <future>
#include <utility>

#include "base/log.h"
#include "hub/progress.h"

namespace carronade {

namespace {

double seconds_since(PoolTime begin) { return std::chrono::duration<double>(PoolClock::now() - begin).count(); }

// What the allocator keeps for later belongs to the next model, or to others on this machine.
void return_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

// For clients, whom the server's files do not concern. What the system refused may be there later.
Error without_cause(const std::string& name, const Error& cause) {
  const bool may_pass = cause.code == ErrorCode::kUnavailable || cause.code == ErrorCode::kIo;
  return {may_pass ? ErrorCode::kUnavailable : ErrorCode::kInternal,
          "the model " + name + " cannot be loaded; the server's log says why"};
}

}  // namespace

struct ModelPool::State {
  struct Slot {
    PoolModel model;
    std::shared_ptr<PooledModel> loaded;
    uint64_t loads = 0, failures = 0, unloads = 0;
    double load_seconds = 0;
  };
  struct Job {  // of the loader
    size_t model;
    bool load;
    uint64_t memory = 0;
    std::string why{};
    std::stop_token stop{};
  };

  State(std::vector<PoolModel> models, const PoolLimits& limits, std::vector<MemoryShare> shares,
        std::vector<std::string> names)
      : scheduler(std::move(shares), limits, std::move(names)) {
    for (PoolModel& model : models) slots.push_back({std::move(model), nullptr});
  }

  void wake() {  // under the mutex
    changed = true;
    decider_wake.notify_one();
  }

  void decide_until_closed(const std::shared_ptr<State>& self);
  void perform(PoolAction action, const std::shared_ptr<State>& self, std::vector<std::function<void()>>& calls);
  void load_until_closed();
  void load(std::unique_lock<std::mutex>& lock, const Job& job);
  void unload(std::unique_lock<std::mutex>& lock, const Job& job);
  PooledModelPtr in_hand(const PoolRequest& request, const std::shared_ptr<State>& self);

  std::mutex mutex;  // of everything here
  std::condition_variable decider_wake, loader_wake;
  PoolScheduler scheduler;
  std::vector<Slot> slots;
  struct Waiting {
    PoolRequest request;
    PoolWait wait;
  };
  std::map<PoolTicket, Waiting> waiting;
  PoolTicket last_ticket = 0;
  std::deque<Job> jobs;
  std::stop_source stop_loading;  // of the load that runs; asked without the mutex, for it calls back
  bool changed = false, closed = false, ended = false;
};

// Given back when it goes.
class ModelPool::Hold {
 public:
  Hold(std::shared_ptr<State> state, PoolRequest request) : state_(std::move(state)), request_(request) {}
  ~Hold() {
    const std::lock_guard lock(state_->mutex);
    state_->scheduler.release(request_, PoolClock::now());
    state_->wake();
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  std::shared_ptr<State> state_;
  PoolRequest request_;
};

// Points at the model, but counts for the pool's books alone: the model itself is the pool's to end.
PooledModelPtr ModelPool::State::in_hand(const PoolRequest& request, const std::shared_ptr<State>& self) {
  return {std::make_shared<Hold>(self, request), slots[request.model].loaded.get()};
}

// ---- The thread "models": decides

void ModelPool::State::decide_until_closed(const std::shared_ptr<State>& self) {
  std::unique_lock lock(mutex);
  for (;;) {
    changed = false;
    std::vector<std::function<void()>> calls;
    for (PoolAction& action : scheduler.decide(PoolClock::now())) perform(std::move(action), self, calls);
    if (!calls.empty()) {
      lock.unlock();
      for (const auto& call : calls) call();
      calls.clear();
      lock.lock();
      continue;
    }
    if (changed) continue;
    if (closed && scheduler.empty() && jobs.empty()) break;
    const auto due = scheduler.next_time(PoolClock::now());
    const auto woken = [&] { return changed; };
    if (due) {
      decider_wake.wait_until(lock, *due, woken);
    } else {
      decider_wake.wait(lock, woken);
    }
  }
  ended = true;
  loader_wake.notify_one();
}

// Calls what belongs to others later, without the mutex. A ticket that nobody waits with is let go of.
void ModelPool::State::perform(PoolAction action, const std::shared_ptr<State>& self,
                               std::vector<std::function<void()>>& calls) {
  if (const auto* grant = std::get_if<Grant>(&action)) {
    auto node = waiting.extract(grant->ticket);
    if (!node) {
      scheduler.release(grant->request, PoolClock::now());
      changed = true;
      return;
    }
    calls.push_back([wait = std::move(node.mapped().wait), model = in_hand(grant->request, self)]() mutable {
      wait.done(std::move(model));
    });
  } else if (auto* refusal = std::get_if<Refusal>(&action)) {
    auto node = waiting.extract(refusal->ticket);
    if (!node) return;
    const auto& [request, wait] = node.mapped();
    if (refusal->load_failed && !wait.wants_cause)
      refusal->error = without_cause(slots[request.model].model.name, refusal->error);
    calls.push_back([wait = std::move(node.mapped().wait), error = std::move(refusal->error)]() mutable {
      wait.done(std::move(error));
    });
  } else if (const auto* notice = std::get_if<Notice>(&action)) {
    const auto found = waiting.find(notice->ticket);
    if (found != waiting.end() && found->second.wait.notice) calls.push_back(found->second.wait.notice);
  } else if (const auto* load = std::get_if<Load>(&action)) {
    stop_loading = std::stop_source();
    jobs.push_back({load->model, true, load->memory, {}, stop_loading.get_token()});
    loader_wake.notify_one();
  } else if (std::holds_alternative<StopLoading>(action)) {
    calls.push_back([stop = stop_loading]() mutable { stop.request_stop(); });
  } else if (const auto* end = std::get_if<EndBackground>(&action)) {
    slots[end->model].loaded->end_background();
  } else if (auto* unload = std::get_if<Unload>(&action)) {
    jobs.push_back({unload->model, false, 0, std::move(unload->why), {}});
    loader_wake.notify_one();
  }
}

// ---- The thread "model-loader": loads and unloads, one at a time

void ModelPool::State::load_until_closed() {
  std::unique_lock lock(mutex);
  for (;;) {
    loader_wake.wait(lock, [&] { return ended || !jobs.empty(); });
    if (jobs.empty()) return;
    const Job job = jobs.front();
    (job.load ? load(lock, job) : unload(lock, job));
    jobs.pop_front();
    wake();
  }
}

void ModelPool::State::load(std::unique_lock<std::mutex>& lock, const Job& job) {
  Slot& slot = slots[job.model];  // never moved
  lock.unlock();
  const PoolTime begin = PoolClock::now();
  std::shared_ptr<PooledModel> model;
  std::optional<Error> error;
  try {
    model = slot.model.load(job.memory, job.stop);
  } catch (const Error& failure) {
    error = failure;
  } catch (const std::bad_alloc&) {
    error.emplace(ErrorCode::kUnavailable, slot.model.name + " cannot be loaded: the system has no memory for it");
  } catch (const std::exception& failure) {
    error.emplace(ErrorCode::kInternal, slot.model.name + " cannot be loaded: " + failure.what());
  }
  return_memory();  // what the load itself needed
  const double seconds = seconds_since(begin);
  const uint64_t bytes = model ? model->bytes() : 0;
  if (error && error->code != ErrorCode::kCancelled)
    spdlog::error("{}: not loaded: {}", slot.model.name, error->what());
  lock.lock();
  if (error) {
    slot.failures += error->code == ErrorCode::kCancelled ? 0 : 1;
    return scheduler.failed(job.model, *error);
  }
  slot.loaded = std::move(model);
  ++slot.loads;
  slot.load_seconds += seconds;
  scheduler.loaded(job.model, bytes, PoolClock::now());
  const uint64_t budget = scheduler.limits().budget;
  if (slots.size() > 1 || slot.loads > 1) {
    spdlog::info("{}: loaded in {:.1f} s{}", slot.model.name, seconds,
                 budget == 0 ? ""
                             : fmt::format("; {} of {} are given to models", format_bytes(scheduler.committed()),
                                           format_bytes(budget)));
  }
}

void ModelPool::State::unload(std::unique_lock<std::mutex>& lock, const Job& job) {
  Slot& slot = slots[job.model];
  std::shared_ptr<PooledModel> model = std::move(slot.loaded);
  const bool ending = closed;
  lock.unlock();
  const PoolTime begin = PoolClock::now();
  model.reset();
  return_memory();
  if (!ending) spdlog::info("{}: unloaded in {:.1f} s: {}", slot.model.name, seconds_since(begin), job.why);
  lock.lock();
  ++slot.unloads;
  scheduler.unloaded(job.model);
}

// ---- The face

ModelPool::ModelPool(std::vector<PoolModel> models, PoolLimits limits) {
  std::vector<MemoryShare> shares;
  std::vector<std::string> names;
  for (const PoolModel& model : models) {
    shares.push_back(model.memory);
    names.push_back(model.name);
  }
  state_ = std::make_shared<State>(std::move(models), limits, std::move(shares), std::move(names));
  decider_ = std::thread([state = state_] {
    ::pthread_setname_np(::pthread_self(), "models");
    state->decide_until_closed(state);
  });
  loader_ = std::thread([state = state_] {
    ::pthread_setname_np(::pthread_self(), "model-loader");
    state->load_until_closed();
  });
}

ModelPool::~ModelPool() {
  close();
  decider_.join();
  loader_.join();
}

size_t ModelPool::size() const { return state_->slots.size(); }

PooledModelPtr ModelPool::hold(const PoolRequest& request) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->scheduler.hold(request, PoolClock::now())) return nullptr;
  return state_->in_hand(request, state_);
}

PoolTicket ModelPool::wait(const PoolRequest& request, PoolWait wait) {
  const std::lock_guard lock(state_->mutex);
  const PoolTicket ticket = ++state_->last_ticket;
  state_->scheduler.wait(ticket, request, PoolClock::now());
  state_->waiting.emplace(ticket, State::Waiting{request, std::move(wait)});
  state_->wake();
  return ticket;
}

PoolWait ModelPool::cancel(PoolTicket ticket) {
  PoolWait gone;
  const std::lock_guard lock(state_->mutex);
  if (auto node = state_->waiting.extract(ticket)) gone = std::move(node.mapped().wait);
  state_->scheduler.cancel(ticket);
  state_->wake();
  return gone;
}

PooledModelPtr ModelPool::hold_or_wait(const PoolRequest& request, const std::stop_token& stop) {
  if (PooledModelPtr model = hold(request)) return model;
  const auto answer = std::make_shared<std::promise<std::variant<PooledModelPtr, Error>>>();
  auto future = answer->get_future();
  const auto answered = std::make_shared<std::once_flag>();
  const auto give = [answer, answered](std::variant<PooledModelPtr, Error> given) {
    std::call_once(*answered, [&] { answer->set_value(std::move(given)); });
  };
  const PoolTicket ticket = wait(request, {give, nullptr, true});
  const std::stop_callback on_stop(stop, [&] {
    cancel(ticket);
    give(Error(ErrorCode::kCancelled, "stopped while a model was loading"));
  });
  auto given = future.get();
  if (const auto* error = std::get_if<Error>(&given)) throw Error(*error);
  return std::get<PooledModelPtr>(std::move(given));
}

std::vector<PooledModelPtr> ModelPool::glance() {
  std::vector<PooledModelPtr> models;
  const std::lock_guard lock(state_->mutex);
  for (size_t i = 0; i < state_->slots.size(); ++i) {
    const PoolRequest request{i, PoolUse::kGlance};
    const bool there = state_->scheduler.hold(request, PoolClock::now());
    models.push_back(there ? state_->in_hand(request, state_) : nullptr);
  }
  return models;
}

PoolReport ModelPool::report() const {
  const std::lock_guard lock(state_->mutex);
  PoolReport report{state_->scheduler.limits().budget, state_->scheduler.committed(), {}};
  for (size_t i = 0; i < state_->slots.size(); ++i) {
    const State::Slot& slot = state_->slots[i];
    report.models.push_back(
        {slot.model.name, state_->scheduler.status(i), slot.loads, slot.failures, slot.unloads, slot.load_seconds});
  }
  return report;
}

void ModelPool::close() {
  std::stop_source loading;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->closed) return;
    state_->closed = true;
    state_->scheduler.close();
    loading = state_->stop_loading;
    state_->wake();
  }
  loading.request_stop();
}

}  // namespace carronade
