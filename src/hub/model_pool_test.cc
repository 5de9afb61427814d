#include "hub/model_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <future>
#include <set>

#include "base/error.h"
#include "base/log.h"

namespace carronade {
namespace {

// What a scripted loader does, and what became of what it made.
struct Script {
  std::mutex mutex;
  std::condition_variable changed;
  bool hold_loads = false;  // loads wait for this to end, or for a stop
  int loading = 0;          // so many are at it
  std::set<std::string> alive;
  std::set<std::string> told_to_end;
  std::set<std::string> threads;  // that made or destroyed a model
  std::optional<Error> failure;
  std::function<void()> on_stop;  // of a load: called back by whoever stops it

  void note_thread() {
    char name[16] = {};
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    threads.insert(name);
  }
  void let_loads_through() {
    const std::lock_guard lock(mutex);
    hold_loads = false;
    changed.notify_all();
  }
  template <typename Condition>
  void wait_until(Condition condition) {
    std::unique_lock lock(mutex);
    changed.wait(lock, condition);
  }
};

class ScriptedModel : public PooledModel {
 public:
  ScriptedModel(std::shared_ptr<Script> script, std::string name, uint64_t bytes)
      : script_(std::move(script)), name_(std::move(name)), bytes_(bytes) {
    const std::lock_guard lock(script_->mutex);
    script_->note_thread();
    EXPECT_TRUE(script_->alive.insert(name_).second);
    script_->changed.notify_all();
  }
  ~ScriptedModel() override {
    const std::lock_guard lock(script_->mutex);
    script_->note_thread();
    script_->alive.erase(name_);
    script_->changed.notify_all();
  }
  uint64_t bytes() const override { return bytes_; }
  void end_background() override {
    const std::lock_guard lock(script_->mutex);
    script_->told_to_end.insert(name_);
    script_->changed.notify_all();
  }

 private:
  std::shared_ptr<Script> script_;
  std::string name_;
  uint64_t bytes_;
};

class ModelPoolTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_logging("warn"); }

  // Models "A", "B", … that need so much; the budget is 100.
  void make(std::vector<uint64_t> needs, PoolLimits limits = {}) {
    limits.budget = 100;
    std::vector<PoolModel> models;
    for (size_t i = 0; i < needs.size(); ++i) {
      const std::string name(1, static_cast<char>('A' + i));
      models.push_back(
          {name, {needs[i], needs[i]}, [script = script_, name](uint64_t memory, const std::stop_token& stop) {
             return load(*script, script, name, memory, stop);
           }});
    }
    pool_ = std::make_unique<ModelPool>(std::move(models), limits);
  }
  static std::unique_ptr<PooledModel> load(Script& script, std::shared_ptr<Script> shared, const std::string& name,
                                           uint64_t memory, const std::stop_token& stop) {
    std::unique_lock lock(script.mutex);
    ++script.loading;
    script.changed.notify_all();
    const std::stop_callback woken(stop, [&script] {
      script.changed.notify_all();
      if (script.on_stop) script.on_stop();
    });
    // Polled as well: the stop may come between the look and the sleep.
    while (script.hold_loads && !stop.stop_requested()) script.changed.wait_for(lock, std::chrono::milliseconds(5));
    --script.loading;
    if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
    if (script.failure) throw Error(*script.failure);
    lock.unlock();
    return std::make_unique<ScriptedModel>(std::move(shared), name, memory);
  }
  // A request that waits, with its answer to come.
  std::future<std::variant<PooledModelPtr, Error>> wait(size_t model, PoolUse use = PoolUse::kForeground,
                                                        PoolTicket* ticket = nullptr) {
    auto promise = std::make_shared<std::promise<std::variant<PooledModelPtr, Error>>>();
    auto future = promise->get_future();
    const PoolTicket made = pool_->wait(
        {model, use},
        {[promise](std::variant<PooledModelPtr, Error> answer) { promise->set_value(std::move(answer)); }, {}});
    if (ticket) *ticket = made;
    return future;
  }
  // Keeps the thread "models" in a notice until the result goes; loads are to be held up, and notices to come at once.
  std::shared_ptr<void> hold_decider(size_t model) {
    auto end = std::make_shared<std::promise<void>>();
    auto begun = std::make_shared<std::promise<void>>();
    pool_->wait({model}, {[](const std::variant<PooledModelPtr, Error>&) {},
                          [begun, ended = end->get_future().share()] {
                            begun->set_value();
                            ended.wait();
                          }});
    begun->get_future().wait();
    return {end.get(), [end](void*) { end->set_value(); }};
  }
  static PooledModelPtr model_of(std::future<std::variant<PooledModelPtr, Error>>& future) {
    auto answer = future.get();
    if (const auto* error = std::get_if<Error>(&answer)) {
      ADD_FAILURE() << error->what();
      return nullptr;
    }
    return std::get<PooledModelPtr>(answer);
  }
  static std::string error_of(std::future<std::variant<PooledModelPtr, Error>>& future) {
    const auto answer = future.get();
    const auto* error = std::get_if<Error>(&answer);
    return error ? error->what() : "no error";
  }
  bool alive(const std::string& name) {
    const std::lock_guard lock(script_->mutex);
    return script_->alive.contains(name);
  }

