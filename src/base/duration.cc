#include "base/duration.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace carronade {

namespace {

// 127 years. A clock's time in nanoseconds, which 64 bits hold 292 years of, and this do not overflow for a century.
constexpr double kMostSeconds = 4e9;

constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
    {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}}};

}  // namespace

std::chrono::milliseconds duration_of_seconds(double seconds) {
  if (!(seconds >= 0) || seconds > kMostSeconds) return kForever;
  return std::chrono::milliseconds(std::llround(seconds * 1000));
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  double seconds = 0;
  bool bare = false;  // a number without a unit stands alone
  for (bool first = true; !text.empty(); first = false) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    // Neither a sign nor "inf" and "nan", which from_chars takes.
    const bool digits = text[0] == '.' || (text[0] >= '0' && text[0] <= '9');
    if (error != std::errc() || !digits || bare) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const std::string_view unit = text.substr(0, text.find_first_of(".0123456789"));
    text.remove_prefix(unit.size());
    if (unit.empty()) {
      if (!first) return std::nullopt;
      bare = true;
      seconds = number;
      continue;
    }
    const auto* const found =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& one) { return one.first == unit; });
    if (found == kUnits.end()) return std::nullopt;
    seconds += number * found->second;
  }
  return negative && seconds > 0 ? kForever : duration_of_seconds(seconds);
}

std::string duration_text(std::chrono::milliseconds duration) {
  if (duration == kForever) return "for ever";
  const int64_t all = duration.count(), hours = all / 3'600'000, minutes = all / 60'000 % 60, rest = all % 60'000;
  std::string text;
  if (hours > 0) text += fmt::format("{}h", hours);
  if (minutes > 0) text += fmt::format("{}m", minutes);
  if (rest > 0 || text.empty()) text += fmt::format("{:g}s", static_cast<double>(rest) / 1000);
  return text;
}

}  // namespace carronade
