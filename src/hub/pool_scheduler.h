// Which models are loaded, who waits for one, and which goes: decisions only. No threads, no clock, no models.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "hub/memory_need.h"

namespace carronade {

using PoolClock = std::chrono::steady_clock;
using PoolTime = PoolClock::time_point;
using PoolTicket = uint64_t;  // of a request that waits

struct PoolLimits {
  uint64_t budget = 0;                                // bytes of all models together; 0: no bound
  std::chrono::milliseconds keep_alive = kForever;    // that an idle model stays, unless a request says another
  size_t max_waiting = 1024;                          // requests
  std::chrono::milliseconds wait_limit{300'000};      // until the load begins
  std::chrono::milliseconds overtaking_limit{5'000};  // then newcomers wait behind one that waits for the memory
  std::chrono::milliseconds notice_after{5'000};      // then who waits is told so
};

// Who has a model in hand, and what that means when another needs its memory.
enum class PoolUse : uint8_t {
  kForeground,  // it is waited for
  kBackground,  // it is told to end
  kGlance,      // only looks, for a moment
};

struct PoolRequest {
  size_t model = 0;
  PoolUse use = PoolUse::kForeground;
  std::optional<std::chrono::milliseconds> keep_alive = std::nullopt;  // after this use; unset: as the limits say
};

enum class ModelState : uint8_t { kUnloaded, kLoading, kLoaded, kUnloading };

// What is to be done. Every ticket gets exactly one Grant or Refusal unless it is cancelled before.
struct Grant {  // counts as a hold
  PoolTicket ticket;
  PoolRequest request;  // to be released, should the one who waited be gone
};
struct Refusal {
  PoolTicket ticket;
  Error error;
  bool load_failed = false;  // then the error is the load's
};
struct Notice {
  PoolTicket ticket;
};
struct Load {
  size_t model;
  uint64_t memory;  // bytes that it may take; 0: no bound
};
struct StopLoading {  // ends in failed(), or in loaded() when it was too late
  size_t model;
};
struct EndBackground {
  size_t model;
};
struct Unload {
  size_t model;
  std::string why;
};
using PoolAction = std::variant<Grant, Refusal, Notice, Load, StopLoading, EndBackground, Unload>;

// One model's books, for those who watch.
struct PoolModelStatus {
  ModelState state = ModelState::kUnloaded;
  uint64_t bytes = 0;  // that it may grow to; 0 when it is not there
  int users = 0, background = 0, waiting = 0;
  std::optional<PoolTime> idle_since;  // of a loaded model that nobody waits for an answer of
  PoolTime keep_until = PoolTime::max();
};

// The rules:
// - Requests are granted in the order in which they came, at once when their model is loaded.
// - Loads happen one at a time, for the request that has waited longest. Memory is made by unloading models that are
//   idle, idle longest first. Where that does not do, models in use take no new requests once one has waited for
//   `overtaking_limit`, and go when their last answer has ended.
// - Background use neither loads nor keeps: it gets what is loaded, waits for a load that somebody else began, is
//   refused otherwise, and is told to end when its model is to go.
// - A model that nobody has used for its keep_alive goes by itself.
// Whoever owns this calls it from one thread at a time, tells it what happened, and carries out what decide() says.
class PoolScheduler {
 public:
  PoolScheduler(std::vector<MemoryShare> models, PoolLimits limits, std::vector<std::string> names);

  // Counts as a hold when true: the model is there, and nobody who came before waits for it.
  bool hold(const PoolRequest& request, PoolTime now);
  // Throws Error: kInvalidArgument when it can never fit, kUnavailable when too many wait.
  void wait(PoolTicket ticket, const PoolRequest& request, PoolTime now);
  void cancel(PoolTicket ticket);  // no-op for one that was answered
  void release(const PoolRequest& request, PoolTime now);

  void loaded(size_t model, uint64_t bytes, PoolTime now);
  void failed(size_t model, const Error& error);  // a load
  void unloaded(size_t model);
  void refuse_all(const Error& error);  // who waits
  // Every model goes as soon as nobody holds it; nothing is granted any more.
  void close();

  std::vector<PoolAction> decide(PoolTime now);
  // When decide() is to be called although nothing happened.
  std::optional<PoolTime> next_time(PoolTime now) const;

  uint64_t committed() const;  // bytes of what is loaded, loading and unloading
  const PoolLimits& limits() const { return limits_; }
  PoolModelStatus status(size_t model) const;
  bool empty() const;  // nothing is loaded, nobody waits

 private:
  struct Model {
    std::string name;
    MemoryShare share;
    ModelState state = ModelState::kUnloaded;
    uint64_t bytes = 0;
    int users = 0, background = 0, glances = 0;
    PoolTime last_grant{}, last_use{};  // not of background
    PoolTime keep_until = PoolTime::max();
    bool closing = false;  // takes no new requests while another waits for its memory
    bool leaving = false;  // is to go: no way back
    bool told_to_end = false, stopped = false;
    std::string why;  // it leaves

    bool there() const { return state == ModelState::kLoaded && !leaving; }
    bool idle() const { return there() && users == 0; }
    bool held() const { return users + background + glances > 0; }
  };
  struct Waiting {
    PoolTicket ticket;
    PoolRequest request;
    PoolTime since;
    bool noticed = false;
  };

  bool may_take(const Model& model) const { return model.there() && !model.closing; }
  bool waits_for(size_t model, bool foreground_only) const;
  const Waiting* next_to_load() const;
  void take(Model& model, const PoolRequest& request, PoolTime now);
  std::string busy_names() const;
  uint64_t free_bytes() const;
  std::vector<size_t> idle_longest_first() const;
  std::vector<size_t> busy_asked_longest_ago_first() const;
  void leave(Model& model, std::string why);

  std::optional<Error> reason_to_refuse(const Waiting& one, PoolTime now) const;
  void grant(PoolTime now, std::vector<PoolAction>& actions);
  void refuse(PoolTime now, std::vector<PoolAction>& actions);
  void make_way(PoolTime now, std::vector<PoolAction>& actions);
  void expire(PoolTime now);
  void let_go(std::vector<PoolAction>& actions);

  std::vector<Model> models_;
  PoolLimits limits_;
  std::deque<Waiting> waiting_;
  std::vector<Refusal> refusals_;  // not yet said
  bool closed_ = false;
};

}  // namespace carronade
