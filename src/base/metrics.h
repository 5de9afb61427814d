// Numbers that one thread counts and another reads, without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace carronade {

// Any number of writers and readers.
class Counter {
 public:
  void add(uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// What a histogram held at one moment. counts[i] values were at most bounds[i] and above the bound before; the last
// count is of those above all bounds.
struct HistogramValues {
  std::vector<double> bounds;    // ascending
  std::vector<uint64_t> counts;  // bounds.size() + 1
  double sum = 0;

  uint64_t total() const;
};

// Any number of writers and readers. A value observed meanwhile may be in the counts and not yet in the sum.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);
  HistogramValues values() const;

 private:
  const std::vector<double> bounds_;
  const std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0.0};
};

// What the system says of this process. Zero where it says nothing.
struct ProcessUsage {
  uint64_t resident_bytes = 0, virtual_bytes = 0;
  double cpu_seconds = 0;
  double start_time = 0;  // seconds since 1970
  uint64_t open_files = 0, most_files = 0;
  uint64_t threads = 0;
};
ProcessUsage process_usage();

}  // namespace carronade
