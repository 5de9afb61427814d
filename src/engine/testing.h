// What the tests of the engine share: a listener, and engines over tiny random models on the reference backend.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/testing.h"
#include "engine/engine.h"
#include "model/testing.h"

namespace carronade {

using Tokens = std::vector<TokenId>;

// What a sink heard. Shared with the engine's thread.
class Listener {
 public:
  EventSink sink() {
    return [this](EngineEvent event) {
      const std::lock_guard lock(mutex_);
      if (auto* token = std::get_if<TokenEvent>(&event)) {
        if (finished_) after_the_end_ = true;
        events_.push_back(std::move(*token));
      } else if (auto* prompt = std::get_if<PromptLogprobs>(&event)) {
        if (finished_ || !events_.empty()) after_the_end_ = true;
        prompt_ = std::move(prompt->tokens);
      } else {
        if (finished_) after_the_end_ = true;
        finished_ = std::get<Finished>(std::move(event));
      }
      changed_.notify_all();
    };
  }
  Finished wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_.has_value(); });
    EXPECT_FALSE(after_the_end_);
    return *finished_;
  }
  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return events_.size() >= count || finished_; });
  }
  bool has_finished() {
    const std::lock_guard lock(mutex_);
    return finished_.has_value();
  }
  Tokens tokens() {
    const std::lock_guard lock(mutex_);
    Tokens tokens;
    for (const TokenEvent& event : events_) tokens.push_back(event.token);
    return tokens;
  }
  std::vector<TokenEvent> prompt() {
    const std::lock_guard lock(mutex_);
    return prompt_;
  }
  std::vector<TokenEvent> events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenEvent> events_, prompt_;
  std::optional<Finished> finished_;
  bool after_the_end_ = false;
};

inline EngineOptions small_options() {
  EngineOptions options;
  options.max_model_len = 256;
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 48;
  options.kv_bytes = 4 << 20;
  return options;
}

class EngineTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> make_engine(const EngineOptions& options = small_options(), const TinyModel& model = {}) {
    const std::filesystem::path path = directory_.path() / "tiny.gguf";
    model.build().write(path);
    const auto checkpoint = Checkpoint::open(path);
    auto backend = make_reference_backend({});
    auto loaded = Model::load(*checkpoint, *backend);
    return std::make_unique<Engine>(std::move(backend), std::move(loaded), options);
  }

  static Request request(Tokens prompt, int max_tokens) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    return request;
  }
  static Tokens prompt(int length, int seed = 1) {
    Tokens tokens;
    for (int i = 0; i < length; ++i) tokens.push_back((seed * 31 + i * i * 7 + i) % 97);
    return tokens;
  }
  static Tokens answer(Engine& engine, Request request) {
    Listener listener;
    request.sink = listener.sink();
    engine.submit(std::move(request));
    listener.wait();
    return listener.tokens();
  }

  TemporaryDirectory directory_;
};

}  // namespace carronade
