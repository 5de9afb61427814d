#include "hub/pool_scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace carronade {
namespace {

using std::chrono::seconds;

// Arrivals in, what is done out: "A" to "C" are models, numbers are tickets. No threads, no clock, no models.
class PoolScript {
 public:
  // Each model: {least, wanted}.
  PoolScript(const std::vector<MemoryShare>& models, uint64_t budget, PoolLimits limits = {}) {
    limits.budget = budget;
    std::vector<std::string> names;
    for (size_t i = 0; i < models.size(); ++i) names.emplace_back(1, static_cast<char>('A' + i));
    scheduler_.emplace(models, limits, names);
  }

  PoolScheduler& scheduler() { return *scheduler_; }
  void pass(double time) { now_ += std::chrono::milliseconds(static_cast<int64_t>(time * 1000)); }

  static PoolRequest request(char model, PoolUse use = PoolUse::kForeground,
                             std::optional<std::chrono::milliseconds> keep_alive = {}) {
    return {static_cast<size_t>(model - 'A'), use, keep_alive};
  }
  bool hold(char model, PoolUse use = PoolUse::kForeground) { return scheduler_->hold(request(model, use), now_); }
  PoolTicket wait(char model, PoolUse use = PoolUse::kForeground) {
    scheduler_->wait(++last_, request(model, use), now_);
    return last_;
  }
  void release(char model, PoolUse use = PoolUse::kForeground, std::optional<std::chrono::milliseconds> keep = {}) {
    scheduler_->release(request(model, use, keep), now_);
  }
  void loaded(char model, uint64_t bytes) { scheduler_->loaded(static_cast<size_t>(model - 'A'), bytes, now_); }
  void cancel(PoolTicket ticket) { scheduler_->cancel(ticket); }
  void failed(char model) {
    scheduler_->failed(static_cast<size_t>(model - 'A'), Error(ErrorCode::kCorruptFile, "broken"));
  }
  void unloaded(char model) { scheduler_->unloaded(static_cast<size_t>(model - 'A')); }
  // It is there, and nobody uses it.
  void preload(char model, uint64_t bytes) {
    wait(model);
    decide();
    loaded(model, bytes);
    decide();
    release(model);
    pass(1);
  }

  // "load A 60, grant 1, refuse 2, notice 3, stop A, end background A, unload A"
  std::string decide() {
    std::vector<std::string> words;
    for (const PoolAction& action : scheduler_->decide(now_)) words.push_back(word(action));
    return fmt::format("{}", fmt::join(words, ", "));
  }
  const std::string& last_error() const { return last_error_; }
  std::optional<double> next_in() const {
    const auto next = scheduler_->next_time(now_);
    if (!next) return std::nullopt;
    return std::chrono::duration<double>(*next - now_).count();
  }
  PoolModelStatus status(char model) const { return scheduler_->status(static_cast<size_t>(model - 'A')); }

 private:
  std::string word(const PoolAction& action) {
    const auto letter = [](size_t model) { return static_cast<char>('A' + model); };
    if (const auto* grant = std::get_if<Grant>(&action)) return fmt::format("grant {}", grant->ticket);
    if (const auto* refusal = std::get_if<Refusal>(&action)) {
      last_error_ = refusal->error.what();
      return fmt::format("refuse {}", refusal->ticket);
    }
    if (const auto* notice = std::get_if<Notice>(&action)) return fmt::format("notice {}", notice->ticket);
    if (const auto* load = std::get_if<Load>(&action))
      return fmt::format("load {} {}", letter(load->model), load->memory);
    if (const auto* stop = std::get_if<StopLoading>(&action)) return fmt::format("stop {}", letter(stop->model));
    if (const auto* end = std::get_if<EndBackground>(&action))
      return fmt::format("end background {}", letter(end->model));
    return fmt::format("unload {}", letter(std::get<Unload>(action).model));
  }

