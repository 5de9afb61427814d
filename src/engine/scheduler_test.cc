// Scripts: arrivals in, the plan of each step out. No model, no clock.
//
//   + 1 20          request 1 arrives with a prompt of 20 tokens
//   + 2 20 as 1     … whose tokens are the first of request 1's
//   + 2 20 of 7     … of tenant 7, or `background` or `interactive` in place of `of 7`
//   - 1             it ends
//   8 => 1:0-8      a step with at most 8 rows of prompts: request 1's tokens 0 … 7 run. `!` after it: logits follow,
//   and a token comes
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <sstream>

#include <fmt/format.h>

namespace carronade {
namespace {

class Replay {
 public:
  explicit Replay(const SchedulerOptions& options) : scheduler_(options) {}

  void run(const std::string& script) {
    std::istringstream lines(script);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string first;
      if (!(words >> first)) continue;
      if (first == "+") {
        RequestId id = 0, like = 0;
        int length = 0;
        Tenant tenant;
        words >> id >> length;
        like = id;
        for (std::string word; words >> word;) {
          if (word == "as") words >> like;
          if (word == "of") words >> tenant.id;
          if (word == "weight") words >> tenant.weight;
          if (word == "background") tenant.priority = Tenant::Priority::kBackground;
          if (word == "interactive") tenant.priority = Tenant::Priority::kInteractive;
        }
        add(id, length, like, tenant);
      } else if (first == "-") {
        RequestId id = 0;
        words >> id;
        remove(id);
      } else {
        const size_t arrow = line.find("=>");
        ASSERT_NE(arrow, std::string::npos) << line;
        std::string expected = line.substr(arrow + 2);
        expected.erase(0, expected.find_first_not_of(' '));
        EXPECT_EQ(step(std::stoi(first)), expected) << "at: " << line;
      }
      ASSERT_TRUE(scheduler_.books_balance()) << "after: " << line;
    }
  }

  void add(RequestId id, int length, RequestId like, const Tenant& tenant = {}) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = id;
    sequence->tenant = tenant;
    sequence->scope.tenant = tenant.id;
    sequence->prompt_tokens = length;
    for (int i = 0; i < length; ++i) sequence->tokens.push_back(token(like, i));
    sequences_[id] = &scheduler_.add(std::move(sequence));
  }

  void remove(RequestId id) {
    scheduler_.remove(*sequences_.at(id));
    sequences_.erase(id);
  }

  std::string step(int prefill_rows) {
    std::string text;
    std::vector<Sequence*> outputs;
    for (const PlannedRows& rows : scheduler_.step(prefill_rows)) {
      text += fmt::format("{}{}:{}-{}{}", text.empty() ? "" : " ", rows.sequence->id, rows.first,
                          rows.first + rows.rows, rows.outputs > 0 ? "!" : "");
      if (rows.outputs > 0) outputs.push_back(rows.sequence);
    }
    scheduler_.commit();
    for (Sequence* sequence : outputs) scheduler_.append(*sequence, token(sequence->id, sequence->length()));
    return text;
  }

  static TokenId token(RequestId id, int index) { return static_cast<TokenId>(id) * 1000 + index; }
  const Sequence& at(RequestId id) const { return *sequences_.at(id); }
  Scheduler& scheduler() { return scheduler_; }

 private:
  Scheduler scheduler_;
  std::map<RequestId, Sequence*> sequences_;
};

SchedulerOptions options(int seqs, int rows, int blocks, bool cache = false) {
  return {.max_num_seqs = seqs, .max_num_batched_tokens = rows, .blocks = blocks, .prefix_cache = cache};
}

TEST(Scheduler, ReadsAPromptInChunksThenWritesOneTokenAStep) {
  Replay replay(options(2, 8, 10));
  replay.run(R"(
    8 =>
    + 1 20
    8 => 1:0-8
    8 => 1:8-16
    8 => 1:16-20!
    8 => 1:20-21!
    8 => 1:21-22!
    - 1
    8 =>
  )");
}

