#include "cli/key_flags.h"

#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"

namespace carronade {

namespace {

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<int64_t> span_seconds(std::string_view text) {
  if (text.empty()) return std::nullopt;
  int64_t unit = 0;
  switch (text.back()) {
    case 'm':
      unit = 60;
      break;
    case 'h':
      unit = 3600;
      break;
    case 'd':
      unit = 86400;
      break;
    case 'w':
      unit = 7 * 86400;
      break;
    default:
      return std::nullopt;
  }
  const auto count = whole_number(text.substr(0, text.size() - 1));
  if (!count || *count > 100'000) return std::nullopt;
  return *count * unit;
}

std::optional<int64_t> date_seconds(const std::string& text) {
  std::tm utc{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &utc);
  if (end && *end != '\0') end = ::strptime(end, "T%H:%M:%SZ", &utc);
  const std::chrono::year_month_day day{std::chrono::year(utc.tm_year + 1900),
                                        std::chrono::month(static_cast<unsigned>(utc.tm_mon + 1)),
                                        std::chrono::day(static_cast<unsigned>(utc.tm_mday))};
  if (!end || *end != '\0' || !day.ok()) return std::nullopt;
  return static_cast<int64_t>(::timegm(&utc));
}

}  // namespace

int64_t parse_expiry(const std::string& text, int64_t now) {
  std::optional<int64_t> at = date_seconds(text);
  if (!at) {
    if (const auto span = span_seconds(text)) at = now + *span;
  }
  if (!at) {
    throw Error(ErrorCode::kInvalidArgument,
                "--expires takes a span such as 12h, 30d or 8w, or a date such as 2027-01-31, not \"" + text + "\"",
                "--expires");
  }
  if (*at <= now) throw Error(ErrorCode::kInvalidArgument, "--expires: " + text + " is over already", "--expires");
  return *at;
}

std::string time_text(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[40];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &utc);
  return {text, size};
}

int64_t parse_limit(const std::string& text, const std::string& flag) {
  const char last = text.empty() ? '\0' : text.back();
  const int64_t unit = last == 'k' || last == 'K' ? 1000 : last == 'M' ? 1'000'000 : last == 'G' ? 1'000'000'000 : 1;
  const auto count = whole_number(std::string_view(text).substr(0, text.size() - (unit > 1 ? 1 : 0)));
  if (!count || *count == 0 || *count > 1'000'000'000'000'000 / unit) {
    throw Error(ErrorCode::kInvalidArgument, flag + " takes a count such as 5000, 100k or 2M, not \"" + text + "\"",
                flag);
  }
  return *count * unit;
}

}  // namespace carronade
