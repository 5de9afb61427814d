// The CPU backend's own threads: they share out one loop at a time, spin briefly between loops and sleep when nothing
// comes.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace carronade::cpu {

// CPUs this process may run on, as its affinity mask and its cgroup's quota say; at least 1.
int usable_cpus();

// The caller is worker 0; `threads - 1` more wait for work. Loops come from one thread at a time, the owner's.
//
// A loop is a count of items. Each worker has a stretch of them that it takes from the front, in runs that grow
// shorter, so that what it reads goes on where it was (a kernel has asked for what follows); whoever is done takes half
// of what another has left, from the back. So all end together, a worker that the system has put aside costs only the
// run it holds, and one that wakes late is not waited for at all.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, worker) until [0, count < 2^31) is covered, each item once, and returns when all calls have;
  // worker < threads(). Runs are of `grain` items or more where a worker's stretch has so many left. The first
  // exception of a body is thrown here, the others are dropped.
  template <typename Body>
  void run(int64_t count, int64_t grain, Body&& body) {
    using Target = std::remove_reference_t<Body>;
    run_erased(
        count, grain,
        [](void* target, int64_t begin, int64_t end, int worker) {
          (*static_cast<Target*>(target))(begin, end, worker);
        },
        const_cast<std::remove_const_t<Target>*>(&body));
  }

 private:
  using Call = void (*)(void* target, int64_t begin, int64_t end, int worker);
  void run_erased(int64_t count, int64_t grain, Call call, void* target);
  void take_items(int worker);
  bool take_run(int worker, int64_t& begin, int64_t& end);
  bool steal(int worker);
  void work(int worker);
  void end();
  bool enter(uint32_t& seen);

  // One loop. Written by the owner while the gate is shut and nobody is inside.
  Call call_ = nullptr;
  void* target_ = nullptr;
  int64_t grain_ = 1;
  struct alignas(64) Stretch {
    std::atomic<uint64_t> items{
        0};  // [begin << 32 | end); within a loop no stretch that has something left comes twice
  };
  std::vector<Stretch> stretches_;  // [threads]
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;

  // Gate: bit 0 open, bits 1-15 workers inside, bits 16-47 number of the loop.
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<uint32_t> wake_{0};  // number of the loop, on which sleepers wait
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  int spins_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace carronade::cpu
