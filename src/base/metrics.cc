#include "base/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>

namespace carronade {

uint64_t HistogramValues::total() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1)) {}

void Histogram::observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

HistogramValues Histogram::values() const {
  HistogramValues values{bounds_, std::vector<uint64_t>(bounds_.size() + 1), sum_.load(std::memory_order_relaxed)};
  for (size_t i = 0; i < values.counts.size(); ++i) values.counts[i] = counts_[i].load(std::memory_order_relaxed);
  return values;
}

namespace {

// Seconds since 1970 at which the machine started.
double boot_time() {
  std::ifstream stat("/proc/stat");
  for (std::string word; stat >> word;) {
    double seconds = 0;
    if (word == "btime" && stat >> seconds) return seconds;
  }
  return 0;
}

// Source: proc(5), /proc/self/stat; fields are counted from 1.
void read_stat(ProcessUsage& usage) {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');  // the name before it may hold anything
  if (name_end == std::string::npos) return;
  std::istringstream rest(text.substr(name_end + 1));
  const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::string field;
  for (int number = 3; rest >> field; ++number) {
    const double value = number == 3 ? 0.0 : std::stod(field);
    if (number == 14 || number == 15) usage.cpu_seconds += value / ticks;
    if (number == 20) usage.threads = static_cast<uint64_t>(value);
    if (number == 22) usage.start_time = boot_time() + value / ticks;
    if (number == 23) usage.virtual_bytes = static_cast<uint64_t>(value);
    if (number == 24) usage.resident_bytes = static_cast<uint64_t>(value) * static_cast<uint64_t>(::getpagesize());
    if (number == 24) return;
  }
}

}  // namespace

ProcessUsage process_usage() {
  ProcessUsage usage;
  read_stat(usage);
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end;
       entry.increment(error))
    ++usage.open_files;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.most_files = limit.rlim_cur;
  return usage;
}

}  // namespace carronade