  std::optional<PoolScheduler> scheduler_;
  PoolTime now_ = PoolTime(seconds(1'000'000));
  PoolTicket last_ = 0;
  std::string last_error_;
};

constexpr MemoryShare kHalf{50, 50}, kMost{80, 80}, kElastic{30, 50};

TEST(PoolScheduler, RequestsShareALoad) {
  PoolScript pool({kHalf, kHalf}, 100);
  EXPECT_FALSE(pool.hold('A'));
  pool.wait('A');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.wait('A');
  EXPECT_EQ(pool.decide(), "");
  pool.loaded('A', 45);
  EXPECT_FALSE(pool.hold('A')) << "nobody overtakes those who wait";
  EXPECT_EQ(pool.decide(), "grant 1, grant 2");
  EXPECT_TRUE(pool.hold('A'));
  EXPECT_EQ(pool.status('A').users, 3);
  EXPECT_EQ(pool.scheduler().committed(), 45u);
}

TEST(PoolScheduler, WhatFitsIsLoadedBesideWhatIsThere) {
  PoolScript pool({kHalf, kHalf}, 100);
  pool.preload('A', 50);
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "load B 50");
  pool.loaded('B', 50);
  EXPECT_EQ(pool.decide(), "grant 2");
  EXPECT_TRUE(pool.hold('A'));
}

TEST(PoolScheduler, TheLongestIdleGoesFirst) {
  PoolScript pool({kHalf, kHalf, kHalf}, 100);
  pool.preload('A', 50);
  pool.preload('B', 50);
  ASSERT_TRUE(pool.hold('A'));
  pool.pass(1);
  pool.release('A');
  pool.wait('C');
  EXPECT_EQ(pool.decide(), "unload B");
  EXPECT_EQ(pool.decide(), "") << "the memory is not there yet";
  EXPECT_EQ(pool.status('B').state, ModelState::kUnloading);
  pool.unloaded('B');
  EXPECT_EQ(pool.decide(), "load C 50");
}

TEST(PoolScheduler, AsManyGoAsAreInTheWay) {
  PoolScript pool({{20, 20}, {20, 20}, {20, 20}, {50, 50}}, 70);
  for (const char model : {'A', 'B', 'C'}) pool.preload(model, 20);
  pool.wait('D');
  EXPECT_EQ(pool.decide(), "unload A, unload B");
  pool.unloaded('A');
  EXPECT_EQ(pool.decide(), "");
  pool.unloaded('B');
  EXPECT_EQ(pool.decide(), "load D 50");
}

TEST(PoolScheduler, LittleMemoryIsBetterThanWaiting) {
  PoolScript pool({{60, 60}, kElastic}, 100);
  pool.preload('A', 60);
  ASSERT_TRUE(pool.hold('A'));
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "load B 40") << "A is in use, and what is left is enough";
}

TEST(PoolScheduler, AnAnswerIsNotDisturbed) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A'));
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "");
  pool.release('A');
  EXPECT_EQ(pool.decide(), "unload A");
  pool.unloaded('A');
  EXPECT_EQ(pool.decide(), "load B 80");
}

TEST(PoolScheduler, ABusyModelLetsOthersInAfterAWhile) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A'));
  const PoolTicket other = pool.wait('B');
  EXPECT_EQ(pool.decide(), "");
  EXPECT_TRUE(pool.hold('A')) << "for a while newcomers go on being served";
  EXPECT_EQ(pool.next_in(), 5.0);
  pool.pass(5);
  EXPECT_EQ(pool.decide(), fmt::format("notice {}", other));
  EXPECT_FALSE(pool.hold('A')) << "but not for ever";
  const PoolTicket late = pool.wait('A');
  pool.release('A');
  EXPECT_EQ(pool.decide(), "");
  pool.release('A');
  EXPECT_EQ(pool.decide(), "unload A");
  pool.unloaded('A');
  EXPECT_EQ(pool.decide(), "load B 80");
  pool.loaded('B', 80);
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", other));
  pool.release('B');
  EXPECT_EQ(pool.decide(), "unload B");
  pool.unloaded('B');
  EXPECT_EQ(pool.decide(), "load A 80");
  pool.loaded('A', 80);
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", late));
}

TEST(PoolScheduler, WhoeverLeavesNoLongerHoldsOthersUp) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A'));
  const PoolTicket other = pool.wait('B');
  pool.pass(5);
  pool.decide();
  EXPECT_FALSE(pool.hold('A'));
  const PoolTicket late = pool.wait('A');
  pool.scheduler().cancel(other);
  pool.decide();
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", late));
  EXPECT_TRUE(pool.hold('A'));
}

