// What is served, and how far loading is. The only state that handlers share; thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/health.h"
#include "api/openai.h"
#include "api/operator.h"
#include "chat/chat_model.h"
#include "hub/model_pool.h"

namespace carronade {

// Which model a request wants, and what for.
struct ModelWanted {
  std::string name;  // empty: the first; in the background the one used last of those that are loaded
  bool background = false;
  std::optional<std::chrono::milliseconds> keep_alive = std::nullopt;  // after this request
};

// A model in hand, or why there is none.
using ModelAnswer = std::variant<std::shared_ptr<const ChatModel>, Error>;

class ServingState {
 public:
  // Before ready(): "downloading", "loading", with `done` of `total` bytes.
  void loading(std::string model, std::string phase, uint64_t done, uint64_t total);
  // From now on requests are answered, under any of these names. The pool's models are PooledChatModels.
  void ready(std::shared_ptr<ModelPool> pool, std::vector<ServedModel> names);
  // New requests are refused, and those that wait for a model; running ones go on.
  void draining();
  // Ends the models, and waits for those that are in hand still.
  void drop();

  bool is_ready() const;
  LoadingProgress progress() const;
  std::vector<ServedModel> models() const;  // empty until ready
  bool several() const;                     // more than one model, adapters and further names not counted

  // Throws Error{kUnavailable} before ready() and while draining, Error{kNotFound} for a name that is not served.
  void check_name(const std::string& name) const;
  int adapter(const std::string& name) const;  // the number of the adapter of this name, or -1

  // The model if it is there at once; or nullptr. Throws as check_name().
  std::shared_ptr<const ChatModel> model(const ModelWanted& wanted) const;
  // Waits for it: loads it if need be. Both functions are called on a thread of the pool, as PoolWait has it. Throws as
  // check_name() and ModelPool::wait().
  PoolTicket wait(const ModelWanted& wanted, std::function<void(ModelAnswer)> done, std::function<void()> notice) const;
  void cancel(PoolTicket ticket) const;  // `done` may be on its way already

  // Of those that are loaded, looked at without counting as use: to be let go of soon.
  std::vector<std::shared_ptr<const ChatModel>> glance() const;
  std::optional<PoolReport> report() const;  // nullopt before ready()

  std::atomic<int> running_answers{0};

 private:
  PoolRequest request_of(const ModelWanted& wanted) const;

  void learn_lengths() const;  // under mutex_

  mutable std::mutex mutex_;
  LoadingProgress progress_;
  bool draining_ = false;
  std::shared_ptr<ModelPool> pool_;         // nullptr until ready
  mutable std::vector<ServedModel> names_;  // their lengths are known once they were loaded
};

}  // namespace carronade