  std::shared_ptr<Script> script_ = std::make_shared<Script>();
  std::unique_ptr<ModelPool> pool_;
};

TEST_F(ModelPoolTest, ModelsAreSwappedOnAThreadOfThePool) {
  make({80, 80});
  EXPECT_EQ(pool_->hold({0}), nullptr);
  PooledModelPtr first = pool_->hold_or_wait({0});
  EXPECT_TRUE(alive("A"));
  auto second = wait(1);
  EXPECT_TRUE(alive("A")) << "it is in hand";
  first.reset();
  const PooledModelPtr other = model_of(second);
  EXPECT_FALSE(alive("A"));
  EXPECT_TRUE(alive("B"));
  EXPECT_NE(pool_->hold({1}), nullptr);
  const PoolReport report = pool_->report();
  EXPECT_EQ(report.committed, 80u);
  EXPECT_EQ(report.models[0].unloads, 1u);
  EXPECT_EQ(report.models[1].loads, 1u);
  EXPECT_EQ(report.models[1].status.users, 1);
  const std::lock_guard lock(script_->mutex);
  EXPECT_EQ(script_->threads, std::set<std::string>{"model-loader"});
}

TEST_F(ModelPoolTest, RequestsShareALoadAndItsFailure) {
  make({50});
  script_->hold_loads = true;
  script_->failure = Error(ErrorCode::kCorruptFile, "broken");
  auto first = wait(0), second = wait(0);
  script_->wait_until([&] { return script_->loading == 1; });
  script_->let_loads_through();
  for (auto* one : {&first, &second})
    EXPECT_EQ(error_of(*one), "the model A cannot be loaded; the server's log says why");
  {
    const std::lock_guard lock(script_->mutex);
    script_->failure.reset();
  }
  EXPECT_NE(pool_->hold_or_wait({0}), nullptr) << "the next request tries again";
  const PoolReport report = pool_->report();
  EXPECT_EQ(report.models[0].failures, 1u);
  EXPECT_EQ(report.models[0].loads, 1u);
}

TEST_F(ModelPoolTest, WhoeverLeavesIsNotCalled) {
  make({80, 80});
  script_->hold_loads = true;
  PoolTicket ticket = 0;
  auto gone = wait(0, PoolUse::kForeground, &ticket);
  script_->wait_until([&] { return script_->loading == 1; });
  pool_->cancel(ticket);
  EXPECT_THROW(gone.get(), std::future_error) << "its promise went with it";
  auto other = wait(1);  // for which the load that nobody wants is stopped
  script_->let_loads_through();
  EXPECT_NE(model_of(other), nullptr);
  EXPECT_FALSE(alive("A"));
}

TEST_F(ModelPoolTest, AFailuresCauseIsForWhoRunsTheServer) {
  make({50});
  const auto answer_to = [&](ErrorCode code) {
    {
      const std::lock_guard lock(script_->mutex);
      script_->failure = Error(code, "/srv/a.gguf: refused", "/srv/a.gguf");
    }
    auto waiting = wait(0);
    return std::get<Error>(waiting.get());
  };
  for (const ErrorCode code : {ErrorCode::kNotFound, ErrorCode::kCorruptFile, ErrorCode::kUnsupported})
    EXPECT_EQ(answer_to(code).code, ErrorCode::kInternal);
  for (const ErrorCode code : {ErrorCode::kUnavailable, ErrorCode::kIo})
    EXPECT_EQ(answer_to(code).code, ErrorCode::kUnavailable);
  const Error answer = answer_to(ErrorCode::kNotFound);
  EXPECT_EQ(std::string(answer.what()).find("/srv"), std::string::npos);
  EXPECT_EQ(answer.param, "");
  try {
    pool_->hold_or_wait({0});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    EXPECT_STREQ(error.what(), "/srv/a.gguf: refused");
  }
}

