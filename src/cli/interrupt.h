// Ctrl-C as a request to stop cleanly, for commands that have something to keep.
#pragma once

#include <signal.h>

#include <stop_token>
#include <thread>

namespace carronade {

// While it lives, SIGINT and SIGTERM request the stop; a second one ends the program at once. Make it before other
// threads: they inherit the mask that leaves the signals to it.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void wait(const std::stop_token& over);

  std::stop_source stop_;
  sigset_t before_;
  std::jthread waiter_;  // last: it uses the others
};

}  // namespace carronade
