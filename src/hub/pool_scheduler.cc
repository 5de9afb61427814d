#include "hub/pool_scheduler.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include "hub/progress.h"

namespace carronade {

namespace {

// Compared in milliseconds: most of them cannot be written in the clock's nanoseconds.
PoolTime after(PoolTime time, std::chrono::milliseconds duration) {
  const auto left = std::chrono::floor<std::chrono::milliseconds>(PoolTime::max() - std::max(time, PoolTime{}));
  return duration >= left ? PoolTime::max() : time + duration;
}

}  // namespace

PoolScheduler::PoolScheduler(std::vector<MemoryShare> models, PoolLimits limits, std::vector<std::string> names)
    : limits_(limits) {
  for (size_t i = 0; i < models.size(); ++i) {
    Model& model = models_.emplace_back();
    model.name = names.at(i);
    model.share = models[i];
  }
}

// ---- What happened

bool PoolScheduler::hold(const PoolRequest& request, PoolTime now) {
  Model& model = models_.at(request.model);
  if (request.use == PoolUse::kGlance) {
    if (model.state != ModelState::kLoaded) return false;
  } else if (!may_take(model) || waits_for(request.model, false)) {
    return false;
  }
  take(model, request, now);
  return true;
}

void PoolScheduler::take(Model& model, const PoolRequest& request, PoolTime now) {
  if (request.use == PoolUse::kGlance) {
    ++model.glances;
  } else if (request.use == PoolUse::kBackground) {
    ++model.background;
  } else {
    ++model.users;
    model.last_grant = now;
  }
}

void PoolScheduler::wait(PoolTicket ticket, const PoolRequest& request, PoolTime now) {
  const Model& model = models_.at(request.model);
  if (closed_) throw Error(ErrorCode::kUnavailable, "the server is shutting down");
  if (limits_.budget > 0 && model.share.least > limits_.budget && model.state == ModelState::kUnloaded) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} needs at least {}, for its weights and one conversation, and all models together may "
                            "take {}: start with a greater --memory-budget, or a smaller --max-model-len",
                            model.name, format_bytes(model.share.least), format_bytes(limits_.budget)),
                "model");
  }
  if (waiting_.size() >= limits_.max_waiting)
    throw_error(ErrorCode::kUnavailable, "{} requests wait for a model already: try again later", waiting_.size());
  waiting_.push_back({ticket, request, now});
}

void PoolScheduler::cancel(PoolTicket ticket) {
  const auto is_it = [&](const auto& one) { return one.ticket == ticket; };
  std::erase_if(waiting_, is_it);
  std::erase_if(refusals_, is_it);
}

void PoolScheduler::release(const PoolRequest& request, PoolTime now) {
  Model& model = models_.at(request.model);
  if (request.use == PoolUse::kGlance) {
    --model.glances;
  } else if (request.use == PoolUse::kBackground) {
    --model.background;
  } else {
    --model.users;
    model.last_use = now;
    model.keep_until = after(now, request.keep_alive.value_or(limits_.keep_alive));
  }
}

void PoolScheduler::loaded(size_t index, uint64_t bytes, PoolTime now) {
  Model& model = models_.at(index);
  model.state = ModelState::kLoaded;
  model.bytes = bytes;
  model.last_grant = model.last_use = now;
  model.keep_until = after(now, limits_.keep_alive);
  model.stopped = false;
  if (closed_) leave(model, "the server ends");
}

void PoolScheduler::failed(size_t index, const Error& error) {
  Model& model = models_.at(index);
  const bool was_stopped = std::exchange(model.stopped, false) && !closed_;
  model.state = ModelState::kUnloaded;
  model.bytes = 0;
  if (was_stopped) return;  // who came meanwhile has it loaded anew
  std::erase_if(waiting_, [&](const Waiting& one) {
    if (one.request.model == index) refusals_.push_back({one.ticket, error, true});
    return one.request.model == index;
  });
}

void PoolScheduler::unloaded(size_t index) {
  Model& model = models_.at(index);
  model.state = ModelState::kUnloaded;
  model.bytes = 0;
  model.leaving = model.closing = model.told_to_end = false;
}

void PoolScheduler::refuse_all(const Error& error) {
  for (const Waiting& one : waiting_) refusals_.push_back({one.ticket, error});
  waiting_.clear();
}

