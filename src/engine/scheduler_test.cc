// Scripts: arrivals in, the plan of each step out. No model, no clock.
//
//   + 1 20          request 1 arrives with a prompt of 20 tokens
//   + 2 20 as 1     … whose tokens are the first of request 1's
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
        std::string as;
        words >> id >> length;
        if (words >> as >> like) {
          add(id, length, like);
        } else {
          add(id, length, id);
        }
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

  void add(RequestId id, int length, RequestId like, uint64_t tenant = 0) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = id;
    sequence->scope.tenant = tenant;
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
                          rows.first + rows.rows, rows.output ? "!" : "");
      if (rows.output) outputs.push_back(rows.sequence);
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
  replay.add(1, 40, 1, 5);
  replay.step(64);
  replay.remove(1);
  replay.add(2, 40, 1, 6);
  EXPECT_EQ(replay.step(64), "2:0-40!");
  replay.add(3, 40, 1, 5);
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

// Any order of arrivals, endings and steps: the books balance, nobody is passed over, every row runs once and in order.
TEST(Scheduler, HoldsItsRulesInRandomRuns) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    std::mt19937 random(seed);
    const auto between = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int most_blocks = 12;
    SchedulerOptions limits = options(between(1, 6), 40, most_blocks, seed % 2 == 0);
    limits.max_idle_blocks = between(0, most_blocks);
    Scheduler scheduler(limits);
    struct Live {
      Sequence* sequence;
      int limit;
      int computed;
      int waited = 0;
    };
    std::map<RequestId, Live> live;
    RequestId last = 0;
    uint64_t finished = 0;
    for (int turn = 0; turn < 25000; ++turn) {
      if (live.size() < 20 && between(0, 3) == 0) {
        auto sequence = std::make_unique<Sequence>();
        sequence->id = ++last;
        sequence->scope.tenant = static_cast<uint64_t>(between(0, 1));
        sequence->prompt_tokens = between(1, 100);
        const int like = between(1, 3);  // few prompts, so that prefixes meet
        for (int i = 0; i < sequence->prompt_tokens; ++i) sequence->tokens.push_back(like * 1000 + i);
        const int limit = std::min(sequence->prompt_tokens + between(1, 100), most_blocks * kBlockPositions);
        live[last] = {&scheduler.add(std::move(sequence)), limit, 0};
      }
      if (!live.empty() && between(0, 40) == 0) {
        const auto victim = std::next(live.begin(), between(0, static_cast<int>(live.size()) - 1));
        scheduler.remove(*victim->second.sequence);
        live.erase(victim);
      }
      const Plan plan = scheduler.step(between(0, 40));
      ASSERT_EQ(plan.empty(), live.empty());
      int rows = 0;
      std::set<RequestId> planned;
      for (const PlannedRows& part : plan) {
        rows += part.rows;
        ASSERT_TRUE(planned.insert(part.sequence->id).second);
        ASSERT_EQ(part.first, part.sequence->computed);
        ASSERT_EQ(part.output, part.first + part.rows == part.sequence->length());
        ASSERT_GE(static_cast<int>(part.sequence->blocks.size()) * kBlockPositions, part.first + part.rows);
      }
      ASSERT_LE(rows, limits.max_num_batched_tokens);
      ASSERT_LE(scheduler.running(), limits.max_num_seqs);
      ASSERT_TRUE(scheduler.books_balance());
      scheduler.commit();
      ASSERT_TRUE(scheduler.books_balance());
      for (const PlannedRows& part : plan) {
        if (!part.output) continue;
        scheduler.append(*part.sequence, between(0, 1));
        if (part.sequence->length() < live.at(part.sequence->id).limit) continue;
        live.erase(part.sequence->id);
        scheduler.remove(*part.sequence);
        ++finished;
      }
      // The oldest is never passed over for long: it runs, or blocks and seats are all taken by others that end.
      for (auto& [id, entry] : live) entry.waited = planned.contains(id) ? 0 : entry.waited + 1;
      if (!live.empty()) {
        ASSERT_LT(live.begin()->second.waited, 2000);
      }
    }
    EXPECT_GT(finished, 100u);
    while (!live.empty()) {
      scheduler.remove(*live.begin()->second.sequence);
      live.erase(live.begin());
    }
    EXPECT_TRUE(scheduler.empty() && scheduler.pool().held() == 0 && scheduler.books_balance());
  }
}

}  // namespace
}  // namespace carronade