TEST(PoolScheduler, AWaitHasAnEnd) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A'));
  const PoolTicket other = pool.wait('B');
  pool.pass(299);
  pool.decide();
  EXPECT_EQ(pool.next_in(), 1.0);
  pool.pass(1);
  EXPECT_EQ(pool.decide(), fmt::format("refuse {}", other));
  EXPECT_EQ(pool.last_error(), "no memory became free for B in 5m: in use were A; try again later");
}

TEST(PoolScheduler, ALoadThatRunsIsWaitedFor) {
  PoolScript pool({kHalf, kHalf}, 100);
  pool.wait('A');
  pool.decide();
  pool.pass(3600);
  EXPECT_EQ(pool.decide(), "notice 1");
  pool.loaded('A', 50);
  EXPECT_EQ(pool.decide(), "grant 1");
}

TEST(PoolScheduler, WhatCanNeverFitIsRefusedAtOnce) {
  PoolScript pool({{200 << 20, 200 << 20}, kHalf}, 100 << 20);
  try {
    pool.wait('A');
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("A needs at least 210 MB"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("105 MB"), std::string::npos) << error.what();
  }
  EXPECT_EQ(pool.decide(), "");
}

TEST(PoolScheduler, ManyMayWaitButNotAny) {
  PoolLimits limits;
  limits.max_waiting = 2;
  PoolScript pool({kHalf}, 100, limits);
  pool.wait('A');
  pool.wait('A');
  EXPECT_THROW(pool.wait('A'), Error);
}

TEST(PoolScheduler, AFailureIsToldToAllAndTriedAgain) {
  PoolScript pool({kHalf, kHalf}, 100);
  pool.wait('A');
  pool.wait('A');
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.failed('A');
  EXPECT_EQ(pool.decide(), "refuse 1, refuse 2, load B 50");
  EXPECT_EQ(pool.last_error(), "broken");
  pool.loaded('B', 50);
  pool.wait('A');
  EXPECT_EQ(pool.decide(), "grant 3, load A 50");
}

TEST(PoolScheduler, WhoeverLeavesIsNotRefused) {
  PoolScript pool({kHalf, kHalf}, 100);
  const PoolTicket first = pool.wait('A'), second = pool.wait('A');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.failed('A');
  pool.cancel(first);  // before its refusal was said
  EXPECT_EQ(pool.decide(), fmt::format("refuse {}", second));
  const PoolTicket third = pool.wait('A'), fourth = pool.wait('B');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.scheduler().close();
  pool.cancel(fourth);
  EXPECT_EQ(pool.decide(), fmt::format("refuse {}", third));
  pool.failed('A');
  EXPECT_TRUE(pool.scheduler().empty());
}

TEST(PoolScheduler, ALoadThatNobodyWantsGivesWay) {
  PoolScript pool({kHalf, kHalf}, 50);
  const PoolTicket first = pool.wait('A');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.scheduler().cancel(first);
  EXPECT_EQ(pool.decide(), "") << "it may be asked for again";
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "stop A");
  EXPECT_EQ(pool.decide(), "");
  const PoolTicket again = pool.wait('A');
  pool.failed('A');
  EXPECT_EQ(pool.decide(), "load B 50");
  pool.loaded('B', 50);
  EXPECT_EQ(pool.decide(), "grant 2");
  pool.release('B');
  pool.decide();
  pool.unloaded('B');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.loaded('A', 50);
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", again));
}