TEST(Scheduler, StreamsComeFirstAndPromptsShareTheRest) {
  Replay replay(options(3, 8, 10));
  replay.run(R"(
    + 1 3
    + 2 10
    + 3 4
    8 => 1:0-3! 2:0-5
    8 => 1:3-4! 2:5-10! 3:0-2
    8 => 1:4-5! 2:10-11! 3:2-4!
    8 => 1:5-6! 2:11-12! 3:4-5!
  )");
}

TEST(Scheduler, PromptsTakeNoMoreThanTheyAreGivenButOneRowAlways) {
  Replay replay(options(3, 8, 10));
  replay.run(R"(
    + 1 10
    + 2 4
    3 => 1:0-3
    6 => 1:3-9
    0 => 1:9-10!
    2 => 1:10-11! 2:0-2
  )");
}

TEST(Scheduler, AdmitsInOrderOfArrivalWhileThereAreSeats) {
  Replay replay(options(2, 8, 10));
  replay.run(R"(
    + 1 2
    + 2 2
    + 3 2
    8 => 1:0-2! 2:0-2!
    8 => 1:2-3! 2:2-3!
    - 1
    8 => 2:3-4! 3:0-2!
  )");
}

TEST(Scheduler, ABigRequestIsNotOvertakenBySmallOnes) {
  Replay replay(options(4, 64, 6));
  replay.run(R"(
    + 1 40
    + 2 60
    + 3 1
    64 => 1:0-40!
    64 => 1:40-41!
    - 1
    64 => 2:0-60! 3:0-1!
  )");
}

TEST(Scheduler, PreemptsTheYoungestAndComputesItAnew) {
  Replay replay(options(2, 64, 5));
  replay.run(R"(
    + 1 31
    + 2 15
    64 => 1:0-31! 2:0-15!
    64 => 1:31-32! 2:15-16!
    64 => 1:32-33! 2:16-17!
  )");
  EXPECT_EQ(replay.scheduler().preemptions(), 0u);
  replay.run(R"(
    64 => 1:33-34! 2:17-18!
  )");
  for (int i = 0; i < 14; ++i) replay.step(64);
  // Request 1 needs its fourth block now, request 2 its third, and there are five.
  EXPECT_EQ(replay.at(1).length(), 49);
  EXPECT_EQ(replay.at(2).length(), 33);
  replay.run(R"(
    64 => 1:48-49!
  )");
  EXPECT_EQ(replay.scheduler().preemptions(), 1u);
  EXPECT_EQ(replay.scheduler().waiting(), 1);
  replay.run(R"(
    - 1
    64 => 2:0-33!
    64 => 2:33-34!
  )");
  EXPECT_EQ(replay.at(2).preemptions, 1);
}

TEST(Scheduler, WhoWasPreemptedComesBeforeWhoCameLater) {
  Replay replay(options(3, 64, 4));
  replay.run(R"(
    + 1 32
    + 2 14
    64 => 1:0-32! 2:0-14!
    64 => 1:32-33! 2:14-15!
    64 => 1:33-34! 2:15-16!
    + 3 5
    64 => 1:34-35!
    - 1
    64 => 2:0-17! 3:0-5!
  )");
}

TEST(Scheduler, TokensThatComeTogetherRunTogether) {
  Replay replay(options(2, 64, 10));
  replay.run("+ 1 3\n 64 => 1:0-3!");
  auto& sequence = const_cast<Sequence&>(replay.at(1));
  for (int i = 0; i < 4; ++i) replay.scheduler().append(sequence, 7);
  replay.run("64 => 1:3-8!\n 64 => 1:8-9!");
}

TEST(Scheduler, AnEndedRequestsBlocksAreFoundAgain) {
  Replay replay(options(2, 64, 10, true));
  replay.run(R"(
    + 1 40
    64 => 1:0-40!
    64 => 1:40-41!
    - 1
    + 2 40 as 1
    64 => 2:32-40!
  )");
  EXPECT_EQ(replay.at(2).cached_tokens, 32);
}

