// Several models, one memory budget: a model is loaded when it is asked for, and goes when its memory is needed.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/metrics.h"
#include "hub/pool_scheduler.h"

namespace carronade {

// What a pool keeps of a model that is loaded. Made and destroyed on the pool's thread "model-loader", never on that of
// one who used it.
class PooledModel {
 public:
  virtual ~PooledModel() = default;    // may take long: an engine ends, and its disk is waited for
  virtual uint64_t bytes() const = 0;  // that it may grow to
  virtual void end_background() = 0;   // any thread; returns at once. What runs in the background ends soon
};

// A model in hand: it stays loaded for as long as this lives. Any thread may let go of it.
using PooledModelPtr = std::shared_ptr<PooledModel>;

struct PoolModel {
  std::string name;  // for messages
  MemoryShare memory;
  // On the pool's thread. `memory`: bytes that it may take, 0: no bound. Throws Error; ends early, with
  // Error{kCancelled}, when it is told to stop.
  std::function<std::unique_ptr<PooledModel>(uint64_t memory, const std::stop_token& stop)> load;
};

// Both are called on the pool's thread "models", which they must not hold up; they may throw nothing.
struct PoolWait {
  std::function<void(std::variant<PooledModelPtr, Error>)> done;  // exactly once, unless it is cancelled before
  std::function<void()> notice;                                   // at most once: it takes long
  // Why a load failed, with the server's files; otherwise only that it did: kUnavailable where the system had no memory
  // or would not read, kInternal for the rest. The log has the cause.
  bool wants_cause = false;
};

// What became of a model so far, for those who watch.
struct PoolModelReport {
  std::string name;
  PoolModelStatus status;
  uint64_t loads = 0, failures = 0, unloads = 0;
  double load_seconds = 0;  // of all loads
};

struct PoolReport {
  uint64_t budget = 0, committed = 0;  // bytes; budget 0: no bound
  std::vector<PoolModelReport> models;
};

// Thread-safe.
class ModelPool {
 public:
  ModelPool(std::vector<PoolModel> models, PoolLimits limits);
  // close(), and waits until every model has been given back.
  ~ModelPool();
  ModelPool(const ModelPool&) = delete;
  ModelPool& operator=(const ModelPool&) = delete;

  size_t size() const;

  // The model if it is there and nobody who came before waits for it; or nullptr.
  PooledModelPtr hold(const PoolRequest& request);
  // Loads it if need be. Throws Error: kInvalidArgument when it can never fit, kUnavailable when too many wait or the
  // pool is closed; then nothing is called.
  PoolTicket wait(const PoolRequest& request, PoolWait wait);
  // Whoever waits no longer wants it. A call of `done` or `notice` may be on its way already. Gives back what was to be
  // called, to be let go of where no lock is held.
  PoolWait cancel(PoolTicket ticket);
  // Both in one, for those who may block; they hear why a load failed. A stop throws Error{kCancelled}.
  PooledModelPtr hold_or_wait(const PoolRequest& request, const std::stop_token& stop = {});

  // What is loaded, looked at without counting as use: to be let go of soon. By model, nullptr where it is not there.
  std::vector<PooledModelPtr> glance();
  PoolReport report() const;

  // Who waits is refused; what loads is stopped; models go as they are given back.
  void close();

 private:
  struct State;
  class Hold;
  std::shared_ptr<State> state_;  // shared with what is in hand
  std::thread decider_, loader_;
};

}  // namespace carronade