TEST_F(ModelPoolTest, WhoeverLeavesBetweenAFailureAndItsRefusalIsNotCalled) {
  PoolLimits limits;
  limits.notice_after = std::chrono::milliseconds(0);
  make({50}, limits);
  script_->hold_loads = true;
  script_->failure = Error(ErrorCode::kCorruptFile, "broken");
  std::shared_ptr<void> held = hold_decider(0);
  PoolTicket ticket = 0;
  auto gone = wait(0, PoolUse::kForeground, &ticket);
  auto stays = wait(0);
  script_->let_loads_through();
  while (pool_->report().models[0].failures == 0) std::this_thread::yield();
  pool_->cancel(ticket);
  held.reset();
  EXPECT_NE(error_of(stays).find("cannot be loaded"), std::string::npos);
  EXPECT_THROW(gone.get(), std::future_error) << "its promise went with it";
}

TEST_F(ModelPoolTest, WhoeverLeavesBetweenTheEndAndItsRefusalIsNotCalled) {
  PoolLimits limits;
  limits.notice_after = std::chrono::milliseconds(0);
  make({50}, limits);
  script_->hold_loads = true;
  std::shared_ptr<void> held = hold_decider(0);
  PoolTicket ticket = 0;
  auto gone = wait(0, PoolUse::kForeground, &ticket);
  auto stays = wait(0);
  pool_->close();
  pool_->cancel(ticket);
  held.reset();
  EXPECT_EQ(error_of(stays), "the server is shutting down");
  EXPECT_THROW(gone.get(), std::future_error);
  pool_.reset();
}

TEST_F(ModelPoolTest, WhateverAStopCallsMayAskThePool) {
  make({80, 80});
  script_->hold_loads = true;
  std::atomic<int> asked = 0;
  script_->on_stop = [&] { asked += pool_->report().models.size() == 2 ? 1 : 0; };
  PoolTicket ticket = 0;
  auto gone = wait(0, PoolUse::kForeground, &ticket);
  script_->wait_until([&] { return script_->loading == 1; });
  pool_->cancel(ticket);
  auto other = wait(1);  // stops the load of A
  while (asked == 0 || pool_->report().models[1].status.state != ModelState::kLoading) std::this_thread::yield();
  script_->wait_until([&] { return script_->loading == 1; });  // that of B
  pool_->close();
  EXPECT_EQ(error_of(other), "the server is shutting down");
  while (asked == 1) std::this_thread::yield();
}

TEST_F(ModelPoolTest, BackgroundMakesNoLoadWait) {
  make({80, 80});
  pool_->hold_or_wait({0}).reset();
  PooledModelPtr background = pool_->hold({0, PoolUse::kBackground});
  ASSERT_NE(background, nullptr);
  auto other = wait(1);
  script_->wait_until([&] { return script_->told_to_end.contains("A"); });
  EXPECT_EQ(pool_->hold({0, PoolUse::kBackground}), nullptr);
  background.reset();
  EXPECT_NE(model_of(other), nullptr);
  auto refused = wait(0, PoolUse::kBackground);
  EXPECT_NE(error_of(refused).find("background requests load no model"), std::string::npos);
  EXPECT_TRUE(alive("B"));
}

TEST_F(ModelPoolTest, AnIdleModelGoes) {
  make({50});
  pool_->hold_or_wait({0, PoolUse::kForeground, std::chrono::milliseconds(0)}).reset();
  script_->wait_until([&] { return script_->alive.empty() && !script_->threads.empty(); });
  PooledModelPtr again = pool_->hold_or_wait({0, PoolUse::kForeground, std::chrono::milliseconds(1)});
  again.reset();
  script_->wait_until([&] { return script_->alive.empty(); });
}

