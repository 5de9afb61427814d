#include "server/serving_state.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace carronade {

void ServingState::loading(std::string model, std::string phase, uint64_t done, uint64_t total) {
  std::lock_guard lock(mutex_);
  progress_ = {std::move(model), std::move(phase), done, total};
}

void ServingState::ready(std::shared_ptr<const ChatModel> model, std::vector<ServedModel> names) {
  std::lock_guard lock(mutex_);
  model_ = std::move(model);
  names_ = std::move(names);
  ready_ = true;
}

void ServingState::draining() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  progress_.phase = "shutting down";
}

void ServingState::drop() {
  std::shared_ptr<const ChatModel> model;  // its end may take a while, and is not under the lock
  std::lock_guard lock(mutex_);
  model = std::exchange(model_, nullptr);
  ready_ = false;
}

bool ServingState::is_ready() const {
  std::lock_guard lock(mutex_);
  return ready_ && !draining_;
}

LoadingProgress ServingState::progress() const {
  std::lock_guard lock(mutex_);
  return progress_;
}

std::vector<ServedModel> ServingState::models() const {
  std::lock_guard lock(mutex_);
  return names_;
}

std::shared_ptr<const ChatModel> ServingState::loaded() const {
  std::lock_guard lock(mutex_);
  return model_;
}

int ServingState::adapter(const std::string& name) const {
  std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(names_, name, &ServedModel::id);
  return found == names_.end() ? -1 : found->adapter;
}

std::shared_ptr<const ChatModel> ServingState::model(const std::string& name) const {
  std::lock_guard lock(mutex_);
  if (draining_) throw Error(ErrorCode::kUnavailable, "the server is shutting down");
  if (!ready_) {
    throw Error(ErrorCode::kUnavailable, "the model is still " +
                                             (progress_.phase.empty() ? "loading" : progress_.phase) +
                                             "; try again in a moment (GET /health says how far it is)");
  }
  if (name.empty() || std::ranges::find(names_, name, &ServedModel::id) != names_.end()) return model_;
  std::string served;
  for (const auto& known : names_) served += (served.empty() ? "" : ", ") + known.id;
  throw Error(ErrorCode::kNotFound, "the model `" + name + "` does not exist here; this server serves " + served,
              "model");
}

}  // namespace carronade
