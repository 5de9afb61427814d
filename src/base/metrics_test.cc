#include "base/metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <thread>

namespace carronade {
namespace {

TEST(Histogram, ABoundBelongsToItsBucket) {
  Histogram histogram({1, 2, 5});
  for (const double value : {0.5, 1.0, 1.5, 2.0, 5.0, 5.1, 1000.0}) histogram.observe(value);
  const HistogramValues values = histogram.values();
  EXPECT_EQ(values.counts, (std::vector<uint64_t>{2, 2, 1, 2}));
  EXPECT_EQ(values.total(), 7u);
  EXPECT_DOUBLE_EQ(values.sum, 1015.1);
}

TEST(Histogram, LosesNothingWithManyWriters) {
  Histogram histogram({10, 20});
  Counter counter;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        histogram.observe(i % 30);
        counter.add(2);
      }
    });
  }
  uint64_t last = 0;
  while (last < 20'000) {  // a reader beside them sees it grow, never shrink
    const uint64_t now = histogram.values().total();
    ASSERT_GE(now, last);
    last = now;
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(histogram.values().total(), 40'000u);
  EXPECT_DOUBLE_EQ(histogram.values().sum, 4.0 * (333 * 435 + 45));
  EXPECT_EQ(counter.value(), 80'000u);
}

TEST(ProcessUsage, IsOfThisProcess) {
  const double time = static_cast<double>(std::time(nullptr));
  const ProcessUsage before = process_usage();
  EXPECT_GT(before.resident_bytes, 1u << 20);
  EXPECT_GE(before.virtual_bytes, before.resident_bytes);
  EXPECT_LE(before.start_time, time + 2);
  EXPECT_GT(before.start_time, time - 3600);
  EXPECT_GE(before.threads, 1u);

  const int file = ::dup(1);
  EXPECT_EQ(process_usage().open_files, before.open_files + 1);
  ::close(file);

  while (process_usage().cpu_seconds < before.cpu_seconds + 0.05) {
  }
}

}  // namespace
}  // namespace carronade