TEST(Scheduler, TheLastTokenIsComputedThoughItsBlockIsKnown) {
  Replay replay(options(2, 64, 10, true));
  replay.run(R"(
    + 1 33
    64 => 1:0-33!
    - 1
    + 2 32 as 1
    64 => 2:16-32!
  )");
}

TEST(Scheduler, RunningRequestsShareBlocks) {
  Replay replay(options(3, 128, 6, true));
  replay.run(R"(
    + 1 60
    128 => 1:0-60!
    + 2 60 as 1
    + 3 50 as 1
    128 => 1:60-61! 2:48-60!
  )");
  EXPECT_EQ(replay.scheduler().pool().held(),
            5);  // 4 and 1; three do not fit beside them with a block to spare for each
  EXPECT_EQ(replay.scheduler().waiting(), 1);
}

TEST(Scheduler, AnotherTenantDoesNotFindThem) {
  Replay replay(options(2, 64, 10, true));
  replay.add(1, 40, 1, {.id = 5});
  replay.step(64);
  replay.remove(1);
  replay.add(2, 40, 1, {.id = 6});
  EXPECT_EQ(replay.step(64), "2:0-40!");
  replay.add(3, 40, 1, {.id = 5});
  EXPECT_EQ(replay.step(64), "2:40-41! 3:32-40!");
}

TEST(Scheduler, OldPrefixesGiveWayToNewRequestsTailFirst) {
  Replay replay(options(1, 128, 4, true));
  replay.run(R"(
    + 1 49
    128 => 1:0-49!
    - 1
    + 2 17
    128 => 2:0-17!
    - 2
    + 3 49 as 1
    128 => 3:32-49!
  )");
}

TEST(Scheduler, KeepsNoMoreIdleBlocksThanItMay) {
  SchedulerOptions limited = options(1, 128, 10, true);
  limited.max_idle_blocks = 2;
  Replay replay(limited);
  replay.run(R"(
    + 1 65
    128 => 1:0-65!
    - 1
  )");
  EXPECT_EQ(replay.scheduler().pool().idle(), 2);
  replay.run(R"(
    + 2 65 as 1
    128 => 2:32-65!
  )");
}

TEST(Scheduler, APreemptedRequestFindsItsOwnBlocksAgain) {
  Replay replay(options(2, 64, 4, true));
  replay.run(R"(
    + 1 32
    + 2 14
    64 => 1:0-32! 2:0-14!
    64 => 1:32-33! 2:14-15!
    64 => 1:33-34! 2:15-16!
    64 => 1:34-35!
    - 1
    64 => 2:16-17!
  )");
  EXPECT_EQ(replay.at(2).cached_tokens, 0);  // nothing of its prompt was cached when it came
}

TEST(Scheduler, TheTenantServedLeastComesNext) {
  Replay replay(options(1, 64, 20));
  replay.run(R"(
    + 1 20 of 7
    + 2 20 of 7
    + 3 20 of 7
    64 => 1:0-20!
    + 4 10 of 8
    + 5 10 of 8
    - 1
    64 => 2:0-20!
    - 2
    64 => 4:0-10!
    - 4
    64 => 5:0-10!
    - 5
    64 => 3:0-20!
  )");
}

TEST(Scheduler, TwiceTheWeightIsServedTwiceAsMuch) {
  Replay replay(options(1, 64, 20));
  for (RequestId id = 1; id <= 30; ++id) replay.add(id, 10, id, {.id = 7, .weight = 2});
  for (RequestId id = 31; id <= 60; ++id) replay.add(id, 10, id, {.id = 8, .weight = 1});
  int heavy = 0;
  for (int turn = 0; turn < 30; ++turn) {
    const RequestId ran = std::stoull(replay.step(64));
    heavy += ran <= 30 ? 1 : 0;
    replay.remove(ran);
  }
  EXPECT_EQ(heavy, 20);
}