void PoolScheduler::close() {
  closed_ = true;
  refuse_all(Error(ErrorCode::kUnavailable, "the server is shutting down"));
  for (Model& model : models_) {
    if (model.there()) leave(model, "the server ends");
  }
}

// ---- What to do

std::vector<PoolAction> PoolScheduler::decide(PoolTime now) {
  std::vector<PoolAction> actions;
  for (Refusal& refusal : std::exchange(refusals_, {})) actions.emplace_back(std::move(refusal));
  grant(now, actions);
  refuse(now, actions);
  expire(now);
  make_way(now, actions);
  let_go(actions);
  return actions;
}

void PoolScheduler::grant(PoolTime now, std::vector<PoolAction>& actions) {
  std::erase_if(waiting_, [&](const Waiting& one) {
    Model& model = models_[one.request.model];
    if (!may_take(model)) return false;
    take(model, one.request, now);
    actions.emplace_back(Grant{one.ticket, one.request});
    return true;
  });
}

std::optional<Error> PoolScheduler::reason_to_refuse(const Waiting& one, PoolTime now) const {
  const Model& model = models_[one.request.model];
  if (model.state == ModelState::kLoading) return std::nullopt;
  if (one.request.use != PoolUse::kForeground && model.state == ModelState::kUnloaded &&
      !waits_for(one.request.model, true)) {
    return Error(ErrorCode::kUnavailable,
                 model.name + " is not loaded, and background requests load no model: try again later");
  }
  if (after(one.since, limits_.wait_limit) > now) return std::nullopt;
  const std::string busy = busy_names();
  return Error(ErrorCode::kUnavailable,
               fmt::format("no memory became free for {} in {}{}; try again later", model.name,
                           duration_text(limits_.wait_limit), busy.empty() ? "" : ": in use were " + busy));
}

void PoolScheduler::refuse(PoolTime now, std::vector<PoolAction>& actions) {
  std::vector<PoolTicket> refused;
  for (Waiting& one : waiting_) {
    if (const auto error = reason_to_refuse(one, now)) {
      actions.emplace_back(Refusal{one.ticket, *error});
      refused.push_back(one.ticket);
    } else if (!one.noticed && after(one.since, limits_.notice_after) <= now) {
      one.noticed = true;
      actions.emplace_back(Notice{one.ticket});
    }
  }
  for (const PoolTicket ticket : refused) cancel(ticket);
}

// Memory for the one who has waited longest.
void PoolScheduler::make_way(PoolTime now, std::vector<PoolAction>& actions) {
  for (Model& model : models_) model.closing = false;  // decided anew below
  const Waiting* const first = next_to_load();
  if (!first) return;
  for (size_t i = 0; i < models_.size(); ++i) {
    Model& model = models_[i];
    if (model.state == ModelState::kUnloading || model.leaving) return;  // one thing after the other
    if (model.state != ModelState::kLoading) continue;
    if (!model.stopped && !waits_for(i, false)) {  // whoever wanted it has gone
      model.stopped = true;
      actions.emplace_back(StopLoading{i});
    }
    return;
  }
  Model& target = models_[first->request.model];
  const auto load = [&](uint64_t memory) {
    target.state = ModelState::kLoading;
    target.bytes = memory;
    actions.emplace_back(Load{first->request.model, memory});
  };
  if (limits_.budget == 0) return load(0);
  uint64_t free = free_bytes();
  std::vector<Model*> going;
  for (const size_t i : idle_longest_first()) {
    if (free >= target.share.wanted) break;
    going.push_back(&models_[i]);
    free += models_[i].bytes;
  }
  if (free >= target.share.least) {
    for (Model* model : going) leave(*model, "its memory is needed for " + target.name);
    if (going.empty()) load(std::min(free, target.share.wanted));
    return;
  }
  if (after(first->since, limits_.overtaking_limit) > now) return;
  for (Model* model : going) model->closing = true;
  for (const size_t i : busy_asked_longest_ago_first()) {
    if (free >= target.share.least) break;
    models_[i].closing = true;
    free += models_[i].bytes;
  }
}