TEST(PoolScheduler, AnUnusedModelGoesAfterItsTime) {
  PoolLimits limits;
  limits.keep_alive = seconds(60);
  PoolScript pool({kHalf, kHalf}, 0, limits);
  pool.wait('A');
  EXPECT_EQ(pool.decide(), "load A 0");
  pool.loaded('A', 50);
  pool.decide();
  pool.pass(100);
  EXPECT_EQ(pool.decide(), "") << "it is in use";
  pool.release('A');
  EXPECT_EQ(pool.next_in(), 60.0);
  pool.pass(59);
  EXPECT_EQ(pool.decide(), "");
  ASSERT_TRUE(pool.hold('A'));
  pool.release('A');
  pool.pass(59);
  EXPECT_EQ(pool.decide(), "") << "used again";
  pool.pass(1);
  EXPECT_EQ(pool.decide(), "unload A");
  const PoolTicket again = pool.wait('A');
  EXPECT_EQ(pool.decide(), "");
  pool.unloaded('A');
  EXPECT_EQ(pool.decide(), "load A 0");
  pool.loaded('A', 50);
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", again));
}

TEST(PoolScheduler, ARequestSaysHowLongItsModelStays) {
  PoolScript pool({kHalf}, 0);
  pool.preload('A', 50);
  EXPECT_EQ(pool.next_in(), std::nullopt) << "for ever is the default";
  ASSERT_TRUE(pool.hold('A'));
  pool.release('A', PoolUse::kForeground, seconds(10));
  EXPECT_EQ(pool.next_in(), 10.0);
  ASSERT_TRUE(pool.hold('A'));
  pool.release('A', PoolUse::kForeground, kForever);
  EXPECT_EQ(pool.next_in(), std::nullopt);
  ASSERT_TRUE(pool.hold('A'));
  pool.release('A', PoolUse::kForeground, seconds(0));
  EXPECT_EQ(pool.decide(), "unload A");
}

