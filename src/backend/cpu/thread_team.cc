#include "backend/cpu/thread_team.h"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

#include "base/control_group.h"
#include "base/error.h"

namespace carronade::cpu {
namespace {

constexpr uint64_t kOpen = 1, kInside = 2, kInsideMask = 0xfffe;
constexpr int kLoopShift = 16;

// About 40 cycles each, so 2000 are some 25 microseconds: longer than the gap between two ops of a step, shorter than
// anyone notices.
constexpr int kSpins = 2000;

uint64_t stretch_of(int64_t begin, int64_t end) {
  return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
}
int64_t first_of(uint64_t stretch) { return static_cast<int64_t>(stretch >> 32); }
int64_t last_of(uint64_t stretch) { return static_cast<int64_t>(stretch & 0xffffffffu); }

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int count = 0;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  if (count <= 0) count = static_cast<int>(std::thread::hardware_concurrency());
  if (const auto limit = read_control_group().processors)
    count = std::min(count, static_cast<int>(std::lround(*limit)));
  return std::max(1, count);
}

ThreadTeam::ThreadTeam(int threads) : stretches_(static_cast<size_t>(std::max(1, threads))) {
  // More threads than CPUs: whoever spins keeps another from working.
  spins_ = threads <= usable_cpus() ? kSpins : 0;
  try {
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
  } catch (const std::system_error& error) {  // a limit of the user's or of the container's
    const size_t started = workers_.size() + 1;
    end();
    throw_error(ErrorCode::kUnavailable, "only {} of {} threads could be started: {}", started, threads, error.what());
  }
}

ThreadTeam::~ThreadTeam() { end(); }

void ThreadTeam::end() {
  stop_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::run_erased(int64_t count, int64_t grain, Call call, void* target) {
  if (count <= 0) return;
  assert(count <= std::numeric_limits<int32_t>::max());
  if (workers_.empty() || count <= grain) {
    call(target, 0, count, 0);
    return;
  }
  call_ = call;
  target_ = target;
  grain_ = std::max<int64_t>(1, grain);
  const int64_t workers = threads();
  for (int64_t w = 0; w < workers; ++w) {
    stretches_[static_cast<size_t>(w)].items.store(stretch_of(count * w / workers, count * (w + 1) / workers),
                                                   std::memory_order_relaxed);
  }
  const uint32_t loop = static_cast<uint32_t>(gate_.load(std::memory_order_relaxed) >> kLoopShift) + 1;
  gate_.store(static_cast<uint64_t>(loop) << kLoopShift | kOpen);
  wake_.store(loop);
  if (sleepers_.load() > 0) wake_.notify_all();

  take_items(0);
  gate_.fetch_and(~kOpen);  // nobody enters from here on; wait for those inside
  for (int spin = 0; (gate_.load(std::memory_order_acquire) & kInsideMask) != 0; ++spin) {
    if (spin < spins_ * 4)
      relax();
    else
      std::this_thread::yield();
  }
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void ThreadTeam::take_items(int worker) {
  try {
    int64_t begin = 0, end = 0;
    do {
      while (take_run(worker, begin, end)) call_(target_, begin, end, worker);
    } while (steal(worker));
  } catch (...) {
    for (Stretch& stretch : stretches_) stretch.items.store(0, std::memory_order_relaxed);
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

// An eighth of what is left of the worker's own stretch.
bool ThreadTeam::take_run(int worker, int64_t& begin, int64_t& end) {
  std::atomic<uint64_t>& own = stretches_[static_cast<size_t>(worker)].items;
  uint64_t items = own.load(std::memory_order_relaxed);
  for (;;) {
    begin = first_of(items);
    const int64_t last = last_of(items);
    if (begin >= last) return false;
    end = std::min(begin + std::max(grain_, (last - begin) / 8), last);
    if (own.compare_exchange_weak(items, stretch_of(end, last), std::memory_order_relaxed)) return true;
  }
}

// The back half of what another has left becomes the worker's own stretch, which is empty.
bool ThreadTeam::steal(int worker) {
  const int count = threads();
  for (int other = (worker + 1) % count; other != worker; other = (other + 1) % count) {
    std::atomic<uint64_t>& from = stretches_[static_cast<size_t>(other)].items;
    uint64_t items = from.load(std::memory_order_relaxed);
    while (first_of(items) < last_of(items)) {
      const int64_t begin = first_of(items), last = last_of(items);
      const int64_t middle = last - begin <= grain_ ? begin : begin + (last - begin) / 2;
      if (from.compare_exchange_weak(items, stretch_of(begin, middle), std::memory_order_relaxed)) {
        stretches_[static_cast<size_t>(worker)].items.store(stretch_of(middle, last), std::memory_order_relaxed);
        return true;
      }
    }
  }
  return false;
}

// Steps through the gate if it is open for a loop not yet seen.
bool ThreadTeam::enter(uint32_t& seen) {
  uint64_t gate = gate_.load(std::memory_order_acquire);
  for (;;) {
    const uint32_t loop = static_cast<uint32_t>(gate >> kLoopShift);
    if (loop == seen || (gate & kOpen) == 0) return false;
    if (gate_.compare_exchange_weak(gate, gate + kInside, std::memory_order_acq_rel)) {
      seen = loop;
      return true;
    }
  }
}

void ThreadTeam::work(int worker) {
  uint32_t seen = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint32_t before = wake_.load();
    bool worked = false;
    for (int spin = 0; spin <= spins_ && !worked; ++spin) {
      worked = enter(seen);
      if (!worked && spin < spins_) relax();
    }
    if (worked) {
      take_items(worker);
      gate_.fetch_sub(kInside, std::memory_order_release);
      continue;
    }
    sleepers_.fetch_add(1);
    if (!stop_.load()) wake_.wait(before);
    sleepers_.fetch_sub(1);
  }
}

}  // namespace carronade::cpu
