#include "backend/cpu/thread_team.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "base/error.h"

namespace carronade::cpu {
namespace {

class ThreadTeamTest : public testing::TestWithParam<int> {};

TEST_P(ThreadTeamTest, EveryItemIsDoneOnceByAWorkerOfTheTeam) {
  ThreadTeam team(GetParam());
  ASSERT_EQ(team.threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t grain : {1, 3, 2000}) {
      std::vector<int> done(static_cast<size_t>(count));
      team.run(count, grain, [&](int64_t begin, int64_t end, int worker) {
        ASSERT_TRUE(worker >= 0 && worker < team.threads());
        for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
      });
      EXPECT_EQ(std::count(done.begin(), done.end(), 1), count);
    }
  }
}

TEST_P(ThreadTeamTest, ALoopSeesWhatTheLoopBeforeItWrote) {
  ThreadTeam team(GetParam());
  constexpr size_t kCount = 97;
  std::vector<int64_t> values(kCount), before(kCount);
  for (int64_t round = 1; round <= 3000; ++round) {
    values.swap(before);
    team.run(kCount, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {  // what another worker may have written
        const auto at = static_cast<size_t>(i);
        values[at] = before[(at + kCount / 2) % kCount] + 1;
      }
    });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), static_cast<int64_t>(kCount) * round);
  }
}

TEST_P(ThreadTeamTest, TheFirstExceptionComesOutAndTheTeamGoesOn) {
  ThreadTeam team(GetParam());
  EXPECT_THROW(team.run(100, 1,
                        [](int64_t, int64_t end, int) {
                          if (end > 40) throw std::runtime_error("item");
                        }),
               std::runtime_error);
  std::atomic<int> items{0};
  team.run(100, 1, [&](int64_t begin, int64_t end, int) { items += static_cast<int>(end - begin); });
  EXPECT_EQ(items, 100);
}

// The last two have more threads than any test machine gives them.
INSTANTIATE_TEST_SUITE_P(Threads, ThreadTeamTest, testing::Values(1, 2, 3, 16, 61), testing::PrintToStringParamName());

// Whoever has the first item keeps it until all that follows is done, its own stretch's too.
TEST(ThreadTeam, AHeldUpWorkersStretchIsDoneByTheOthers) {
  constexpr int64_t kCount = 200;
  for (const int threads : {2, 3, 16}) {
    ThreadTeam team(threads);
    std::atomic<int64_t> done = 0;
    bool in_vain = false;
    team.run(kCount, 1, [&](int64_t begin, int64_t end, int) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (begin == 0 && done < kCount - end && !in_vain) {
        std::this_thread::yield();
        in_vain = std::chrono::steady_clock::now() > deadline;
      }
      done += end - begin;
    });
    EXPECT_FALSE(in_vain) << "of " << threads;
    EXPECT_EQ(done, kCount);
  }
}

TEST(ThreadTeam, AnIdleTeamSleeps) {
  ThreadTeam team(4);
  std::atomic<int> items{0};
  team.run(8, 1, [&](int64_t, int64_t, int) { ++items; });
  const auto cpu_time = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  // CPU time, not wall time: a loaded machine cannot make a sleeping team use any.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = cpu_time();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_time() - before, 0.05);
}

// Little address space is left, and that is what threads' stacks take. Ends the process.
void start_more_threads_than_there_is_room_for() {
  long pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t room = static_cast<rlim_t>(pages) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (64u << 20);
  const rlimit limit{room, room};
  ::setrlimit(RLIMIT_AS, &limit);
  try {
    const ThreadTeam team(1000);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::exit(error.code == ErrorCode::kUnavailable ? 7 : 1);
  }
}

TEST(ThreadTeamDeathTest, SaysHowManyThreadsCouldBeStarted) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer takes the address space for itself";
#endif
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(start_more_threads_than_there_is_room_for(), testing::ExitedWithCode(7),
              "only [0-9]+ of 1000 threads could be started");
}

TEST(ThreadTeam, ThereIsAtLeastOneCpu) { EXPECT_GE(usable_cpus(), 1); }

}  // namespace
}  // namespace carronade::cpu
