#include "cli/machine.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <sstream>
#include <thread>

#include "backend/cpu/memory.h"
#include "backend/cpu/thread_team.h"
#include "base/memory.h"

namespace carronade {

namespace {

constexpr std::array<std::string_view, 14> kFeatures = {
    "avx2",     "fma",         "f16c",     "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx_vnni", "avx512_bf16", "amx_bf16", "asimd",   "asimddp",  "i8mm",     "sve"};

// "key : value" of the first processor.
void read_processor(Machine& machine) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    const std::string value = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    if (key == "model name") machine.processor = value;
    if (key != "flags" && key != "Features") continue;
    std::istringstream words(value);
    for (std::string word; words >> word;) {
      if (std::ranges::find(kFeatures, std::string_view(word)) != kFeatures.end()) machine.features.push_back(word);
    }
  }
  if (machine.processor.empty()) machine.processor = "a processor that does not say its name";
}

// "always [madvise] never": the one in brackets holds.
std::string read_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  std::getline(file, line);
  const size_t begin = line.find('['), end = line.find(']');
  return begin < end && end != std::string::npos ? line.substr(begin + 1, end - begin - 1) : "";
}

// With kAsk each line is asked for 2 KB ahead: what the processor's own prefetcher leaves of the bandwidth.
template <bool kAsk>
uint64_t sum(const uint64_t* begin, size_t count) {
  constexpr size_t kLine = 64 / sizeof(uint64_t);
  uint64_t sums[kLine] = {};
  for (size_t i = 0; i + kLine <= count; i += kLine) {
    if (kAsk) __builtin_prefetch(begin + i + 32 * kLine, 0, 2);
    for (size_t j = 0; j < kLine; ++j) sums[j] += begin[i + j];
  }
  return std::accumulate(sums, sums + kLine, uint64_t{0});
}

}  // namespace

Machine read_machine() {
  Machine machine;
  read_processor(machine);
  const SystemMemory memory = read_system_memory();
  machine.memory = memory.total;
  machine.swap = memory.swap;
  machine.memory_available = available_memory();
  machine.processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  machine.usable = cpu::usable_cpus();
  machine.limits = read_control_group();
  machine.huge_pages = read_huge_pages();
  return machine;
}

double measure_bandwidth(int threads, uint64_t memory_available) {
  constexpr uint64_t kWanted = 512ull << 20;  // several times the largest caches
  const uint64_t bytes = std::min(kWanted, memory_available / 4) / sizeof(uint64_t) / static_cast<uint64_t>(threads) *
                         sizeof(uint64_t) * static_cast<uint64_t>(threads);
  if (bytes < 64ull << 20) return 0;
  const size_t part = bytes / sizeof(uint64_t) / static_cast<size_t>(threads);
  const cpu::HugeMemory memory(bytes);  // as weights are held: small pages read slower
  uint64_t* buffer = reinterpret_cast<uint64_t*>(memory.data());
  std::atomic<uint64_t> total{0};  // so that the reading cannot be left out
  const auto on_all = [&](auto&& work) {
    std::vector<std::thread> team;
    for (int i = 0; i < threads; ++i) team.emplace_back([&, i] { work(buffer + part * static_cast<size_t>(i)); });
    for (std::thread& thread : team) thread.join();
  };
  on_all([&](uint64_t* begin) { std::fill(begin, begin + part, uint64_t{1}); });
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(500);
  std::vector<double> rates[2];  // plain, and with lines asked for ahead
  int passes = 0;
  do {
    const Clock::time_point start = Clock::now();
    const bool asks = passes++ % 2 != 0;
    on_all([&](const uint64_t* begin) { total += asks ? sum<true>(begin, part) : sum<false>(begin, part); });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    rates[asks].push_back(static_cast<double>(bytes) / seconds);
  } while (Clock::now() < end || passes < 2);
  const auto median = [](std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  return total > 0 ? std::max(median(rates[false]), median(rates[true])) : 0;
}

bool port_is_free(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return free;
}

DiskSpace disk_space(const std::string& folder) {
  std::filesystem::path path = std::filesystem::absolute(folder);
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  const auto space = std::filesystem::space(path, error);
  return {error ? 0 : space.available, std::filesystem::is_directory(path, error) && ::access(path.c_str(), W_OK) == 0};
}

}  // namespace carronade