TEST(Scheduler, AbsenceEarnsNothing) {
  Replay replay(options(1, 64, 20));
  replay.run("+ 1 60 of 7");
  for (RequestId id = 2; id <= 9; ++id) replay.add(id, 60, id, {.id = 7});
  for (RequestId id = 1; id <= 4; ++id) {
    replay.step(64);
    replay.remove(id);
  }
  // A newcomer is next once, and does not hold the place until it has caught up with four.
  for (RequestId id = 10; id <= 14; ++id) replay.add(id, 60, id, {.id = 8});
  std::string order;
  for (int turn = 0; turn < 4; ++turn) {
    const RequestId ran = std::stoull(replay.step(64));
    order += ran < 10 ? "7" : "8";
    replay.remove(ran);
  }
  EXPECT_EQ(std::count(order.begin(), order.end(), '8'), 2) << order;
}

TEST(Scheduler, PromptsOfTheTenantServedLeastAreReadFirst) {
  Replay replay(options(3, 64, 20));
  replay.run(R"(
    + 1 60 of 7
    16 => 1:0-16
    + 2 20 of 8
    16 => 1:16-32
    16 => 2:0-16
    16 => 1:32-48
    16 => 2:16-20! 1:48-60!
  )");
}

TEST(Scheduler, InteractiveGoesFirstButNormalIsNotStarved) {
  Replay replay(options(1, 64, 20));
  replay.add(1, 10, 1);
  for (RequestId id = 2; id <= 8; ++id) replay.add(id, 10, id, {.priority = Tenant::Priority::kInteractive});
  std::string order;
  for (int turn = 0; turn < 8; ++turn) {
    const RequestId ran = std::stoull(replay.step(64));
    order += fmt::format("{} ", ran);
    replay.remove(ran);
  }
  EXPECT_EQ(order, "2 3 4 5 1 6 7 8 ");
}

TEST(Scheduler, BackgroundRunsWhenNothingElseWaitsAndMakesRoom) {
  Replay replay(options(1, 64, 20));
  replay.run(R"(
    + 1 20 background
    + 2 5
    64 => 2:0-5!
    - 2
    64 => 1:0-20!
    + 3 5
    64 => 3:0-5!
    64 => 3:5-6!
    - 3
    64 => 1:0-21!
  )");
  EXPECT_EQ(replay.at(1).preemptions, 1);
}

TEST(Scheduler, BackgroundGivesItsBlocksFirst) {
  Replay replay(options(3, 64, 5));
  replay.run(R"(
    + 1 16 background
    64 => 1:0-16!
    + 2 30
    64 => 1:16-17! 2:0-30!
    64 => 1:17-18! 2:30-31!
    64 => 1:18-19! 2:31-32!
    + 3 14
    64 => 2:32-33! 3:0-14!
  )");
  EXPECT_EQ(replay.at(1).preemptions, 1);
}

TEST(Scheduler, APromptThatIsBeingReadIsReadOnce) {
  Replay replay(options(5, 64, 30, true));
  replay.run(R"(
    + 1 40
    + 2 40 as 1
    + 3 40 as 1
    + 4 40 as 1
    + 5 12
    20 => 1:0-20
    20 => 1:20-40!
    64 => 1:40-41! 5:0-12! 2:32-40! 3:32-40! 4:32-40!
  )");
  EXPECT_EQ(replay.at(4).cached_tokens, 32);
}

TEST(Scheduler, WhoWaitsForAPrefixGoesOnWhenItsReaderIsGone) {
  Replay replay(options(5, 64, 30, true));
  replay.run(R"(
    + 1 40
    + 2 40 as 1
    20 => 1:0-20
    - 1
    20 => 2:16-36
  )");
}

TEST(Scheduler, DraftsTakeTheOutputsThatAreLeft) {
  SchedulerOptions limits = options(2, 16, 10);
  limits.max_outputs = 6;
  Replay replay(limits);
  replay.run("+ 1 5\n + 2 5\n 16 => 1:0-5! 2:0-5!");
  auto& sequence = const_cast<Sequence&>(replay.at(1));
  Scheduler& scheduler = replay.scheduler();
  sequence.drafts = {50, 51, 52, 53, 54};
  const Plan plan = scheduler.step(16);
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].rows, 5);
  EXPECT_EQ(plan[0].outputs, 5);
  EXPECT_EQ(plan[1].outputs, 1);
  scheduler.commit();
  EXPECT_EQ(sequence.computed, 6);
  scheduler.append_computed(sequence, 50);
  scheduler.append(sequence, 99);
  scheduler.append(const_cast<Sequence&>(replay.at(2)), 98);
  sequence.drafts.clear();
  replay.run("16 => 1:7-8! 2:6-7!");
}