void PoolScheduler::expire(PoolTime now) {
  for (size_t i = 0; i < models_.size(); ++i) {
    Model& model = models_[i];
    if (!model.idle() || model.background > 0 || model.keep_until > now || waits_for(i, false)) continue;
    leave(model,
          fmt::format("nobody used it for {}", duration_text(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                   model.keep_until - model.last_use))));
  }
}

void PoolScheduler::leave(Model& model, std::string why) {
  model.leaving = true;
  model.why = std::move(why);
}

// Those that leave do so when nobody holds them.
void PoolScheduler::let_go(std::vector<PoolAction>& actions) {
  for (size_t i = 0; i < models_.size(); ++i) {
    Model& model = models_[i];
    if (!model.leaving || model.state != ModelState::kLoaded) continue;
    if (model.background > 0 && !std::exchange(model.told_to_end, true)) actions.emplace_back(EndBackground{i});
    if (model.held()) continue;
    model.state = ModelState::kUnloading;
    actions.emplace_back(Unload{i, std::move(model.why)});
  }
}

// ---- Looking

bool PoolScheduler::waits_for(size_t model, bool foreground_only) const {
  return std::ranges::any_of(waiting_, [&](const Waiting& one) {
    return one.request.model == model && (!foreground_only || one.request.use == PoolUse::kForeground);
  });
}

const PoolScheduler::Waiting* PoolScheduler::next_to_load() const {
  const auto found = std::ranges::find_if(waiting_, [&](const Waiting& one) {
    const ModelState state = models_[one.request.model].state;
    return one.request.use == PoolUse::kForeground && state == ModelState::kUnloaded;
  });
  return found == waiting_.end() ? nullptr : &*found;
}

std::string PoolScheduler::busy_names() const {
  std::vector<std::string> names;
  for (const Model& model : models_) {
    if (model.there() && model.users > 0) names.push_back(model.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

uint64_t PoolScheduler::committed() const {
  uint64_t bytes = 0;
  for (const Model& model : models_) bytes += model.bytes;
  return bytes;
}

uint64_t PoolScheduler::free_bytes() const { return limits_.budget - std::min(limits_.budget, committed()); }

std::vector<size_t> PoolScheduler::idle_longest_first() const {
  std::vector<size_t> idle;
  for (size_t i = 0; i < models_.size(); ++i) {
    if (models_[i].idle()) idle.push_back(i);
  }
  std::ranges::stable_sort(idle, {}, [&](size_t i) { return models_[i].last_use; });
  return idle;
}

std::vector<size_t> PoolScheduler::busy_asked_longest_ago_first() const {
  std::vector<size_t> busy;
  for (size_t i = 0; i < models_.size(); ++i) {
    if (models_[i].there() && models_[i].users > 0) busy.push_back(i);
  }
  std::ranges::stable_sort(busy, {}, [&](size_t i) { return models_[i].last_grant; });
  return busy;
}

std::optional<PoolTime> PoolScheduler::next_time(PoolTime now) const {
  PoolTime next = PoolTime::max();
  const auto consider = [&](PoolTime time) {
    if (time > now) next = std::min(next, time);
  };
  for (const Waiting& one : waiting_) {
    consider(after(one.since, limits_.notice_after));
    consider(after(one.since, limits_.overtaking_limit));
    consider(after(one.since, limits_.wait_limit));
  }
  for (const Model& model : models_) {
    if (model.idle()) consider(model.keep_until);
  }
  return next == PoolTime::max() ? std::nullopt : std::optional(next);
}

PoolModelStatus PoolScheduler::status(size_t index) const {
  const Model& model = models_.at(index);
  PoolModelStatus status;
  status.state = model.state == ModelState::kLoaded && model.leaving ? ModelState::kUnloading : model.state;
  status.bytes = model.bytes;
  status.users = model.users;
  status.background = model.background;
  status.waiting =
      static_cast<int>(std::ranges::count_if(waiting_, [&](const Waiting& one) { return one.request.model == index; }));
  if (model.idle()) status.idle_since = model.last_use;
  status.keep_until = model.keep_until;
  return status;
}

bool PoolScheduler::empty() const {
  return waiting_.empty() && refusals_.empty() &&
         std::ranges::all_of(models_, [](const Model& model) { return model.state == ModelState::kUnloaded; });
}

}  // namespace carronade
