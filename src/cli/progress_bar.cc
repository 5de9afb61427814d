#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

namespace carronade {
namespace {

constexpr auto kBarPeriod = std::chrono::milliseconds(100);
constexpr auto kLinePeriod = std::chrono::seconds(5);  // a log, not a film

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressBar::ProgressBar(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (visible_) fmt::print(stderr, "\n");  // what stands there stays: an error follows
}

void ProgressBar::clear() {
  if (visible_) fmt::print(stderr, "\r\033[K");
  visible_ = false;
}

void ProgressBar::message(std::string_view line) {
  if (quiet_) return;
  clear();
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

void ProgressBar::progress(uint64_t done_bytes, std::optional<uint64_t> total_bytes) {
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  meter_.update(done_bytes, total_bytes, now);
  const bool complete = total_bytes && done_bytes == *total_bytes;
  const bool news = complete && !complete_;
  complete_ = complete;
  if (drawn_ == ProgressMeter::TimePoint{} && !terminal_) drawn_ = now;  // the first line says nothing yet
  if (!news &&
      now - drawn_ < (terminal_ ? std::chrono::milliseconds(kBarPeriod) : std::chrono::milliseconds(kLinePeriod)))
    return;
  drawn_ = now;
  draw(news);
}

void ProgressBar::draw(bool final) {
  if (!terminal_) {
    fmt::print(stderr, "{}\n", meter_.line());
  } else {
    fmt::print(stderr, "\r\033[K{}", meter_.bar(terminal_columns()));
    visible_ = true;
    if (final) {
      fmt::print(stderr, "\n");
      visible_ = false;
    }
  }
  std::fflush(stderr);
}

}  // namespace carronade