TEST_F(ModelPoolTest, ALongWaitIsNoticed) {
  PoolLimits limits;
  limits.notice_after = std::chrono::milliseconds(0);
  make({50}, limits);
  script_->hold_loads = true;
  std::promise<void> noticed;
  std::promise<std::variant<PooledModelPtr, Error>> done;
  pool_->wait({0}, {[&](std::variant<PooledModelPtr, Error> answer) { done.set_value(std::move(answer)); },
                    [&] { noticed.set_value(); }});
  noticed.get_future().wait();
  script_->let_loads_through();
  done.get_future().wait();
}

TEST_F(ModelPoolTest, EndsWhileItLoads) {
  make({50, 50});
  PooledModelPtr held = pool_->hold_or_wait({1});
  script_->hold_loads = true;
  auto waiting = wait(0);
  script_->wait_until([&] { return script_->loading == 1; });
  pool_->close();
  EXPECT_EQ(error_of(waiting), "the server is shutting down");
  EXPECT_THROW(wait(1), Error);
  EXPECT_EQ(pool_->hold({1}), nullptr);
  auto ended = std::async(std::launch::async, [&] { pool_.reset(); });
  EXPECT_TRUE(alive("B")) << "it is in hand";
  held.reset();
  ended.get();
  EXPECT_FALSE(alive("A"));
  EXPECT_FALSE(alive("B"));
}

TEST_F(ModelPoolTest, AStopEndsABlockedWait) {
  make({50});
  script_->hold_loads = true;
  std::stop_source stop;
  auto blocked = std::async(std::launch::async, [&] { pool_->hold_or_wait({0}, stop.get_token()); });
  script_->wait_until([&] { return script_->loading == 1; });
  stop.request_stop();
  EXPECT_THROW(blocked.get(), Error);
}

TEST_F(ModelPoolTest, AGlanceKeepsWhatItSees) {
  make({80, 80});
  pool_->hold_or_wait({0}).reset();
  auto seen = pool_->glance();
  ASSERT_EQ(seen.size(), 2u);
  ASSERT_NE(seen[0], nullptr);
  EXPECT_EQ(seen[1], nullptr);
  auto other = wait(1);
  EXPECT_EQ(seen[0]->bytes(), 80u);
  EXPECT_TRUE(alive("A"));
  seen.clear();
  EXPECT_NE(model_of(other), nullptr);
}

// For the thread sanitizer, and for what only happens when much happens: this and the next.
TEST_F(ModelPoolTest, ManyLeaveWhileLoadsFail) {
  make({60, 60});
  script_->failure = Error(ErrorCode::kCancelled, "broken");  // of which the log says nothing
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 500; ++i) {
        PoolTicket ticket = 0;
        auto answer = wait((t + i) % 2, PoolUse::kForeground, &ticket);
        for (uint32_t pause = (t + i * 7) % 13; pause > 0; --pause) std::this_thread::yield();
        pool_->cancel(ticket);
        try {
          EXPECT_TRUE(std::holds_alternative<Error>(answer.get()));
        } catch (const std::future_error&) {  // cancelled in time
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  {
    const std::lock_guard lock(script_->mutex);
    script_->failure.reset();
  }
  wait(0).wait();  // a load that fails may still be under way: whoever comes meanwhile is told
  EXPECT_NE(pool_->hold_or_wait({0}), nullptr);
}

TEST_F(ModelPoolTest, ManyThreadsAtOnce) {
  PoolLimits limits;
  limits.keep_alive = std::chrono::milliseconds(1);
  limits.overtaking_limit = std::chrono::milliseconds(1);
  make({60, 60, 30, 30}, limits);
  std::atomic<int> served = 0;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 40; ++i) {
        const size_t which = (t * 7 + i * 3) % 4;
        if (i % 5 == 4) {
          PoolTicket ticket = 0;
          auto left = wait(which, PoolUse::kForeground, &ticket);
          pool_->cancel(ticket);
          continue;
        }
        if (i % 7 == 6) pool_->glance();
        if (i % 3 == 2) {
          auto background = wait(which, PoolUse::kBackground);
          background.get();
          continue;
        }
        const PooledModelPtr model = pool_->hold_or_wait({which});
        EXPECT_EQ(model->bytes(), which < 2 ? 60u : 30u);
        ++served;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(served, 100);
  EXPECT_LE(pool_->report().committed, 100u);
}

}  // namespace
}  // namespace carronade
