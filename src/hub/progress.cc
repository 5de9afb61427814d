#include "hub/progress.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace carronade {
namespace {

// Long enough to smooth the bursts of a hub and of packages, short enough to show a stall.
constexpr auto kWindow = std::chrono::seconds(12);

}  // namespace

void ProgressMeter::update(uint64_t done_bytes, std::optional<uint64_t> total_bytes, TimePoint now) {
  if (done_bytes < done_) samples_.clear();  // a restart from zero is no negative speed
  done_ = done_bytes;
  total_ = total_bytes;
  // The first sample holds what an earlier run had left; its bytes do not count as speed.
  if (samples_.size() < 2 || now - samples_.back().time >= std::chrono::milliseconds(100)) {
    samples_.push_back({now, done_bytes});
  } else {
    samples_.back().done = done_bytes;
  }
  while (samples_.size() > 2 && now - samples_.front().time > kWindow) samples_.pop_front();
}

double ProgressMeter::bytes_per_second() const {
  if (samples_.size() < 2) return 0;
  const std::chrono::duration<double> time = samples_.back().time - samples_.front().time;
  if (time.count() <= 0) return 0;
  return static_cast<double>(samples_.back().done - samples_.front().done) / time.count();
}

std::optional<std::chrono::seconds> ProgressMeter::time_left() const {
  const double speed = bytes_per_second();
  if (!total_ || *total_ < done_ || speed < 1) return std::nullopt;
  const double seconds = std::ceil(static_cast<double>(*total_ - done_) / speed);
  if (seconds > 1e7) return std::nullopt;
  return std::chrono::seconds(static_cast<int64_t>(seconds));
}

std::optional<double> ProgressMeter::fraction() const {
  if (!total_ || *total_ == 0) return std::nullopt;
  return std::min(1.0, static_cast<double>(done_) / static_cast<double>(*total_));
}

std::string ProgressMeter::line() const {
  std::string text;
  const auto part = fraction();
  // Rounded down: 100 % is said only when it is there.
  if (part) text += fmt::format("{:3} %  ", static_cast<int>(*part * 100));
  text += total_ ? fmt::format("{} of {}", format_bytes(done_), format_bytes(*total_)) : format_bytes(done_);
  if (const double speed = bytes_per_second(); speed >= 1)
    text += fmt::format("  {}/s", format_bytes(static_cast<uint64_t>(speed)));
  if (const auto left = time_left(); left && left->count() > 0)
    text += fmt::format("  {} left", format_duration(*left));
  return text;
}

std::string ProgressMeter::bar(int columns) const {
  const std::string text = line();
  const int room = std::min(columns - static_cast<int>(text.size()) - 4, 40);
  const auto part = fraction();
  if (!part || room < 8) return text.substr(0, static_cast<size_t>(std::max(columns - 1, 0)));
  const int filled = static_cast<int>(*part * room);
  std::string bar;
  for (int i = 0; i < room; ++i) bar += i < filled ? "█" : "░";
  return bar + " " + text;
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, digits, kUnits[unit]);
}

std::string format_duration(std::chrono::seconds time) {
  const int64_t seconds = time.count();
  if (seconds >= 3600) return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

}  // namespace carronade
