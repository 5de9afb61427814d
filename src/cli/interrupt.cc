#include "cli/interrupt.h"

#include <unistd.h>

#include <ctime>

namespace carronade {
namespace {

sigset_t interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

InterruptScope::InterruptScope() {
  const sigset_t signals = interrupts();
  ::pthread_sigmask(SIG_BLOCK, &signals, &before_);
  waiter_ = std::jthread([this](const std::stop_token& over) { wait(over); });
}

InterruptScope::~InterruptScope() {
  waiter_.request_stop();
  waiter_.join();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void InterruptScope::wait(const std::stop_token& over) {
  const sigset_t signals = interrupts();
  const timespec period{0, 50'000'000};
  while (!over.stop_requested()) {
    const int signal = ::sigtimedwait(&signals, nullptr, &period);
    if (signal <= 0) continue;
    if (stop_.stop_requested()) ::_exit(128 + signal);
    stop_.request_stop();
  }
}

}  // namespace carronade
