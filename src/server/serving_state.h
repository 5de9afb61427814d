// What is served, and how far loading is. The only state that handlers share; thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/health.h"
#include "api/openai.h"
#include "chat/chat_model.h"

namespace carronade {

class ServingState {
 public:
  // Before ready(): "downloading", "loading", with `done` of `total` bytes.
  void loading(std::string model, std::string phase, uint64_t done, uint64_t total);
  // From now on requests are answered, under any of these names; the first is the one that answers carry.
  void ready(std::shared_ptr<const ChatModel> model, std::vector<ServedModel> names);
  // New requests are refused; running ones go on.
  void draining();
  // Lets go of the model. Jobs that still run keep it.
  void drop();

  bool is_ready() const;
  LoadingProgress progress() const;
  std::vector<ServedModel> models() const;  // empty until ready

  // The model of this name; of an empty name, the one there is. Throws Error{kUnavailable} before ready(),
  // Error{kNotFound} for another name.
  std::shared_ptr<const ChatModel> model(const std::string& name) const;
  std::shared_ptr<const ChatModel> loaded() const;  // or nullptr; also while draining
  int adapter(const std::string& name) const;       // the number of the adapter of this name, or -1

  std::atomic<int> running_answers{0};

 private:
  mutable std::mutex mutex_;
  LoadingProgress progress_;
  bool ready_ = false, draining_ = false;
  std::shared_ptr<const ChatModel> model_;
  std::vector<ServedModel> names_;
};

}  // namespace carronade
