#include "cli/percent_line.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace carronade {

PercentLine::PercentLine(std::string what) : what_(std::move(what)), terminal_(::isatty(STDERR_FILENO) == 1) {}

PercentLine::~PercentLine() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void PercentLine::show(uint64_t done, uint64_t total) {
  if (!terminal_ || total == 0) return;
  const auto percent = static_cast<int>(100 * done / total);
  if (percent == percent_) return;
  percent_ = percent;
  shown_ = true;
  fmt::print(stderr, "\r\033[K{} … {} %", what_, percent);
  std::fflush(stderr);
}

}  // namespace carronade