TEST(PoolScheduler, ALongStayIsNotAShortOne) {
  PoolScript pool({kHalf}, 0);
  pool.preload('A', 50);
  // The clock counts nanoseconds, of which 64 bits hold 9.2e9 seconds.
  for (const std::chrono::milliseconds keep :
       {std::chrono::milliseconds(seconds(4'000'000'000)), std::chrono::milliseconds(seconds(9'223'000'000)),
        std::chrono::milliseconds(seconds(9'223'372'036)), std::chrono::milliseconds(seconds(9'223'372'037)),
        std::chrono::milliseconds(seconds(10'000'000'000)), std::chrono::milliseconds(seconds(1'000'000'000'000)),
        kForever - std::chrono::milliseconds(1), kForever}) {
    ASSERT_TRUE(pool.hold('A')) << keep.count();
    pool.release('A', PoolUse::kForeground, keep);
    EXPECT_GT(pool.next_in().value_or(4e9), 3.9e9) << keep.count();
    pool.pass(1e6);
    EXPECT_EQ(pool.decide(), "") << keep.count();
  }
}

TEST(PoolScheduler, BackgroundLoadsNothing) {
  PoolScript pool({kHalf, kHalf}, 100);
  pool.wait('A', PoolUse::kBackground);
  EXPECT_EQ(pool.decide(), "refuse 1");
  EXPECT_EQ(pool.last_error(), "A is not loaded, and background requests load no model: try again later");
  // It shares what somebody else began.
  pool.wait('A');
  EXPECT_EQ(pool.decide(), "load A 50");
  pool.wait('A', PoolUse::kBackground);
  EXPECT_EQ(pool.decide(), "");
  pool.loaded('A', 50);
  EXPECT_EQ(pool.decide(), "grant 2, grant 3");
  EXPECT_TRUE(pool.hold('A', PoolUse::kBackground));
}

TEST(PoolScheduler, BackgroundMakesNoLoadWait) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A', PoolUse::kBackground));
  const PoolTicket other = pool.wait('B');
  EXPECT_EQ(pool.decide(), "end background A") << "at once, not when it has ended by itself";
  EXPECT_FALSE(pool.hold('A', PoolUse::kBackground));
  EXPECT_FALSE(pool.hold('A')) << "there is no way back";
  const PoolTicket late = pool.wait('A', PoolUse::kBackground);
  EXPECT_EQ(pool.decide(), "");
  pool.release('A', PoolUse::kBackground);
  EXPECT_EQ(pool.decide(), "unload A");
  pool.unloaded('A');
  EXPECT_EQ(pool.decide(), fmt::format("refuse {}, load B 80", late));
  pool.loaded('B', 80);
  EXPECT_EQ(pool.decide(), fmt::format("grant {}", other));
}

TEST(PoolScheduler, BackgroundKeepsNothing) {
  PoolLimits limits;
  limits.keep_alive = seconds(60);
  PoolScript pool({kHalf}, 0, limits);
  pool.preload('A', 50);
  pool.pass(50);
  ASSERT_TRUE(pool.hold('A', PoolUse::kBackground));
  pool.pass(20);
  EXPECT_EQ(pool.decide(), "") << "what runs may end";
  pool.release('A', PoolUse::kBackground);
  EXPECT_EQ(pool.decide(), "unload A");
}

TEST(PoolScheduler, AGlanceIsNoUse) {
  PoolScript pool({kMost, kMost}, 100);
  pool.preload('A', 80);
  ASSERT_TRUE(pool.hold('A', PoolUse::kGlance));
  pool.wait('B');
  EXPECT_EQ(pool.decide(), "") << "it is looked at this moment";
  pool.release('A', PoolUse::kGlance);
  EXPECT_EQ(pool.decide(), "unload A");
  EXPECT_FALSE(pool.hold('A', PoolUse::kGlance));
  EXPECT_FALSE(pool.hold('B', PoolUse::kGlance)) << "it is not there";
}

TEST(PoolScheduler, AtTheEndEverythingGoes) {
  PoolScript pool({kHalf, kHalf}, 100);
  pool.preload('A', 50);
  ASSERT_TRUE(pool.hold('A'));
  const PoolTicket other = pool.wait('B');
  EXPECT_EQ(pool.decide(), "load B 50");
  pool.scheduler().close();
  EXPECT_EQ(pool.decide(), fmt::format("refuse {}", other));
  EXPECT_FALSE(pool.hold('A'));
  EXPECT_THROW(pool.wait('A'), Error);
  pool.loaded('B', 50);
  EXPECT_EQ(pool.decide(), "unload B") << "the load was not stopped in time";
  pool.unloaded('B');
  EXPECT_FALSE(pool.scheduler().empty());
  pool.release('A');
  EXPECT_EQ(pool.decide(), "unload A");
  pool.unloaded('A');
  EXPECT_TRUE(pool.scheduler().empty());
}

// Whatever happens in whatever order: the budget holds, only what nobody holds is unloaded, every ticket gets one
// answer, and nobody waits for ever.
TEST(PoolScheduler, KeepsItsPromisesWhateverHappens) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](uint32_t n) { return random() % n; };
    const size_t count = 2 + draw(3);
    const uint64_t budget = 100;
    std::vector<MemoryShare> shares;
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t least = 20 + draw(70);
      shares.push_back({least, std::min<uint64_t>(budget, least + draw(30))});
      names.push_back(fmt::format("m{}", i));
    }
    PoolLimits limits;
    limits.budget = budget;
    limits.keep_alive = draw(2) == 0 ? kForever : std::chrono::milliseconds(draw(20'000));
    PoolScheduler scheduler(shares, limits, names);
    PoolTime now{seconds(1'000)};
    struct Held {
      PoolRequest request;
      bool told = false;
    };
    std::vector<Held> held;
    std::map<PoolTicket, PoolRequest> waiting;
    std::vector<PoolAction> work;  // of the loader
    std::vector<bool> loaded(count, false), stopped(count, false);
    PoolTicket last = 0;
    const auto decide = [&] {
      for (PoolAction& action : scheduler.decide(now)) {
        if (const auto* grant = std::get_if<Grant>(&action)) {
          ASSERT_EQ(waiting.count(grant->ticket), 1u);
          ASSERT_EQ(waiting[grant->ticket].model, grant->request.model);
          ASSERT_TRUE(loaded[waiting[grant->ticket].model]);
          held.push_back({waiting[grant->ticket]});
          waiting.erase(grant->ticket);
        } else if (const auto* refusal = std::get_if<Refusal>(&action)) {
          ASSERT_EQ(waiting.erase(refusal->ticket), 1u);
        } else if (const auto* end = std::get_if<EndBackground>(&action)) {
          for (Held& one : held) one.told |= one.request.model == end->model && one.request.use == PoolUse::kBackground;
        } else if (const auto* unload = std::get_if<Unload>(&action)) {
          for (const Held& one : held) ASSERT_NE(one.request.model, unload->model);
          loaded[unload->model] = false;
          work.push_back(std::move(action));
        } else if (const auto* stop = std::get_if<StopLoading>(&action)) {
          stopped[stop->model] = true;
        } else if (std::holds_alternative<Load>(action)) {
          work.push_back(std::move(action));
        }
      }
      ASSERT_LE(scheduler.committed(), budget);
    };
    const auto finish_work = [&] {
      const PoolAction action = work.front();
      work.erase(work.begin());
      if (const auto* unload = std::get_if<Unload>(&action)) return scheduler.unloaded(unload->model);
      const auto& load = std::get<Load>(action);
      const bool was_stopped = stopped[load.model];
      stopped[load.model] = false;
      if (was_stopped || draw(8) == 0) return scheduler.failed(load.model, Error(ErrorCode::kIo, "broken"));
      loaded[load.model] = true;
      scheduler.loaded(load.model, load.memory - draw(5), now);
    };
    const auto release_one = [&](size_t which) {
      scheduler.release(held[which].request, now);
      held.erase(held.begin() + static_cast<ptrdiff_t>(which));
    };
    for (int step = 0; step < 300; ++step) {
      now += std::chrono::milliseconds(draw(3'000));
      switch (draw(6)) {
        case 0:
        case 1: {
          const PoolRequest request{
              draw(static_cast<uint32_t>(count)), draw(4) == 0 ? PoolUse::kBackground : PoolUse::kForeground,
              draw(4) == 0 ? std::optional(std::chrono::milliseconds(draw(9'000))) : std::nullopt};
          if (scheduler.hold(request, now)) {
            held.push_back({request});
          } else {
            scheduler.wait(++last, request, now);
            waiting[last] = request;
          }
          break;
        }
        case 2:
          if (!held.empty()) release_one(draw(static_cast<uint32_t>(held.size())));
          break;
        case 3:
          if (!waiting.empty() && draw(3) == 0) {
            const auto leaver = std::next(waiting.begin(), draw(static_cast<uint32_t>(waiting.size())));
            scheduler.cancel(leaver->first);
            waiting.erase(leaver);
          }
          break;
        default:
          if (!work.empty()) finish_work();
      }
      for (size_t i = held.size(); i-- > 0;) {
        if (held[i].told && draw(2) == 0) release_one(i);
      }
      if (draw(3) > 0) decide();  // otherwise more happens before
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    // No more arrivals: in the end everyone has been answered.
    for (int step = 0; step < 200 && !waiting.empty(); ++step) {
      now += seconds(1);
      if (!held.empty()) release_one(0);
      while (!work.empty()) finish_work();
      decide();
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", at the end";
    }
    EXPECT_TRUE(waiting.empty()) << "seed " << seed;
  }
}

TEST(ShareMemory, WhatFitsTogetherSharesWhatIsLeft) {
  // Fixed, least and wanted of the KV cache.
  const MemoryClaim small{100, 10, 60, 4096}, large{200, 20, 400, 4096}, huge{900, 50, 500, 4096};
  auto shares = share_memory({small, large, huge}, 500, false);
  EXPECT_EQ(shares[0].least, 110u);
  EXPECT_EQ(shares[0].wanted, 160u) << "all that it wants";
  EXPECT_EQ(shares[1].least, 220u);
  EXPECT_EQ(shares[1].wanted, 340u) << "the rest";
  EXPECT_EQ(shares[2].least, 950u) << "never fits";
  shares = share_memory({small, large}, 500, true);
  EXPECT_EQ(shares[0].wanted + shares[1].wanted, 500u);
  EXPECT_EQ(shares[0].wanted - shares[0].least, shares[1].wanted - shares[1].least);
  shares = share_memory({large, huge}, 1'000, false);
  EXPECT_EQ(shares[0].wanted, 600u);
  EXPECT_EQ(shares[1].least, 950u);
  EXPECT_EQ(shares[1].wanted, 1'000u) << "no more than there is";
  shares = share_memory({small}, 0, false);
  EXPECT_EQ(shares[0].wanted, 160u);
}

}  // namespace
}  // namespace carronade
