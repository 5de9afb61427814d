// How a pull tells what it does. The caller prints; this room only says.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace carronade {

// Called on the thread that pulls.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void message(std::string_view line) = 0;  // one line for people: where from, waiting, a retry and why
  // Of the whole pull. `total` is absent while nobody has said it. Called often: at least once, and at the end.
  virtual void progress(uint64_t done_bytes, std::optional<uint64_t> total_bytes) = 0;
};

// Speed over the last seconds and time left, and the line that says so. One thread.
class ProgressMeter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void update(uint64_t done_bytes, std::optional<uint64_t> total_bytes, TimePoint now);
  double bytes_per_second() const;
  std::optional<std::chrono::seconds> time_left() const;
  std::optional<double> fraction() const;

  // "  37 %  412 of 1117 MB  38.2 MB/s  0:18 left"
  std::string line() const;
  // The same after a bar, `columns` wide in all; without the bar where there is no room for one.
  std::string bar(int columns) const;

 private:
  struct Sample {
    TimePoint time;
    uint64_t done;
  };
  std::deque<Sample> samples_;  // of the last kWindow
  uint64_t done_ = 0;
  std::optional<uint64_t> total_;
};

std::string format_bytes(uint64_t bytes);                // "1.12 GB", "98.4 MB": powers of ten, as hubs and disks count
std::string format_duration(std::chrono::seconds time);  // "0:07", "1:02:03"

}  // namespace carronade
