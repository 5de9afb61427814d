#include "server/serving_state.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace carronade {

namespace {

// Of those that are loaded the one used last; otherwise the first.
size_t used_last(const PoolReport& report) {
  size_t best = 0;
  PoolTime latest{};
  for (size_t i = 0; i < report.models.size(); ++i) {
    const PoolModelStatus& status = report.models[i].status;
    if (status.state != ModelState::kLoaded) continue;
    const PoolTime used = status.idle_since.value_or(PoolTime::max());
    if (used > latest) best = i, latest = used;
  }
  return best;
}

}  // namespace

void ServingState::loading(std::string model, std::string phase, uint64_t done, uint64_t total) {
  std::lock_guard lock(mutex_);
  if (!draining_) progress_ = {std::move(model), std::move(phase), done, total};
}

void ServingState::ready(std::shared_ptr<ModelPool> pool, std::vector<ServedModel> names) {
  std::lock_guard lock(mutex_);
  names_ = std::move(names);
  pool_ = std::move(pool);
  learn_lengths();
}

void ServingState::learn_lengths() const {
  const std::vector<PooledModelPtr> held = pool_->glance();
  for (ServedModel& served : names_) {
    if (const auto model = chat_model_of(held[served.model])) served.max_model_len = model->max_model_len;
  }
}

void ServingState::draining() {
  std::shared_ptr<ModelPool> pool;
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    progress_.phase = "shutting down";
    pool = pool_;
  }
  if (pool) pool->close();
}

void ServingState::drop() {
  std::shared_ptr<ModelPool> pool;  // its end may take a while, and is not under the lock
  std::lock_guard lock(mutex_);
  pool = std::exchange(pool_, nullptr);
}

bool ServingState::is_ready() const {
  std::lock_guard lock(mutex_);
  return pool_ && !draining_;
}

LoadingProgress ServingState::progress() const {
  std::lock_guard lock(mutex_);
  return progress_;
}

bool ServingState::several() const {
  std::lock_guard lock(mutex_);
  return pool_ && pool_->size() > 1;
}

std::optional<PoolReport> ServingState::report() const {
  std::lock_guard lock(mutex_);
  return pool_ ? std::optional(pool_->report()) : std::nullopt;
}

std::vector<std::shared_ptr<const ChatModel>> ServingState::glance() const {
  std::vector<std::shared_ptr<const ChatModel>> models;
  std::lock_guard lock(mutex_);
  if (!pool_) return models;
  for (const PooledModelPtr& held : pool_->glance()) {
    if (held) models.push_back(chat_model_of(held));
  }
  return models;
}

std::vector<ServedModel> ServingState::models() const {
  std::lock_guard lock(mutex_);
  if (!pool_) return {};
  learn_lengths();
  std::vector<ServedModel> result = names_;
  const PoolReport report = pool_->report();
  for (ServedModel& served : result) served.status = model_state_name(report.models[served.model].status.state);
  return result;
}

int ServingState::adapter(const std::string& name) const {
  std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(names_, name, &ServedModel::id);
  return found == names_.end() ? -1 : found->adapter;
}

void ServingState::check_name(const std::string& name) const {
  std::lock_guard lock(mutex_);
  if (draining_) throw Error(ErrorCode::kUnavailable, "the server is shutting down");
  if (!pool_) {
    throw Error(ErrorCode::kUnavailable, "the model is still " +
                                             (progress_.phase.empty() ? "loading" : progress_.phase) +
                                             "; try again in a moment (GET /health says how far it is)");
  }
  if (name.empty() || std::ranges::find(names_, name, &ServedModel::id) != names_.end()) return;
  std::string served;
  for (const auto& known : names_) served += (served.empty() ? "" : ", ") + known.id;
  throw Error(ErrorCode::kNotFound, "the model `" + name + "` does not exist here; this server serves " + served,
              "model");
}

PoolRequest ServingState::request_of(const ModelWanted& wanted) const {
  check_name(wanted.name);
  PoolRequest request;
  request.use = wanted.background ? PoolUse::kBackground : PoolUse::kForeground;
  request.keep_alive = wanted.keep_alive;
  std::lock_guard lock(mutex_);
  if (!pool_) throw Error(ErrorCode::kUnavailable, "the server is shutting down");
  const auto found = std::ranges::find(names_, wanted.name, &ServedModel::id);
  if (found != names_.end()) {
    request.model = found->model;
  } else if (wanted.background) {
    request.model = used_last(pool_->report());
  }
  return request;
}

std::shared_ptr<const ChatModel> ServingState::model(const ModelWanted& wanted) const {
  const PoolRequest request = request_of(wanted);
  std::lock_guard lock(mutex_);
  return pool_ ? chat_model_of(pool_->hold(request)) : nullptr;
}

PoolTicket ServingState::wait(const ModelWanted& wanted, std::function<void(ModelAnswer)> done,
                              std::function<void()> notice) const {
  const PoolRequest request = request_of(wanted);
  PoolWait wait;
  wait.done = [done = std::move(done)](const std::variant<PooledModelPtr, Error>& answer) {
    if (const auto* error = std::get_if<Error>(&answer)) return done(*error);
    done(chat_model_of(std::get<PooledModelPtr>(answer)));
  };
  wait.notice = std::move(notice);
  std::lock_guard lock(mutex_);
  if (!pool_) throw Error(ErrorCode::kUnavailable, "the server is shutting down");
  return pool_->wait(request, std::move(wait));
}

void ServingState::cancel(PoolTicket ticket) const {
  PoolWait gone;  // what it holds goes after the lock; the pool itself is kept nowhere else, since its end takes long
  std::lock_guard lock(mutex_);
  if (pool_) gone = pool_->cancel(ticket);
}

}  // namespace carronade