TEST(Scheduler, PromptLogitsTakeNothingFromTheCache) {
  SchedulerOptions limits = options(2, 64, 10, true);
  limits.max_outputs = 12;
  Replay replay(limits);
  replay.run("+ 1 40\n 64 => 1:0-40!\n - 1\n + 2 40 as 1");
  const_cast<Sequence&>(replay.at(2)).wants_prompt_logits = true;
  const Plan plan = replay.scheduler().step(64);
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].first, 0);
  EXPECT_EQ(plan[0].rows, 12);
  EXPECT_EQ(plan[0].outputs, 12);
}

// Random arrivals, endings, guesses and steps beside a plain account of them.
class RandomRun {
 public:
  explicit RandomRun(uint32_t seed) : random_(seed), limits_(random_limits(seed)), scheduler_(limits_) {}

  // One step. Its checks end the test, not the run.
  void turn() {
    arrive();
    depart();
    guess();
    const std::set<RequestId> waiting = waiting_in_front();
    const Plan plan = scheduler_.step(between(0, 40));
    check(plan, waiting);
    scheduler_.commit();
    ASSERT_TRUE(scheduler_.books_balance());
    draw(plan);
  }

  void end() {
    EXPECT_GT(finished_, 100u);
    EXPECT_GT(guessed_right_, 100u);
    EXPECT_GT(scheduler_.preemptions(), 100u);
    while (!live_.empty()) remove(live_.begin()->first);
    EXPECT_TRUE(scheduler_.empty() && scheduler_.pool().held() == 0 && scheduler_.books_balance());
  }

 private:
  static constexpr int kMostBlocks = 12;
  using Priority = Tenant::Priority;
  struct Live {
    Sequence* sequence;
    int limit;
    int waited = 0;
  };

  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  SchedulerOptions random_limits(uint32_t seed) {
    SchedulerOptions limits = options(between(2, 6), 40, kMostBlocks, seed % 2 == 0);
    limits.max_idle_blocks = between(0, kMostBlocks);
    limits.max_outputs = limits.max_num_seqs + between(0, 8);
    return limits;
  }

  static bool is_background(const Sequence& sequence) { return sequence.tenant.priority == Priority::kBackground; }

  void arrive() {
    if (live_.size() >= 20 || between(0, 3) != 0) return;
    auto sequence = std::make_unique<Sequence>();
    sequence->id = ++last_;
    sequence->tenant.id = sequence->scope.tenant = static_cast<uint64_t>(between(0, 2));
    sequence->tenant.weight = static_cast<float>(1 + sequence->tenant.id);
    sequence->tenant.priority = static_cast<Priority>(between(0, 9) == 0 ? 2 : between(0, 1));
    sequence->prompt_tokens = between(1, 100);
    sequence->wants_prompt_logits = between(0, 9) == 0;
    const int like = between(1, 3);  // few prompts, so that prefixes meet
    for (int i = 0; i < sequence->prompt_tokens; ++i) sequence->tokens.push_back(like * 1000 + i);
    const int limit = std::min(sequence->prompt_tokens + between(1, 100), kMostBlocks * kBlockPositions);
    live_[last_] = {&scheduler_.add(std::move(sequence)), limit};
  }

  void depart() {
    if (live_.empty() || between(0, 40) != 0) return;
    remove(std::next(live_.begin(), between(0, static_cast<int>(live_.size()) - 1))->first);
  }

  void remove(RequestId id) {
    scheduler_.remove(*live_.at(id).sequence);
    live_.erase(id);
  }

  void guess() {
    for (Sequence* sequence : scheduler_.running_sequences()) {
      const int room = live_.at(sequence->id).limit - sequence->length() - 1;
      sequence->drafts.assign(sequence->pending() == 1 ? static_cast<size_t>(std::clamp(room, 0, between(0, 4))) : 0u,
                              7);
    }
  }

  // Who is not background and has no seat.
  std::set<RequestId> waiting_in_front() const {
    std::set<RequestId> ids;
    for (const auto& [id, entry] : live_) {
      if (!is_background(*entry.sequence)) ids.insert(id);
    }
    running_before_.clear();
    for (const Sequence* sequence : scheduler_.running_sequences()) {
      ids.erase(sequence->id);
      running_before_.insert(sequence->id);
    }
    return ids;
  }

  void check(const Plan& plan, const std::set<RequestId>& waiting) {
    ASSERT_EQ(plan.empty(), live_.empty());
    ASSERT_TRUE(scheduler_.books_balance());
    int rows = 0, outputs = 0;
    std::set<RequestId> planned;
    for (const PlannedRows& part : plan) {
      const Sequence& sequence = *part.sequence;
      const int end = part.first + part.rows;
      rows += part.rows;
      outputs += part.outputs;
      ASSERT_TRUE(planned.insert(sequence.id).second);
      ASSERT_EQ(part.first, sequence.computed);
      ASSERT_LE(end, sequence.length() + static_cast<int>(sequence.drafts.size()));
      if (!sequence.wants_prompt_logits || part.first >= sequence.prompt_tokens) {
        ASSERT_EQ(part.outputs, std::max(0, end - sequence.length() + 1));
      }
      ASSERT_GE(static_cast<int>(sequence.blocks.size()) * kBlockPositions, end);
    }
    ASSERT_LE(rows, limits_.max_num_batched_tokens);
    ASSERT_LE(outputs, limits_.max_outputs);
    ASSERT_LE(scheduler_.running(), limits_.max_num_seqs);
    check_background(waiting);
    // Nobody is passed over for long: who waits is seated when others end.
    for (auto& [id, entry] : live_) {
      entry.waited = planned.contains(id) || is_background(*entry.sequence) ? 0 : entry.waited + 1;
      ASSERT_LT(entry.waited, 4000) << "request " << id;
    }
  }

  // Background work takes a seat only when everyone else has one.
  void check_background(const std::set<RequestId>& waiting) const {
    bool takes_a_seat = false;
    std::set<RequestId> seated;
    for (const Sequence* sequence : scheduler_.running_sequences()) {
      seated.insert(sequence->id);
      takes_a_seat |= is_background(*sequence) && !running_before_.contains(sequence->id);
    }
    if (!takes_a_seat) return;
    for (const RequestId id : waiting) ASSERT_TRUE(seated.contains(id));
  }

  void draw(const Plan& plan) {
    for (const PlannedRows& part : plan) {
      Sequence& sequence = *part.sequence;
      const int end = part.first + part.rows;
      if (end < sequence.length()) continue;
      for (int held = between(0, end - sequence.length()); held > 0; --held, ++guessed_right_)
        scheduler_.append_computed(sequence, 7);
      scheduler_.append(sequence, between(0, 1));
      if (sequence.length() >= sequence.prompt_tokens) sequence.wants_prompt_logits = false;
      if (sequence.length() < live_.at(sequence.id).limit) continue;
      remove(sequence.id);
      ++finished_;
    }
  }

  std::mt19937 random_;
  SchedulerOptions limits_;
  Scheduler scheduler_;
  std::map<RequestId, Live> live_;
  mutable std::set<RequestId> running_before_;
  RequestId last_ = 0;
  uint64_t finished_ = 0, guessed_right_ = 0;
};

// The books balance, every row runs once and in order, priorities hold, and nobody starves.
TEST(Scheduler, HoldsItsRulesInRandomRuns) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u, 5u}) {
    RandomRun run(seed);
    for (int turn = 0; turn < 25000; ++turn) {
      run.turn();
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", turn " << turn;
    }
    run.end();
  }
}

}  // namespace
}  // namespace carronade
